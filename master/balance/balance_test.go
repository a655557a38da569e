package balance_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/master/balance"
)

func id(n int) base.Incarnation { return base.Incarnation{Generation: 1, Index: uint64(n)} }

// servers returns n servers, which are all usable.
func servers(n int) []balance.Server {
	list := make([]balance.Server, n)
	for i := range list {
		list[i] = balance.Server{ID: id(i + 1), Name: fmt.Sprintf("s%d", i+1), Reachable: true}
	}
	return list
}

// row is the i-th end of a tablet.
func row(i int) []byte { return fmt.Appendf(nil, "r%05d", i) }

// tablets returns n neighbours; f sets what differs.
func tablets(n int, f func(i int, t *balance.Tablet)) []balance.Tablet {
	list := make([]balance.Tablet, n)
	for i := range list {
		list[i] = balance.Tablet{ID: base.TabletID(i + 1), Table: 1, Start: row(i), End: row(i + 1), Owner: id(1), Known: true, Age: 24 * time.Hour}
		f(i, &list[i])
	}
	list[0].Start, list[n-1].End = nil, nil
	return list
}

// settle applies plans until nothing is to be done, and returns how many moves
// that took.
func settle(t *testing.T, s balance.State, o balance.Options) int {
	t.Helper()
	for moves := 0; ; {
		plan := balance.Moves(s, o)
		if len(plan) == 0 {
			return moves
		}
		for _, d := range plan {
			i := slices.IndexFunc(s.Tablets, func(x balance.Tablet) bool { return x.ID == d.Tablet })
			if s.Tablets[i].Owner != d.From || d.From == d.To || d.Why == "" {
				t.Fatalf("decision %+v", d)
			}
			s.Tablets[i].Owner = d.To
			moves++
		}
		if moves > 20*len(s.Tablets) {
			t.Fatal("moves do not end")
		}
	}
}

func perServer(s balance.State, weight func(balance.Tablet) float64) map[base.Incarnation]float64 {
	sums := map[base.Incarnation]float64{}
	for _, v := range s.Servers {
		sums[v.ID] = 0
	}
	for _, x := range s.Tablets {
		sums[x.Owner] += weight(x)
	}
	return sums
}

// TestLateServerIsFilled: a server that joins gets its part, and then nothing
// moves any more.
func TestLateServerIsFilled(t *testing.T) {
	s := balance.State{Servers: servers(3), Tablets: tablets(30, func(i int, x *balance.Tablet) { x.Owner = id(1 + i%2) })}
	if n := len(balance.Moves(s, balance.Options{Moves: 4})); n != 4 {
		t.Errorf("%d moves at once", n)
	}
	s.Moving = 3
	if n := len(balance.Moves(s, balance.Options{Moves: 4})); n != 1 {
		t.Errorf("%d moves beside 3", n)
	}
	s.Moving = 0
	if n := settle(t, s, balance.Options{}); n > 10 {
		t.Errorf("%d moves where 10 do", n)
	}
	for e, n := range perServer(s, func(balance.Tablet) float64 { return 1 }) {
		if n < 9 || n > 11 {
			t.Errorf("%v has %v of 30", e, n)
		}
	}
}

// TestHaste: tablets that were split off a moment ago are spread if one server
// has them all, and rest if servers differ by less.
func TestHaste(t *testing.T) {
	young := func(owner func(i int) int) balance.State {
		return balance.State{Servers: servers(3), Tablets: tablets(12, func(i int, x *balance.Tablet) {
			x.Owner, x.Age = id(owner(i)), 10*time.Second
		})}
	}
	if n := len(balance.Moves(young(func(int) int { return 1 }), balance.Options{})); n == 0 {
		t.Error("one server keeps all tablets")
	}
	if plan := balance.Moves(young(func(i int) int { return 1 + min(2, i/5) }), balance.Options{}); len(plan) != 0 {
		t.Errorf("moved in haste: %v", plan)
	}
	s := young(func(int) int { return 1 })
	for i := range s.Tablets {
		s.Tablets[i].Age = time.Second
	}
	if plan := balance.Moves(s, balance.Options{}); len(plan) != 0 {
		t.Errorf("moved at once: %v", plan)
	}
}

// TestMovesSettle: whatever the tablets are like, moves end, servers are even as
// far as tablets allow, and what is nearly even is left alone.
func TestMovesSettle(t *testing.T) {
	rng := seedtest.New(t)
	for range 200 {
		n := 1 + rng.IntN(6)
		s := balance.State{Servers: servers(n), Tablets: tablets(1+rng.IntN(60), func(_ int, x *balance.Tablet) {
			x.Owner = id(1 + rng.IntN(n))
			x.Bytes = rng.Int64N(1 << 30)
			x.Requests = float64(rng.IntN(1000))
		})}
		moves := settle(t, s, balance.Options{})
		if moves > 2*len(s.Tablets) {
			t.Errorf("%d moves of %d tablets", moves, len(s.Tablets))
		}
		small := slices.MaxFunc(s.Tablets, func(a, b balance.Tablet) int { return int(a.Bytes - b.Bytes) }).Bytes
		bytes := perServer(s, func(x balance.Tablet) float64 { return float64(x.Bytes) })
		var total float64
		for _, b := range bytes {
			total += b
		}
		for e, b := range bytes {
			if limit := 1.8*total/float64(n) + 2*float64(small); b > limit {
				t.Errorf("%v has %.0f of %.0f bytes on %d servers", e, b, total, n)
			}
		}
	}
}

func TestEvenServersAreLeftAlone(t *testing.T) {
	s := balance.State{Servers: servers(2), Tablets: tablets(9, func(i int, x *balance.Tablet) { x.Owner = id(1 + i%2) })}
	if d := balance.Moves(s, balance.Options{}); len(d) > 0 {
		t.Errorf("5 and 4 tablets: %v", d)
	}
	// One that was moved lately stays, and so does one that is busy.
	s = balance.State{Servers: servers(2), Tablets: tablets(2, func(i int, x *balance.Tablet) { x.Age, x.Busy = time.Duration(i)*time.Hour, i == 1 })}
	if d := balance.Moves(s, balance.Options{}); len(d) > 0 {
		t.Errorf("%v", d)
	}
	// A lone tablet that is hot makes no two servers swap.
	s = balance.State{Servers: servers(2), Tablets: tablets(1, func(_ int, x *balance.Tablet) { x.Requests = 1e6 })}
	if d := balance.Moves(s, balance.Options{}); len(d) > 0 {
		t.Errorf("%v", d)
	}
}

// TestHotTabletsAreSpread: equal numbers of tablets, but all requests at one.
func TestHotTabletsAreSpread(t *testing.T) {
	s := balance.State{Servers: servers(2), Tablets: tablets(8, func(i int, x *balance.Tablet) {
		x.Owner = id(1 + i%2)
		if i%2 == 0 {
			x.Requests = 1000
		}
	})}
	settle(t, s, balance.Options{})
	for e, n := range perServer(s, func(x balance.Tablet) float64 { return x.Requests }) {
		if n < 1000 || n > 3000 {
			t.Errorf("%v gets %v of 4000 requests", e, n)
		}
	}
}

// TestDrain: a drained server is emptied, gets nothing, and one that cannot be
// left is not.
func TestDrain(t *testing.T) {
	s := balance.State{Servers: servers(3), Tablets: tablets(9, func(i int, x *balance.Tablet) { x.Owner, x.Age = id(1+i%3), 0 })}
	s.Servers[0].Drained = true
	settle(t, s, balance.Options{Moves: 2})
	n := perServer(s, func(balance.Tablet) float64 { return 1 })
	if n[id(1)] != 0 || n[id(2)] < 4 || n[id(3)] < 4 {
		t.Errorf("%v", n)
	}
	for i := range s.Servers {
		s.Servers[i].Drained = true
	}
	if d := balance.Moves(s, balance.Options{}); len(d) > 0 {
		t.Errorf("nowhere to go: %v", d)
	}
	s.Servers[2].Drained, s.Servers[2].Reachable = false, false
	if d := balance.Moves(s, balance.Options{}); len(d) > 0 {
		t.Errorf("to a server that does not answer: %v", d)
	}
}

func TestSplits(t *testing.T) {
	s := balance.State{Servers: servers(2), Tablets: tablets(6, func(i int, x *balance.Tablet) {
		switch i {
		case 0:
			x.Bytes = 3 << 30
		case 1:
			x.Bytes, x.Busy = 3<<30, true
		case 2:
			x.Requests = 9000
		case 3:
			x.Requests, x.Age = 9000, time.Second // it was split a moment ago
		case 4:
			x.Bytes = 2 << 30
		case 5:
			x.Bytes, x.Known = 2<<30, false
		}
	})}
	d := balance.Splits(s, balance.Options{})
	if len(d) != 3 || d[0].Tablet != 1 || d[1].Tablet != 5 || d[2].Tablet != 3 || !d[2].ByLoad || d[0].ByLoad {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(d[0].Why, "3.0 GiB") || !strings.Contains(d[2].Why, "9000 requests/s") {
		t.Errorf("%+v", d)
	}
	if d := balance.Splits(s, balance.Options{Splits: 1}); len(d) != 1 {
		t.Errorf("%+v", d)
	}
}

// TestMerges: only neighbours that are small, cold and old, and only of a table
// with tablets enough.
func TestMerges(t *testing.T) {
	cold := func(n int) balance.State {
		return balance.State{Servers: servers(2), Tablets: tablets(n, func(i int, x *balance.Tablet) { x.Bytes = int64(1000 - i) })}
	}
	s := cold(6)
	if d := balance.Merges(s, balance.Options{}); len(d) != 1 || d[0].Tablet != 5 || d[0].Other != 6 {
		t.Errorf("%+v", d)
	}
	if d := balance.Merges(cold(4), balance.Options{}); len(d) > 0 {
		t.Errorf("4 tablets on 2 servers: %+v", d)
	}
	if d := balance.Merges(s, balance.Options{MergeBytes: -1}); len(d) > 0 {
		t.Errorf("turned off: %+v", d)
	}
	for name, spoil := range map[string]func(x *balance.Tablet){
		"large": func(x *balance.Tablet) { x.Bytes = 1 << 30 }, "hot": func(x *balance.Tablet) { x.Requests = 1000 },
		"young": func(x *balance.Tablet) { x.Age = time.Minute }, "busy": func(x *balance.Tablet) { x.Busy = true },
		"unknown": func(x *balance.Tablet) { x.Known = false },
	} {
		s := cold(6)
		for i := range s.Tablets {
			if i%2 == 0 {
				spoil(&s.Tablets[i])
			}
		}
		if d := balance.Merges(s, balance.Options{}); len(d) > 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
	s = cold(6)
	s.Tablets = slices.Delete(s.Tablets, 1, 2) // not served
	s.Tablets = slices.Delete(s.Tablets, 2, 3)
	if d := balance.Merges(s, balance.Options{MergeAbove: 1}); len(d) != 1 || d[0].Tablet != 5 {
		t.Errorf("across holes: %+v", d)
	}
}

// TestSplitsAndMergesDoNotOscillate: what a split makes is no merge, and what a
// merge makes no split.
func TestSplitsAndMergesDoNotOscillate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	o := balance.Options{MergeAge: 1, SplitAge: 1, MergeAbove: 1}
	for range 1000 {
		x := balance.Tablet{ID: 1, Table: 1, Owner: id(1), Known: true, Age: time.Hour, Bytes: rng.Int64N(4 << 30), Requests: float64(rng.IntN(20000))}
		one := balance.State{Servers: servers(1), Tablets: []balance.Tablet{x}}
		if len(balance.Splits(one, o)) == 0 {
			continue
		}
		l, r := x, x
		l.End, r.Start, r.ID = []byte("m"), []byte("m"), 2
		part := 0.2 + 0.6*rng.Float64()
		l.Bytes, l.Requests = int64(part*float64(x.Bytes)), part*x.Requests
		r.Bytes, r.Requests = x.Bytes-l.Bytes, x.Requests-l.Requests
		if d := balance.Merges(balance.State{Servers: servers(1), Tablets: []balance.Tablet{l, r}}, o); len(d) > 0 {
			t.Fatalf("%+v is split and merged again", x)
		}
	}
}

// TestPlan: no tablet occurs in two decisions.
func TestPlan(t *testing.T) {
	s := balance.State{Servers: servers(2), Tablets: tablets(40, func(i int, x *balance.Tablet) {
		if i < 3 {
			x.Bytes = 5 << 30
		}
	})}
	seen := map[base.TabletID]bool{}
	kinds := map[balance.Kind]int{}
	for _, d := range balance.Plan(s, balance.Options{}) {
		if seen[d.Tablet] || d.Other != 0 && seen[d.Other] {
			t.Errorf("tablet %d occurs twice", d.Tablet)
		}
		seen[d.Tablet], seen[d.Other] = true, true
		kinds[d.Kind]++
		if d.String() == "" {
			t.Error("a decision without words")
		}
	}
	if kinds[balance.Split] != 3 || kinds[balance.Move] == 0 || kinds[balance.Merge] != 1 {
		t.Errorf("%v", kinds)
	}
}

func BenchmarkPlan(b *testing.B) {
	s := balance.State{Servers: servers(50), Tablets: tablets(10000, func(i int, x *balance.Tablet) { x.Owner = id(1 + i%45) })}
	for b.Loop() {
		balance.Plan(s, balance.Options{})
	}
}
