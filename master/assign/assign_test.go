package assign_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/master/assign"
)

func id(n int) base.Incarnation { return base.Incarnation{Generation: 1, Index: uint64(n)} }

func counts(p []assign.Placement) map[base.Incarnation]int {
	n := map[base.Incarnation]int{}
	for _, x := range p {
		n[x.Server]++
	}
	return n
}

func tablets(n int, table base.TableID) []assign.Tablet {
	out := make([]assign.Tablet, n)
	for i := range out {
		out[i] = assign.Tablet{ID: base.TabletID(i + 1), Table: table}
	}
	return out
}

func TestSpreadIsEven(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		servers := make([]assign.Server, 1+r.IntN(20))
		for i := range servers {
			servers[i].ID = id(i + 1)
		}
		n := r.IntN(500)
		got := counts(assign.Spread(servers, tablets(n, 1)))
		for _, s := range servers {
			if c := got[s.ID]; c < n/len(servers) || c > n/len(servers)+1 {
				t.Fatalf("%d tablets on %d servers: %v has %d", n, len(servers), s.ID, c)
			}
		}
	}
	if p := assign.Spread(nil, tablets(3, 1)); p != nil {
		t.Errorf("without servers: %v", p)
	}
}

func TestSpreadFillsUp(t *testing.T) {
	servers := []assign.Server{
		{ID: id(1), Tablets: 100, PerTable: map[base.TableID]int{1: 100}},
		{ID: id(2), Tablets: 100, PerTable: map[base.TableID]int{1: 100}},
		{ID: id(3)},
	}
	got := counts(assign.Spread(servers, tablets(90, 1)))
	if got[id(3)] != 90 {
		t.Errorf("the empty server got %d of 90", got[id(3)])
	}
	// Another table: mostly to the empty one, but not only.
	got = counts(assign.Spread(servers, tablets(90, 2)))
	if got[id(3)] < 45 || got[id(1)] == 0 || got[id(2)] == 0 {
		t.Errorf("new table: %v", got)
	}
}

func TestSpreadPrefersTheIdle(t *testing.T) {
	servers := []assign.Server{{ID: id(1), Tablets: 10, Load: 1000}, {ID: id(2), Tablets: 10, Load: 10}}
	got := counts(assign.Spread(servers, tablets(4, 1)))
	if got[id(2)] <= got[id(1)] {
		t.Errorf("%v", got)
	}
}

func TestSpreadBalancesZones(t *testing.T) {
	servers := []assign.Server{{ID: id(1), Zone: "a"}, {ID: id(2), Zone: "a"}, {ID: id(3), Zone: "b", Tablets: 0}}
	got := counts(assign.Spread(servers, tablets(300, 1)))
	for _, s := range servers {
		if n := got[s.ID]; n < 95 || n > 105 {
			t.Errorf("%v", got)
		}
	}
	// A server as loaded as another, in the zone that carries less.
	servers = []assign.Server{{ID: id(1), Zone: "a", Tablets: 5}, {ID: id(2), Zone: "a", Tablets: 9}, {ID: id(3), Zone: "b", Tablets: 5}}
	if p := assign.Spread(servers, tablets(1, 1)); p[0].Server != id(3) {
		t.Errorf("%v", p)
	}
}

func TestSpreadAvoids(t *testing.T) {
	two := []assign.Server{{ID: id(1)}, {ID: id(2), Tablets: 50}}
	p := assign.Spread(two, []assign.Tablet{{ID: 1, Avoid: id(1)}})
	if p[0].Server != id(2) {
		t.Errorf("%v", p)
	}
	if p := assign.Spread(two[:1], []assign.Tablet{{ID: 1, Avoid: id(1)}}); p[0].Server != id(1) {
		t.Errorf("the only server: %v", p)
	}
}

func TestStuck(t *testing.T) {
	const timeout = time.Minute
	for _, c := range []struct {
		l    assign.Load
		want bool
	}{
		{assign.Load{Age: 59 * time.Second}, false},
		{assign.Load{Age: time.Minute}, true},
		{assign.Load{Age: time.Minute, Reachable: true, Known: true}, false},
		{assign.Load{Age: time.Minute, Reachable: true}, true},
		{assign.Load{Age: time.Minute, Reachable: true, Known: true, Failed: true}, true},
		{assign.Load{Age: 5 * time.Minute, Reachable: true, Known: true}, true},
	} {
		if got, why := assign.Stuck(c.l, timeout); got != c.want {
			t.Errorf("%+v: %v %s", c.l, got, why)
		}
	}
	if d := assign.Backoff(0, time.Second, 8*time.Second); d != time.Second {
		t.Error(d)
	}
	if d := assign.Backoff(70, time.Second, 8*time.Second); d != 8*time.Second {
		t.Error(d)
	}
}

func TestSafeMode(t *testing.T) {
	now := time.Unix(1000, 0)
	start := func(n int) *assign.SafeMode {
		s := &assign.SafeMode{}
		s.Options.EnsureDefaults()
		for range n {
			s.Started(now)
		}
		return s
	}
	on := func(s *assign.SafeMode, after time.Duration) bool {
		v, _ := s.On(now.Add(after))
		return v
	}
	check := func(name string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", name, got)
		}
	}

	s := start(1)
	s.Vanished(now)
	check("the only server", on(s, 0), false)

	s = start(4)
	s.Vanished(now)
	s.Vanished(now)
	check("half", on(s, 0), false)
	check("one more would", s.Would(now), true)
	s.Vanished(now)
	check("three of four", on(s, 0), true)
	check("still", on(s, 59*time.Second), true)
	check("timed out", on(s, 60*time.Second), false)
	check("and stays off", on(s, 61*time.Second), false)

	s = start(4)
	for range 3 {
		s.Vanished(now)
	}
	s.Started(now.Add(time.Second))
	check("one returned", on(s, time.Second), false)

	s = start(4)
	for i := range 3 {
		s.Vanished(now.Add(time.Duration(i) * 20 * time.Second))
	}
	check("slowly", on(s, 40*time.Second), false)

	s = start(4)
	for range 4 {
		s.Left(now)
	}
	check("in order", on(s, 0), false)

	s = start(3)
	s.Set(true)
	check("by hand", on(s, time.Hour), true)
	s.Set(false)
	check("off by hand", on(s, time.Hour), false)

	s = start(0) // everything was restarted while no master ran
	s.Missing(3, 0, now)
	check("nobody there", on(s, 0), true)
	s.Started(now)
	check("first", on(s, 0), true)
	s.Started(now)
	check("second", on(s, 0), false)

	s = start(1)
	s.Missing(4, 1, now)
	check("one of four is back", on(s, 0), true)
	s.Started(now)
	check("two of four are back", on(s, 0), false)

	s = start(3)
	s.Missing(3, 3, now)
	check("all are back", on(s, 0), false)

	s = start(3)
	s.Missing(1, 0, now)
	check("one is missing", on(s, 0), false)
}

func BenchmarkSpread(b *testing.B) {
	servers := make([]assign.Server, 50)
	for i := range servers {
		servers[i].ID = id(i + 1)
	}
	t := tablets(1000, 1)
	for b.Loop() {
		assign.Spread(servers, t)
	}
}

// TestSpreadKeepsShares: no zone gets more than its share of a table, though its
// servers have less of other tables.
func TestSpreadKeepsShares(t *testing.T) {
	servers := []assign.Server{
		{ID: id(1), Zone: "a"}, {ID: id(2), Zone: "a"},
		{ID: id(3), Zone: "b", Tablets: 20, PerTable: map[base.TableID]int{2: 20}}, {ID: id(4), Zone: "b", Tablets: 20, PerTable: map[base.TableID]int{2: 20}},
	}
	got := counts(assign.Spread(servers, tablets(20, 1)))
	if a := got[id(1)] + got[id(2)]; a != 10 {
		t.Errorf("zone a got %d of 20: %v", a, got)
	}
	// A zone is lost: the others take over evenly.
	got = counts(assign.Spread([]assign.Server{{ID: id(1), Zone: "a"}, {ID: id(2), Zone: "b"}, {ID: id(3), Zone: "b"}}, tablets(30, 1)))
	if got[id(1)] != 10 || got[id(2)] != 10 {
		t.Errorf("%v", got)
	}
}
