package balance_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/master/balance"
)

// zoned returns servers in zones: so many in each.
func zoned(per ...int) []balance.Server {
	var list []balance.Server
	for z, n := range per {
		for range n {
			i := len(list) + 1
			list = append(list, balance.Server{ID: id(i), Name: fmt.Sprintf("s%d", i), Zone: string(rune('a' + z)), Reachable: true})
		}
	}
	return list
}

// over returns by how much zones exceed their shares of tables, in all.
func over(s balance.State) (n int) {
	zone, servers, total := map[base.Incarnation]string{}, map[string]int{}, 0
	for _, v := range s.Servers {
		if v.Reachable && !v.Drained {
			zone[v.ID] = v.Zone
			servers[v.Zone]++
			total++
		}
	}
	count, tablets := map[base.TableID]map[string]int{}, map[base.TableID]int{}
	for _, t := range s.Tablets {
		if count[t.Table] == nil {
			count[t.Table] = map[string]int{}
		}
		count[t.Table][zone[t.Owner]]++
		tablets[t.Table]++
	}
	for table, by := range count {
		for z, has := range by {
			n += max(0, has-(tablets[table]*servers[z]+total-1)/total)
		}
	}
	return n
}

// TestZones: what a zone has too much of a table leaves it, even if servers are
// even, and the reason names zones.
func TestZones(t *testing.T) {
	for name, c := range map[string]struct {
		servers []balance.Server
		owner   func(i int) int // of 12 tablets
		moves   int             // at least that many, and at most two more
	}{
		"all in one zone":      {zoned(1, 1), func(int) int { return 1 }, 6},
		"two zones of three":   {zoned(1, 1, 1), func(i int) int { return 1 + i%2 }, 4},
		"in their shares":      {zoned(2, 1), func(i int) int { return 1 + i%3 }, 0},
		"uneven zones":         {zoned(3, 1), func(i int) int { return 1 + i%3 }, 3},
		"one zone":             {zoned(2), func(i int) int { return 1 + i%2 }, 0},
		"even within one zone": {zoned(2, 2), func(i int) int { return 1 + i%2 }, 6},
	} {
		s := balance.State{Servers: c.servers, Tablets: tablets(12, func(i int, x *balance.Tablet) { x.Owner = id(c.owner(i)) })}
		if plan := balance.Moves(s, balance.Options{}); c.moves > 0 && (len(plan) == 0 || !strings.Contains(plan[0].Why, "zone ")) {
			t.Errorf("%s: %+v", name, plan)
		}
		if n := settle(t, s, balance.Options{}); n < c.moves || n > c.moves+2 || over(s) != 0 {
			t.Errorf("%s: %d moves, %d too many in a zone", name, n, over(s))
		}
	}
}

// TestZonesOfTables: two tables, each in one zone; servers are even before and
// after, for tablets change places.
func TestZonesOfTables(t *testing.T) {
	s := balance.State{Servers: zoned(1, 1), Tablets: tablets(20, func(i int, x *balance.Tablet) {
		x.Owner, x.Table = id(1+i%2), base.TableID(1+i%2)
	})}
	n := settle(t, s, balance.Options{})
	has := perServer(s, func(balance.Tablet) float64 { return 1 })
	if over(s) != 0 || n > 14 || has[id(1)] < 9 || has[id(1)] > 11 {
		t.Errorf("%d moves, %v, %d too many", n, has, over(s))
	}
}

// TestZoneOfHotTablets: zones have their shares, but one all the requests: hot
// tablets and cold ones change places.
func TestZoneOfHotTablets(t *testing.T) {
	s := balance.State{Servers: zoned(1, 1), Tablets: tablets(8, func(i int, x *balance.Tablet) {
		if x.Owner = id(1 + i%2); i%2 == 0 {
			x.Requests = 1000
		}
	})}
	settle(t, s, balance.Options{})
	hot := perServer(s, func(x balance.Tablet) float64 { return x.Requests })
	if over(s) != 0 || hot[id(1)] < 1000 || hot[id(1)] > 3000 {
		t.Errorf("%v, %d too many", hot, over(s))
	}
}

// TestZonesSettle: whatever there is, and whatever zones come and go, moves end,
// no more than may be are under way, and of what only counts nothing is left in
// a zone beyond its share.
func TestZonesSettle(t *testing.T) {
	rng := seedtest.New(t)
	for round := range 150 {
		per := make([]int, 1+rng.IntN(4))
		for i := range per {
			per[i] = 1 + rng.IntN(3)
		}
		s := balance.State{Servers: zoned(per...)}
		weighted := round%2 == 1
		s.Tablets = tablets(1+rng.IntN(50), func(_ int, x *balance.Tablet) {
			x.Owner, x.Table = id(1+rng.IntN(len(s.Servers))), base.TableID(1+rng.IntN(3))
			if weighted {
				x.Bytes, x.Requests = rng.Int64N(1<<30), float64(rng.IntN(1000))
			}
		})
		first := settle(t, s, balance.Options{})
		if limit := 3*len(s.Tablets) + 5; first > limit {
			t.Errorf("%d moves of %d tablets", first, len(s.Tablets))
		}
		if n := over(s); n != 0 && !weighted {
			t.Errorf("zones %v: %d too many of %d tablets", per, n, len(s.Tablets))
		}
		if len(per) > 1 {
			loseZone(t, rng, s)
		}
	}
}

// loseZone takes a zone away, gives its tablets to the others, and brings it
// back.
func loseZone(t *testing.T, rng *rand.Rand, s balance.State) {
	t.Helper()
	lost := s.Servers[rng.IntN(len(s.Servers))].Zone
	var left []base.Incarnation
	for i := range s.Servers {
		if s.Servers[i].Reachable = s.Servers[i].Zone != lost; s.Servers[i].Reachable {
			left = append(left, s.Servers[i].ID)
		}
	}
	n := 0
	for i := range s.Tablets {
		if !reachable(s, s.Tablets[i].Owner) {
			s.Tablets[i].Owner, s.Tablets[i].Age = left[n%len(left)], time.Hour
			n++
		}
	}
	settle(t, s, balance.Options{})
	for i := range s.Servers {
		s.Servers[i].Reachable = true
	}
	if plan := balance.Moves(s, balance.Options{Moves: 3}); len(plan) > 3 {
		t.Errorf("a storm: %d moves at once", len(plan))
	}
	if moves := settle(t, s, balance.Options{}); moves > 3*len(s.Tablets)+5 {
		t.Errorf("%d moves of %d tablets after a zone came back", moves, len(s.Tablets))
	}
}

func reachable(s balance.State, e base.Incarnation) bool {
	for _, v := range s.Servers {
		if v.ID == e {
			return v.Reachable
		}
	}
	return false
}

// TestZonesWithoutRoom: a zone whose servers are full gets nothing for the sake
// of shares.
func TestZonesWithoutRoom(t *testing.T) {
	s := balance.State{Servers: zoned(3, 1), Tablets: tablets(40, func(i int, x *balance.Tablet) {
		x.Owner, x.Table = id(1+i%3), 1
		if i >= 30 {
			x.Owner, x.Table, x.Age = id(4), base.TableID(i), 0 // they stay
		}
	})}
	for i := range s.Tablets {
		if s.Tablets[i].Owner == id(4) {
			s.Tablets[i].Bytes = 1 << 30
			s.Tablets[i].Busy = true
		}
	}
	if plan := balance.Moves(s, balance.Options{}); len(plan) != 0 {
		t.Errorf("%+v", plan)
	}
}

// TestDestination: where an operator names no server, zones count as well.
func TestDestination(t *testing.T) {
	s := balance.State{Servers: zoned(2, 1), Tablets: tablets(6, func(i int, x *balance.Tablet) { x.Owner = id([]int{1, 1, 3, 3, 3, 3}[i]) })}
	if to, ok := balance.Destination(s, balance.Options{}, 1, id(1)); !ok || to != id(2) {
		t.Errorf("%v %v", to, ok)
	}
	s.Servers = s.Servers[:1]
	if to, ok := balance.Destination(s, balance.Options{}, 1, id(1)); ok {
		t.Errorf("%v", to)
	}
}

// BenchmarkPlanZones is BenchmarkPlan with three zones, one of which has a
// server that nothing can make less full.
func BenchmarkPlanZones(b *testing.B) {
	s := balance.State{Servers: zoned(17, 17, 16), Tablets: tablets(10000, func(i int, x *balance.Tablet) {
		x.Owner = id(1 + i%50)
		if i == 0 {
			x.Requests = 1e6
		}
	})}
	for b.Loop() {
		balance.Plan(s, balance.Options{})
	}
}
