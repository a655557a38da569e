package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// TestRepair breaks a cluster that works, with a master and two servers, and
// mends it while it goes on: the manifest of one tablet is lost, and an SSTable
// of the other, or of the same.
func TestRepair(t *testing.T) {
	for which, rows := range []string{"b\nx\n", "a\nb\n"} {
		t.Run(fmt.Sprint(which), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRepair(t, which, rows) })
		})
	}
}

func testRepair(t *testing.T, which int, rows string) {
	s := newSystem(t)
	defer s.Kill()
	s.must(t, nil, "table", "create", "t", "--families", "cf", "--split", "m")
	for _, row := range []string{"a", "x"} {
		s.must(t, nil, "put", "t", row, "cf:q="+row)
	}
	s.must(t, nil, "flush", "t")
	s.must(t, nil, "put", "t", "b", "cf:q=b")
	var tablets []struct{ Manifest string }
	s.must(t, &tablets, "tablets", "list", "t")
	var numbers []base.FileNumber
	for _, x := range tablets {
		n, err := base.ParseFileNumber(x.Manifest)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	files, err := manifest.Files(s.store)(t.Context(), numbers[which])
	if err == nil {
		err = s.store.Delete(t.Context(), base.SSTableObject(files[0]), base.ManifestObject(numbers[1]))
	}
	if err != nil {
		t.Fatal(err)
	}

	s.fails(t, 2, "go with --repair", "check", "--dry-run")
	s.fails(t, 2, "there are holes, manifests", "check", "--repair", "--accept-loss", "everything")
	s.fails(t, 4, "not accepted", "check", "--repair")
	s.fails(t, 4, "Nothing was changed (--dry-run)", "check", "--repair", "--dry-run", "--accept-loss", "sstables")
	code, out, errs := invoke(t.Context(), s.app, "", "check", "--repair", "--accept-loss", "sstables")
	if code != 0 || !strings.Contains(out, "done") || !strings.Contains(out, "No problem was found") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	time.Sleep(5 * time.Second)
	s.fails(t, 0, "No problem was found", "check", "--deep")
	for row := range strings.Lines(rows) {
		s.must(t, nil, "get", "t", strings.TrimSpace(row))
	}
	if _, out, _ = invoke(t.Context(), s.app, "", "count", "t"); out != "2\n" {
		t.Errorf("%s rows", out)
	}
	s.must(t, nil, "put", "t", "z", "cf:q=z")
}
