package admin_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// TestRepair breaks a cluster that works, with a master and two servers, and
// mends it while it goes on.
func TestRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf", "--split", "m")
		for _, row := range []string{"a", "x"} {
			s.must(t, nil, "put", "t", row, "cf:q="+row)
		}
		s.must(t, nil, "flush", "t")
		s.must(t, nil, "put", "t", "b", "cf:q=b")
		var tablets []struct {
			ID       uint64
			Manifest string
		}
		s.must(t, &tablets, "tablets", "list", "t")
		number, err := base.ParseFileNumber(tablets[1].Manifest)
		if err != nil {
			t.Fatal(err)
		}
		key := base.ManifestObject(number)
		if err := s.store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		for info, err := range s.store.List(t.Context(), base.SSTablePrefix, "") { // of one of the two tablets
			if err == nil {
				err = s.store.Delete(t.Context(), info.Key)
			}
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		s.fails(t, 2, "go with --repair", "check", "--dry-run")
		s.fails(t, 2, "there are holes, manifests", "check", "--repair", "--accept-loss", "everything")
		s.fails(t, 4, "not accepted", "check", "--repair")
		s.fails(t, 4, "Nothing was changed (--dry-run)", "check", "--repair", "--dry-run", "--accept-loss", "sstables,manifests")
		code, out, errs := invoke(t.Context(), s.app, "", "check", "--repair", "--accept-loss", "sstables,manifests")
		if code != 0 || !strings.Contains(out, "done") || !strings.Contains(out, "No problem was found") {
			t.Fatalf("exit %d: %s%s", code, out, errs)
		}
		time.Sleep(5 * time.Second)
		s.fails(t, 0, "No problem was found", "check", "--deep")
		_, out, _ = invoke(t.Context(), s.app, "", "count", "t")
		if out != "2\n" { // b, and a or x, whichever file was left
			t.Errorf("%s rows", out)
		}
		s.must(t, nil, "put", "t", "z", "cf:q=z")
	})
}
