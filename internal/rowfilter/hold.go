package rowfilter

import (
	"cmp"
	"slices"
)

// held is a cell that waits in a gate or a merge. Its bytes are in the arena.
type held struct {
	cell   Cell
	order  uint64
	column uint64
}

// condition is the state of one condition in the current row.
type condition struct {
	decided bool
	yes     bool // valid once decided
}

// decide decides c, once.
func (c *condition) decide(yes bool) {
	if !c.decided {
		c.decided, c.yes = true, yes
	}
}

// pushCondition gives the cell to the predicate until that is decided, and to
// the branches that may still be chosen, whose cells wait at the gates.
func (ev *Eval) pushCondition(n *node, c *Cell, order uint64) Hint {
	cond := &ev.conds[n.slot]
	h := SkipRow
	if !cond.decided {
		if ev.dead[n.pred] {
			cond.decide(false)
		} else {
			h = ev.push(n.pred, c, order)
			if h == SkipRow && !n.patient {
				cond.decide(false) // unless it has just produced a cell
			}
		}
	}
	if !(cond.decided && !cond.yes) && !ev.isDead(n.yes) {
		hy := ev.push(n.yes, c, order)
		if cond.decided {
			return hy
		}
		h = min(h, hy)
	}
	if !(cond.decided && cond.yes) && !ev.isDead(n.no) {
		hn := ev.push(n.no, c, order)
		if cond.decided {
			return hn
		}
		h = min(h, hn)
	}
	if cond.decided { // the chosen branch is missing or blocks
		return SkipRow
	}
	return h
}

// pushGate passes what the chosen branch produces and holds what a branch
// produces that may yet be chosen.
func (ev *Eval) pushGate(i int32, n *node, c *Cell, order uint64) Hint {
	cond := &ev.conds[n.slot]
	if !cond.decided {
		ev.hold(&ev.state[i], c, order)
		return ev.deadHint(n.next)
	}
	if cond.yes != (n.op == opGateYes) {
		return SkipRow
	}
	ev.flush(int(i))
	return ev.push(n.next, c, order)
}

// hold keeps a copy of the cell. The bytes of the cell that is being pushed are
// copied once, however often it is held.
func (ev *Eval) hold(s *state, c *Cell, order uint64) {
	h := held{cell: *c, order: order, column: ev.column}
	if ev.flushing == 0 {
		if !ev.pinned {
			ev.pinned = true
			ev.pinQ, ev.pinV = ev.arena.copy(c.Qualifier), nil
		}
		h.cell.Qualifier = ev.pinQ
		if len(c.Value) > 0 {
			if ev.pinV == nil {
				ev.pinV = ev.arena.copy(c.Value)
			}
			h.cell.Value = ev.pinV
		}
	}
	if k := len(s.held); k > 0 && s.held[k-1].order > order {
		s.sorted = false
	}
	s.held = append(s.held, h)
}

// flush passes on, in order, what node i holds.
func (ev *Eval) flush(i int) {
	s := &ev.state[i]
	if len(s.held) == 0 {
		return
	}
	if !s.sorted {
		slices.SortFunc(s.held, func(a, b held) int { return cmp.Compare(a.order, b.order) })
	}
	next := ev.p.nodes[i].next
	column := ev.column
	ev.flushing++
	for j := range s.held {
		h := &s.held[j]
		ev.column = h.column
		if ev.push(next, &h.cell, h.order) == SkipRow {
			break
		}
	}
	ev.flushing--
	ev.column = column
	s.held, s.sorted = s.held[:0], true
}

// arena keeps copies of bytes until the row ends.
type arena struct {
	chunks [][]byte // of growing capacity; those up to cur are in use
	cur    int
	size   int
}

const (
	arenaChunk = 4 << 10
	// arenaKeep is how much memory an arena keeps from one row to the next.
	arenaKeep = 1 << 20
	// heldKeep is the same for the cells of one node, as a count.
	heldKeep = 4 << 10
)

func (a *arena) reset() {
	if a.size > arenaKeep {
		*a = arena{}
		return
	}
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.cur = 0
}

// copy returns a copy of b that lives until reset.
func (a *arena) copy(b []byte) []byte {
	for ; a.cur < len(a.chunks); a.cur++ {
		if c := a.chunks[a.cur]; cap(c)-len(c) >= len(b) {
			a.chunks[a.cur] = append(c, b...)
			return a.chunks[a.cur][len(c) : len(c)+len(b) : len(c)+len(b)]
		}
	}
	n := max(len(b), min(arenaChunk<<len(a.chunks), arenaKeep/4))
	a.size += n
	c := append(make([]byte, 0, n), b...)
	a.chunks = append(a.chunks, c)
	return c[:len(b):len(b)]
}
