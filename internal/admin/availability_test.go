package admin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// measured is what availability -o json says.
type measured struct {
	Total   struct{ Tablets, Served, Bytes, Served_bytes int }
	Tables  []struct{ Table string }
	Tablets []struct {
		Start, State, Error string
		Served              bool
		State_seconds       float64
		Why                 []string
	}
}

// TestAvailability: what a dead server served is not served until others do,
// whatever records say.
func TestAvailability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf", "--split", "b,c,d")
		s.must(t, nil, "table", "create", "other", "--families", "cf")
		for _, row := range []string{"a", "b", "c", "d"} {
			s.must(t, nil, "put", "t", row, "cf:q="+strings.Repeat(row, 1000))
		}
		s.must(t, nil, "flush")
		var m measured
		s.must(t, &m, "availability", "--first-row")
		if m.Total.Tablets != 5 || m.Total.Served != 5 || len(m.Tablets) != 0 || m.Total.Bytes == 0 || m.Total.Served_bytes != m.Total.Bytes {
			t.Errorf("at first %+v", m)
		}
		s.fails(t, 0, "5 of 5 tablets served (100%)", "availability", "--all")
		s.fails(t, 0, "1 of 1 tablets", "availability", "other")
		s.fails(t, 3, "Table not found", "availability", "none")
		s.fails(t, 2, "--count goes with", "availability", "--count", "2")

		s.KillTabletServer(s.TabletServers()[0])
		code, out, errs := invoke(t.Context(), s.app, "", "availability", "-o", "json")
		if err := json.Unmarshal([]byte(out), &m); err != nil || code != 4 || !strings.Contains(errs, "tablets are not served") {
			t.Fatalf("exit %d: %s%s %v", code, out, errs, err)
		}
		if m.Total.Tablets != 5 || m.Total.Served == 0 || len(m.Tablets) != 5-m.Total.Served || m.Total.Served_bytes >= m.Total.Bytes {
			t.Errorf("after the death: %+v", m)
		}
		for _, x := range m.Tablets {
			if x.Served || x.Error == "" || len(x.Why) == 0 {
				t.Errorf("%+v", x)
			}
		}
		// It is watched until they are served again.
		code, out, _ = invoke(t.Context(), s.app, "", "availability", "--watch", "--interval", "2s", "--count", "15")
		if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 4 || !strings.Contains(lines[len(lines)-1], "5 of 5 tablets served (100%)") {
			t.Errorf("exit %d: %s", code, out)
		}
		s.fails(t, 0, "(100%)", "availability")
	})
}

// TestAvailabilityOfMany: thousands of tablets are measured, and nobody is shown
// thousands of lines.
func TestAvailabilityOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		dead := manyTablets(t, s, "t", 10000)
		began := time.Now()
		code, out, errs := invoke(t.Context(), s.app, "", "availability", "--patience", "1s")
		if code != 4 || !strings.Contains(out, "... and 9,950 more") || strings.Count(out, "\n") > 80 {
			t.Errorf("exit %d, %d lines: %.2000s%s", code, strings.Count(out, "\n"), out, errs)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("that took %v with a server %s that does not answer", d, dead)
		}
	})
}
