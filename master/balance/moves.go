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
// servers that are drained, then from the fullest to the emptiest.
func Moves(s State, o Options) []Decision {
	o.EnsureDefaults()
	m := newMover(s, o)
	for i := range s.Servers {
		if s.Servers[i].Drained && s.Servers[i].Reachable {
			m.empty(&s.Servers[i])
		}
	}
	for m.left() > 0 && m.even() {
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
	out     []Decision
}

func newMover(s State, o Options) *mover {
	m := &mover{s: s, o: o, names: map[base.Incarnation]string{}, has: map[base.Incarnation]*total{}, tablets: map[base.Incarnation][]*Tablet{}}
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
			m.move(t, m.emptiest(), fmt.Sprintf("server %s is drained", v.Name))
		}
	}
}

func (m *mover) emptiest() base.Incarnation {
	return slices.MinFunc(m.usable, func(a, b base.Incarnation) int { return cmp.Compare(m.cost(*m.has[a]), m.cost(*m.has[b])) })
}

func (m *mover) move(t *Tablet, to base.Incarnation, why string) {
	m.out = append(m.out, Decision{Kind: Move, Tablet: t.ID, From: t.Owner, To: to, Why: why})
	m.has[t.Owner].add(t, -1)
	m.has[to].add(t, 1)
	m.tablets[t.Owner] = slices.DeleteFunc(m.tablets[t.Owner], func(x *Tablet) bool { return x == t })
}

// even moves one tablet from the fullest server to the emptiest, if they differ
// by more than the slack and the move makes the fuller of the two less full by a
// part of it.
func (m *mover) even() bool {
	if len(m.usable) < 2 {
		return false
	}
	to := m.emptiest()
	from := slices.MaxFunc(m.usable, func(a, b base.Incarnation) int { return cmp.Compare(m.cost(*m.has[a]), m.cost(*m.has[b])) })
	full, empty := m.cost(*m.has[from]), m.cost(*m.has[to])
	if full-empty <= m.o.Slack {
		return false
	}
	age := m.o.MoveAge
	if full-empty > gross {
		age = min(age, m.o.HasteAge)
	}
	var best *Tablet
	bestWorst := full - m.gain(full-empty)
	for _, t := range m.tablets[from] {
		if t.Busy || t.Age < age {
			continue
		}
		a, b := *m.has[from], *m.has[to]
		a.add(t, -1)
		b.add(t, 1)
		if worst := max(m.cost(a), m.cost(b)); worst < bestWorst {
			best, bestWorst = t, worst
		}
	}
	if best == nil {
		return false
	}
	m.move(best, to, fmt.Sprintf("%s has %.0f%% of an average server's tablets, bytes and requests, %s %.0f%%", m.names[from], 100*full, m.names[to], 100*empty))
	return true
}

// gain is the least by which a move must make the fuller server less full:
// little enough that many small tablets are worth moving, enough that two
// servers do not swap.
func (m *mover) gain(difference float64) float64 {
	const part = 1e-3
	return part * difference
}

// Emptiest returns the server that tablets may be moved to and that has least,
// other than not; false: there is none.
func Emptiest(s State, o Options, not base.Incarnation) (base.Incarnation, bool) {
	o.EnsureDefaults()
	m := newMover(s, o)
	m.usable = slices.DeleteFunc(m.usable, func(e base.Incarnation) bool { return e == not })
	if len(m.usable) == 0 {
		return base.Incarnation{}, false
	}
	return m.emptiest(), true
}
