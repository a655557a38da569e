package balance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
)

// The least average of a server for bytes and requests to count at all: below
// it, evenness of them is worth no move.
const (
	leastBytes    = 64 << 20
	leastRequests = 50
)

// gross is by how much of the average two servers differ that are to be made
// even in haste.
const gross = 1.0

// Moves returns the tablets to be moved, no more than may be under way: off
// servers that are drained, out of zones that have more than their share of a
// table, then from the fullest to the emptiest, as far as zones allow.
func Moves(s State, o Options) []Decision {
	o.EnsureDefaults()
	m := newMover(s, o)
	for i := range s.Servers {
		if s.Servers[i].Drained && s.Servers[i].Reachable {
			m.empty(&s.Servers[i])
		}
	}
	for m.left() > 0 && (m.zoned() || m.even()) {
	}
	return m.out
}

// total is what a server has, or the average server.
type total struct{ tablets, bytes, requests float64 }

func (t *total) add(x *Tablet, sign float64) {
	t.tablets += sign
	t.bytes += sign * float64(x.Bytes)
	t.requests += sign * x.Requests
}

// mover simulates moves.
type mover struct {
	s       State
	o       Options
	usable  []base.Incarnation // in order
	names   map[base.Incarnation]string
	has     map[base.Incarnation]*total
	tablets map[base.Incarnation][]*Tablet
	average total // of the usable servers, as if they had everything
	zones   *zoning
	out     []Decision
}

func newMover(s State, o Options) *mover {
	m := &mover{s: s, o: o, names: map[base.Incarnation]string{}, has: map[base.Incarnation]*total{}, tablets: map[base.Incarnation][]*Tablet{}, zones: newZoning(s)}
	for i := range s.Servers {
		v := &s.Servers[i]
		m.names[v.ID], m.has[v.ID] = v.Name, &total{}
		if v.usable() {
			m.usable = append(m.usable, v.ID)
		}
	}
	slices.SortFunc(m.usable, base.Incarnation.Compare)
	for i := range s.Tablets {
		t := &s.Tablets[i]
		if h := m.has[t.Owner]; h != nil {
			h.add(t, 1)
			m.tablets[t.Owner] = append(m.tablets[t.Owner], t)
			m.average.add(t, 1)
		}
	}
	n := float64(max(len(m.usable), 1))
	m.average = total{m.average.tablets / n, m.average.bytes / n, m.average.requests / n}
	return m
}

// left is how many moves may be added.
func (m *mover) left() int { return m.o.Moves - m.s.Moving - len(m.out) }

// cost says how full a server is: 1 is the average.
func (m *mover) cost(t total) float64 {
	c, weight := 0.0, 0.0
	for _, x := range []struct{ has, average, least float64 }{
		{t.tablets, m.average.tablets, 0}, {t.bytes, m.average.bytes, leastBytes}, {t.requests, m.average.requests, leastRequests},
	} {
		if x.average > x.least {
			c += x.has / x.average
			weight++
		}
	}
	return c / max(weight, 1)
}

// empty moves everything off a drained server, hottest first, each tablet to
// where there is least.
func (m *mover) empty(v *Server) {
	if len(m.usable) == 0 {
		return
	}
	list := slices.Clone(m.tablets[v.ID])
	slices.SortStableFunc(list, func(a, b *Tablet) int { return cmp.Compare(b.Requests, a.Requests) })
	for _, t := range list {
		if m.left() <= 0 {
			return
		}
		if !t.Busy {
			m.move(t, m.emptiest(t), fmt.Sprintf("server %s is drained", v.Name))
		}
	}
}

// emptiest returns the server with least, of those in zones that a tablet may go
// to, if there is one; for nil, of all.
func (m *mover) emptiest(t *Tablet) base.Incarnation {
	allowed := func(e base.Incarnation) int {
		if t == nil || m.zones.allows(t, e) {
			return 0
		}
		return 1
	}
	return slices.MinFunc(m.usable, func(a, b base.Incarnation) int {
		return cmp.Or(cmp.Compare(allowed(a), allowed(b)), cmp.Compare(m.cost(*m.has[a]), m.cost(*m.has[b])))
	})
}

func (m *mover) move(t *Tablet, to base.Incarnation, why string) {
	m.out = append(m.out, Decision{Kind: Move, Tablet: t.ID, From: t.Owner, To: to, Why: why})
	m.has[t.Owner].add(t, -1)
	m.has[to].add(t, 1)
	m.zones.move(t, t.Owner, to)
	m.tablets[t.Owner] = slices.DeleteFunc(m.tablets[t.Owner], func(x *Tablet) bool { return x == t })
}

// even moves one tablet from the fullest server to the emptiest, if they differ
// by more than the slack and the move makes the fuller of the two less full by a
// part of it. Where zones forbid that, other pairs of servers are tried, and to
// exchange two tablets.
func (m *mover) even() bool {
	if len(m.usable) < 2 {
		return false
	}
	order := slices.Clone(m.usable)
	slices.SortStableFunc(order, func(a, b base.Incarnation) int { return cmp.Compare(m.cost(*m.has[a]), m.cost(*m.has[b])) })
	if m.between(order[len(order)-1], order[0]) {
		return true
	}
	if !m.zones.several() {
		return false
	}
	for i := range order { // what the fullest cannot give to the emptiest, others can
		if m.between(order[len(order)-1], order[i]) || m.between(order[len(order)-1-i], order[0]) {
			return true
		}
	}
	return false
}

// between moves one tablet between two servers, if that is worth it.
func (m *mover) between(from, to base.Incarnation) bool {
	full, empty := m.cost(*m.has[from]), m.cost(*m.has[to])
	if full-empty <= m.o.Slack {
		return false
	}
	age := m.o.MoveAge
	if full-empty > gross {
		age = min(age, m.o.HasteAge)
	}
	ready := func(t *Tablet) bool { return !t.Busy && t.Age >= age }
	var best *Tablet
	bestWorst := full - m.gain(full-empty)
	for _, t := range m.tablets[from] {
		if !ready(t) || !m.zones.allows(t, to) {
			continue
		}
		a, b := *m.has[from], *m.has[to]
		a.add(t, -1)
		b.add(t, 1)
		if worst := max(m.cost(a), m.cost(b)); worst < bestWorst {
			best, bestWorst = t, worst
		}
	}
	why := fmt.Sprintf("%s has %.0f%% of an average server's tablets, bytes and requests, %s %.0f%%", m.label(from), 100*full, m.label(to), 100*empty)
	if best == nil {
		return m.swap(from, to, ready, bestWorst, why)
	}
	m.move(best, to, why)
	return true
}

// gain is the least by which a move must make the fuller server less full:
// little enough that many small tablets are worth moving, enough that two
// servers do not swap.
func (m *mover) gain(difference float64) float64 {
	const part = 1e-3
	return part * difference
}

// Destination returns the server that a tablet may be moved to and that has
// least, of those in zones that have room for it if there are such; false: there
// is none but its owner.
func Destination(s State, o Options, tablet base.TabletID, owner base.Incarnation) (base.Incarnation, bool) {
	o.EnsureDefaults()
	m := newMover(s, o)
	m.usable = slices.DeleteFunc(m.usable, func(e base.Incarnation) bool { return e == owner })
	if len(m.usable) == 0 {
		return base.Incarnation{}, false
	}
	i := slices.IndexFunc(s.Tablets, func(t Tablet) bool { return t.ID == tablet })
	if i < 0 {
		return m.emptiest(nil), true
	}
	return m.emptiest(&s.Tablets[i]), true
}
