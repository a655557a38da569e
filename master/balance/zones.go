package balance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
)

// zoning counts the tablets of each table in each zone. A zone's share of a
// table is as much of it as the zone has of the servers that take tablets,
// rounded up: so many tablets at the most are gone for a moment when the zone
// is, and no server has to hold more than others for it.
//
// Why it ends: moves of zoned lower the number of tablets that are too many in
// their zones, and no other move raises it, but for those off drained servers,
// which are as many as these have tablets. Between two of zoned there are only
// moves that make servers more even, which end by themselves.
type zoning struct {
	of      map[base.Incarnation]string // also of servers that take none
	servers map[string]int              // that take tablets
	total   int                         // of them
	count   map[base.TableID]map[string]int
	tablets map[base.TableID]int
}

func newZoning(s State) *zoning {
	z := &zoning{of: map[base.Incarnation]string{}, servers: map[string]int{}, count: map[base.TableID]map[string]int{}, tablets: map[base.TableID]int{}}
	for i := range s.Servers {
		v := &s.Servers[i]
		z.of[v.ID] = v.Zone
		if v.usable() {
			z.servers[v.Zone]++
			z.total++
		}
	}
	for i := range s.Tablets {
		t := &s.Tablets[i]
		if z.count[t.Table] == nil {
			z.count[t.Table] = map[string]int{}
		}
		z.tablets[t.Table]++
		if zone, ok := z.of[t.Owner]; ok {
			z.count[t.Table][zone]++
		}
	}
	return z
}

// several reports whether there is a choice of zones.
func (z *zoning) several() bool { return len(z.servers) > 1 }

// share returns how many tablets of a table a zone is to have at most.
func (z *zoning) share(table base.TableID, zone string) int {
	return (z.tablets[table]*z.servers[zone] + z.total - 1) / max(z.total, 1)
}

// excess returns how many tablets of a table a zone has above its share.
func (z *zoning) excess(table base.TableID, zone string) int {
	return max(0, z.count[table][zone]-z.share(table, zone))
}

// allows reports whether a tablet may go from one server to another: within a
// zone, or to one that has less than its share.
func (z *zoning) allows(t *Tablet, to base.Incarnation) bool {
	a, b := z.of[t.Owner], z.of[to]
	return a == b || !z.several() || z.count[t.Table][b] < z.share(t.Table, b)
}

func (z *zoning) move(t *Tablet, from, to base.Incarnation) {
	z.count[t.Table][z.of[from]]--
	z.count[t.Table][z.of[to]]++
}

// label names a server with its zone, where there are several.
func (m *mover) label(e base.Incarnation) string {
	if !m.zones.several() || m.zones.of[e] == "" {
		return m.names[e]
	}
	return fmt.Sprintf("%s (zone %s)", m.names[e], m.zones.of[e])
}

func zoneName(zone string) string {
	if zone == "" {
		return "the servers without a zone"
	}
	return "zone " + zone
}

// zoned moves one tablet out of a zone that has more than its share of the
// tablet's table, to the emptiest server of one that has less and has room.
func (m *mover) zoned() bool {
	z := m.zones
	if !z.several() {
		return false
	}
	for _, table := range slices.Sorted(maps.Keys(z.count)) {
		for _, zone := range slices.Sorted(maps.Keys(z.servers)) {
			if z.excess(table, zone) > 0 && m.relieve(table, zone) {
				return true
			}
		}
	}
	return false
}

// relieve moves a tablet of a table out of a zone, off the fullest server there.
func (m *mover) relieve(table base.TableID, zone string) bool {
	z := m.zones
	var from []base.Incarnation
	for _, e := range m.usable {
		if z.of[e] == zone {
			from = append(from, e)
		}
	}
	slices.SortStableFunc(from, func(a, b base.Incarnation) int { return cmp.Compare(m.cost(*m.has[b]), m.cost(*m.has[a])) })
	for _, e := range from {
		var best *Tablet
		for _, t := range m.tablets[e] {
			if t.Table == table && !t.Busy && t.Age >= m.o.MoveAge && (best == nil || t.Requests < best.Requests) {
				best = t
			}
		}
		if best == nil {
			continue
		}
		to, ok := m.roomFor(best)
		if !ok {
			return false
		}
		m.move(best, to, fmt.Sprintf("%s has %d of the %d tablets of table %d, more than its share of %d; %s has %d",
			zoneName(zone), z.count[table][zone], z.tablets[table], table, z.share(table, zone), zoneName(z.of[to]), z.count[table][z.of[to]]))
		return true
	}
	return false
}

// roomFor returns the emptiest server of another zone that has less than its
// share of the tablet's table, if it has room: it is not fuller than servers may
// be, or than the one that the tablet comes from.
func (m *mover) roomFor(t *Tablet) (best base.Incarnation, ok bool) {
	z := m.zones
	for _, e := range m.usable {
		if z.of[e] == z.of[t.Owner] || !z.allows(t, e) {
			continue
		}
		c := m.cost(*m.has[e])
		if (c <= 1+m.o.Slack || c <= m.cost(*m.has[t.Owner])) && (!ok || c < m.cost(*m.has[best])) {
			best, ok = e, true
		}
	}
	return best, ok
}

// swap exchanges two tablets of one table between two servers of different
// zones, where a move would take a zone beyond its share: if the fuller server
// gets less full by enough. A server is as full as its tablets together, so that
// the best partner of a tablet is the one that is lighter by half of the
// difference.
func (m *mover) swap(from, to base.Incarnation, ready func(*Tablet) bool, bestWorst float64, why string) bool {
	if m.left() < 2 {
		return false
	}
	full, empty := m.cost(*m.has[from]), m.cost(*m.has[to])
	partners := map[base.TableID][]*Tablet{}
	for _, y := range m.tablets[to] {
		if ready(y) {
			partners[y.Table] = append(partners[y.Table], y)
		}
	}
	for _, list := range partners {
		slices.SortStableFunc(list, func(a, b *Tablet) int { return cmp.Compare(m.weight(a), m.weight(b)) })
	}
	var best [2]*Tablet
	for _, x := range m.tablets[from] {
		list := partners[x.Table]
		if len(list) == 0 || !ready(x) || m.zones.allows(x, to) {
			continue
		}
		ideal := m.weight(x) - (full-empty)/2
		i, _ := slices.BinarySearchFunc(list, ideal, func(y *Tablet, w float64) int { return cmp.Compare(m.weight(y), w) })
		for _, y := range list[max(i-1, 0):min(i+1, len(list))] {
			d := m.weight(x) - m.weight(y)
			if worst := max(full-d, empty+d); worst < bestWorst {
				best, bestWorst = [2]*Tablet{x, y}, worst
			}
		}
	}
	if best[0] == nil {
		return false
	}
	m.move(best[0], to, fmt.Sprintf("%s; tablet %d goes the other way, so that zones keep their shares", why, best[1].ID))
	m.move(best[1], from, fmt.Sprintf("tablet %d came from there, so that zones keep their shares", best[0].ID))
	return true
}

// weight is how much fuller a server gets by a tablet.
func (m *mover) weight(t *Tablet) float64 {
	var x total
	x.add(t, 1)
	return m.cost(x)
}
