package admin_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tabletdb/tabletdb/internal/admin"
	"github.com/tabletdb/tabletdb/internal/cluster"
)

// TestCompactors: the workers are listed, also one that does not answer.
func TestCompactors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystemWith(t, func(c *cluster.Config) { c.Compactors, c.Compactor.Slots = 2, 3 })
		defer s.Kill()
		run := func(args ...string) string {
			t.Helper()
			var out, errs bytes.Buffer
			app := s.app
			app.Stdout, app.Stderr = &out, &errs
			if code := admin.Run(t.Context(), app, args); code != 0 {
				t.Fatalf("%v: exit %d: %s", args, code, errs.String())
			}
			return out.String()
		}
		s.net.Partition("admin", "compactor2")
		var list []struct {
			Name      string
			Slots     int
			Reachable bool
			Error     string
			Running   []any
		}
		if err := json.Unmarshal([]byte(run("compactors", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].Name != "compactor1" || list[0].Slots != 3 || !list[0].Reachable || list[0].Error != "" || list[0].Running == nil ||
			list[1].Name != "compactor2" || list[1].Reachable || list[1].Error == "" {
			t.Errorf("%+v", list)
		}
		if text := run("compactors"); !strings.Contains(text, "0 of 3") {
			t.Errorf("compactors shows\n%s", text)
		}
		for _, n := range s.Compactors() {
			if err := s.StopCompactor(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		if text := run("compactors"); !strings.Contains(text, "no compactor is running") {
			t.Errorf("compactors shows\n%s", text)
		}
	})
}
