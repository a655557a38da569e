// Package assign holds the master's decisions about who serves which tablet,
// as pure functions of what it knows: no clock is read, nothing is sent. The
// master does the reading and the transactions around them.
package assign

import (
	"cmp"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Server is a live tablet server as Spread sees it.
type Server struct {
	ID   base.Incarnation
	Zone string
	// Tablets is how many tablets it owns; Load is what it does, in any unit
	// that is the same for all servers (operations per second).
	Tablets int
	Load    float64
	// PerTable is how many tablets of each table it owns. It may be nil.
	PerTable map[base.TableID]int
}

// Tablet is a tablet without owner.
type Tablet struct {
	ID    base.TabletID
	Table base.TableID
	// Load that the tablet is expected to bring; 0: as much as the average.
	Load float64
	// Avoid is the server that got the tablet last and did not serve it; it is
	// chosen only where there is no other.
	Avoid base.Incarnation
}

// Placement is one decision of Spread.
type Placement struct {
	Tablet base.TabletID
	Server base.Incarnation
}

// The weights of what Spread balances, each relative to the average server: the
// number of tablets, the load, the tablets of the same table (a scan or a hot
// table should find many servers), and the zone (none should carry more per
// server than the others). What takes a zone beyond its share of a table counts
// so much that it happens only where the others are very full.
const (
	countWeight = 1.0
	loadWeight  = 0.5
	tableWeight = 0.5
	zoneWeight  = 0.25
	shareWeight = 3.0
)

// Spread gives each tablet a server, in the order of the tablets. It is greedy
// and deterministic: equal servers are taken in order of incarnation, so that
// the tablets of a dead server go to many. Without servers there are no
// placements. It takes O(tablets * servers).
func Spread(servers []Server, tablets []Tablet) []Placement {
	if len(servers) == 0 {
		return nil
	}
	s := newSpreader(servers)
	out := make([]Placement, len(tablets))
	for i, t := range tablets {
		out[i] = Placement{Tablet: t.ID, Server: s.place(t)}
	}
	return out
}

// spreader is the state of one Spread: what each server has, with the
// placements made so far.
type spreader struct {
	servers []Server
	zones   map[string]*zone
	tablets int
	load    float64
	table   map[base.TableID]int
}

// zone is what the servers of a zone have together.
type zone struct {
	servers, tablets int
	table            map[base.TableID]int
}

func newSpreader(servers []Server) *spreader {
	s := &spreader{servers: slices.Clone(servers), zones: map[string]*zone{}, table: map[base.TableID]int{}}
	slices.SortFunc(s.servers, func(a, b Server) int { return a.ID.Compare(b.ID) })
	for i := range s.servers {
		v := &s.servers[i]
		per := make(map[base.TableID]int, len(v.PerTable))
		for id, n := range v.PerTable {
			per[id] = n
			s.table[id] += n
		}
		z := s.zones[v.Zone]
		if z == nil {
			z = &zone{table: map[base.TableID]int{}}
			s.zones[v.Zone] = z
		}
		for id, n := range per {
			z.table[id] += n
		}
		v.PerTable = per
		z.servers++
		z.tablets += v.Tablets
		s.tablets += v.Tablets
		s.load += v.Load
	}
	return s
}

func (s *spreader) place(t Tablet) base.Incarnation {
	best := slices.MinFunc(indexes(len(s.servers)), func(a, b int) int {
		return cmp.Compare(s.cost(&s.servers[a], t), s.cost(&s.servers[b], t))
	})
	load := t.Load
	if load == 0 {
		load = s.load / float64(max(s.tablets, 1))
	}
	v := &s.servers[best]
	v.Tablets++
	v.Load += load
	v.PerTable[t.Table]++
	s.tablets++
	s.load += load
	s.table[t.Table]++
	z := s.zones[v.Zone]
	z.tablets++
	z.table[t.Table]++
	return v.ID
}

// cost says how bad it is to give t to v.
func (s *spreader) cost(v *Server, t Tablet) float64 {
	const avoided = 1e9
	n := float64(len(s.servers))
	c := countWeight * share(float64(v.Tablets), float64(s.tablets)/n)
	c += loadWeight * share(v.Load, s.load/n)
	c += tableWeight * share(float64(v.PerTable[t.Table]), float64(s.table[t.Table])/n)
	if len(s.zones) > 1 {
		z := s.zones[v.Zone]
		c += zoneWeight * share(float64(z.tablets)/float64(z.servers), float64(s.tablets)/n)
		if z.table[t.Table]*len(s.servers) >= (s.table[t.Table]+1)*z.servers { // one more is above its share
			c += shareWeight
		}
	}
	if v.ID == t.Avoid {
		c += avoided
	}
	return c
}

// share is x relative to the average, which counts as at least a little, so
// that nothing is divided by zero.
func share(x, average float64) float64 {
	const little = 1e-9
	if x == 0 {
		return 0
	}
	return x / max(average, little)
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
