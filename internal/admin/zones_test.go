package admin_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/cluster"
)

// TestZones: the tablets of a table are spread over zones; a zone is lost and
// comes back.
func TestZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystemWith(t, func(c *cluster.Config) { c.TabletServers, c.Zones = 4, []string{"east", "west"} })
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf", "--split", "b,c,d,e,f,g,h,i,j,k,l")
		want := func(when string, east, west int) {
			t.Helper()
			var servers []struct {
				Zone    string
				Serving int
			}
			s.must(t, &servers, "server", "list")
			has := map[string]int{}
			for _, x := range servers {
				has[x.Zone] += x.Serving
			}
			if has["east"] != east || has["west"] != west || len(has) > 2 {
				t.Errorf("%s: %v, want %d and %d", when, has, east, west)
			}
		}
		want("at first", 6, 6)
		nodes := s.TabletServers()
		s.KillTabletServer(nodes[1])
		s.KillTabletServer(nodes[3])
		time.Sleep(time.Minute)
		want("without west", 12, 0)
		for range 4 { // east, west, east, west
			if _, err := s.StartTabletServer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range s.TabletServers()[2:] {
			if n.Name() == "tablet5" || n.Name() == "tablet7" {
				if err := s.StopTabletServer(t.Context(), n); err != nil {
					t.Error(err)
				}
			}
		}
		time.Sleep(10 * time.Minute)
		want("west is back", 6, 6)
		if _, out, _ := invoke(t.Context(), s.app, "", "balance", "explain"); !strings.Contains(out, "zone east has 12 of the 12 tablets of table 1, more than its share of 6; zone west has 0") {
			t.Errorf("explained as %s", out)
		}
		s.fails(t, 0, "(100%)", "availability")
	})
}
