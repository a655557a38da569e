package rowfilter

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// Eval evaluates a Program over the rows of one scan. It is used by one
// goroutine at a time and allocates nothing per cell once its buffers have
// grown.
type Eval struct {
	p     *Program
	state []state
	dead  []bool // no cell that enters the node changes the result for this row
	conds []condition
	arena arena
	out   func(*Cell) // of the call in progress

	// The column of the last cell pushed, where the program counts columns.
	column    uint64
	family    string
	qualifier []byte
	inColumn  bool // false: the next cell begins a column

	cells    uint64 // pushed in this row
	stride   uint64 // numbers set aside for the copies of one cell
	pinned   bool   // the cell being pushed is in the arena, as
	pinQ     []byte
	pinV     []byte
	flushing int // > 0: the cells on their way are in the arena
}

// state is what a node remembers.
type state struct {
	n      int    // cells counted in this row or column
	column uint64 // that n or match is about
	family string // that match is about
	key    []byte // qualifier that match is about
	known  bool   // match is valid
	match  bool
	cell   Cell // the changed cell on its way
	held   []held
	sorted bool            // held is in order
	memo   map[string]bool // what the regular expression said of qualifiers
}

// What is remembered of qualifiers: rows tend to have the same columns, and
// where they do not, memory is bounded.
const (
	memoEntries = 1024
	memoKeyLen  = 256 // bytes
)

// NewEval returns an Eval for one scan.
func (p *Program) NewEval() *Eval {
	ev := &Eval{
		p: p, state: make([]state, len(p.nodes)), dead: make([]bool, len(p.nodes)),
		conds: make([]condition, p.conditions),
	}
	for _, n := range p.nodes {
		ev.stride = max(ev.stride, n.copies)
	}
	ev.findDead(nil)
	return ev
}

// Row begins the row with the given key, which is used during the call only.
// If it returns false nothing of the row can pass: the caller need not read it,
// and neither Push nor End have to be called.
func (ev *Eval) Row(key []byte) bool {
	if ev.p.rowDependent {
		ev.findDead(key)
	}
	for i := range ev.state {
		s := &ev.state[i]
		s.n, s.sorted = 0, true
		if s.held = s.held[:0]; cap(s.held) > heldKeep {
			s.held = nil
		}
	}
	for i := range ev.conds {
		ev.conds[i] = condition{}
	}
	ev.arena.reset()
	ev.cells, ev.inColumn, ev.flushing = 0, false, 0
	return !ev.dead[ev.p.entry]
}

// findDead marks the nodes that nothing can come out of for the row.
func (ev *Eval) findDead(key []byte) {
	for i := range ev.p.nodes {
		n := &ev.p.nodes[i]
		switch n.op {
		case opResult, opProbe:
			ev.dead[i] = false
		case opBlock:
			ev.dead[i] = true
		case opRow:
			ev.dead[i] = ev.dead[n.next] || !ev.rowMatches(n.e, key, i)
		case opInterleave:
			ev.dead[i] = true
			for _, b := range n.branches {
				ev.dead[i] = ev.dead[i] && ev.dead[b]
			}
		case opCondition:
			ev.dead[i] = ev.isDead(n.no) && (ev.dead[n.pred] || ev.isDead(n.yes))
		default:
			ev.dead[i] = ev.dead[n.next]
		}
	}
}

// isDead is dead of a part of a condition that may be missing.
func (ev *Eval) isDead(i int32) bool { return i < 0 || ev.dead[i] }

func (ev *Eval) rowMatches(e *expr, key []byte, node int) bool {
	if e.kind == kindRowRegex {
		return e.pat.match(key)
	}
	// The upper 53 bits of the hash are a number in [0, 1).
	h := mix(xxhash.Sum64(key) ^ mix(ev.p.seed+uint64(node)*0x9e3779b97f4a7c15))
	return float64(h>>11)/(1<<53) < e.p
}

// mix is the finaliser of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// Push evaluates the next cell of the row and calls out for each cell that
// passes, which is borrowed for that call. Cells come in the order of family,
// qualifier, and newest timestamp first; out gets them in the same order.
func (ev *Eval) Push(c *Cell, out func(*Cell)) Hint {
	ev.out = out
	ev.pinned = false
	if ev.p.countsColumn {
		ev.countColumn(c)
	}
	h := ev.push(ev.p.entry, c, ev.cells*ev.stride)
	ev.cells++
	return h
}

func (ev *Eval) countColumn(c *Cell) {
	if ev.inColumn && c.Family == ev.family && bytes.Equal(c.Qualifier, ev.qualifier) {
		return
	}
	ev.column++
	ev.inColumn = true
	ev.family = c.Family
	ev.qualifier = append(ev.qualifier[:0], c.Qualifier...)
}

// End ends the row: out gets the cells that were held back. It must be called
// even where Push returned SkipRow.
func (ev *Eval) End(out func(*Cell)) {
	if !ev.p.holds {
		return
	}
	ev.out = out
	for i := len(ev.p.nodes) - 1; i >= 0; i-- {
		switch n := &ev.p.nodes[i]; n.op {
		case opMerge:
			ev.flush(i)
		case opGateYes, opGateNo:
			c := &ev.conds[n.slot]
			c.decide(false)
			if c.yes == (n.op == opGateYes) {
				ev.flush(i)
			}
		}
	}
}

// push gives a cell to node i. order is its place among all the copies of the
// cells of the row.
func (ev *Eval) push(i int32, c *Cell, order uint64) Hint {
	n := &ev.p.nodes[i]
	switch n.op {
	case opResult:
		ev.out(c)
		return More
	case opBlock:
		return SkipRow
	case opRow:
		if ev.dead[i] {
			return SkipRow
		}
	case opFamily:
		if !ev.familyMatches(i, c.Family) {
			return SkipFamily
		}
	case opQualifier:
		if !ev.qualifierMatches(i, c.Qualifier) {
			return afterQualifier(n.e.pat, c.Qualifier)
		}
	case opColumnRange:
		switch {
		case c.Family != n.e.family || n.e.in.above(c.Qualifier):
			return SkipFamily
		case n.e.in.below(c.Qualifier):
			return SkipColumn
		}
	case opTimeRange:
		switch {
		case c.Timestamp < n.e.start:
			return SkipColumn // the rest of the column is older
		case n.e.end != 0 && c.Timestamp >= n.e.end:
			return More
		}
	case opValueRegex:
		if !n.e.pat.match(c.Value) {
			return More
		}
	case opValueRange:
		if n.e.in.below(c.Value) || n.e.in.above(c.Value) {
			return More
		}
	case opValueMask:
		if !hasBits(c.Value, n.e.mask) {
			return More
		}
	default:
		return ev.pushStateful(i, n, c, order)
	}
	return ev.push(n.next, c, order)
}

func (ev *Eval) pushStateful(i int32, n *node, c *Cell, order uint64) Hint {
	s := &ev.state[i]
	switch n.op {
	case opOffset:
		if s.n < n.e.n {
			s.n++
			return ev.deadHint(n.next)
		}
		return ev.push(n.next, c, order)
	case opRowLimit:
		return ev.pushLimit(s, SkipRow, n, c, order)
	case opColumnLimit:
		if s.column != ev.column {
			s.column, s.n = ev.column, 0
		}
		return ev.pushLimit(s, SkipColumn, n, c, order)
	case opStrip:
		s.cell = *c
		s.cell.Value = nil
		return ev.push(n.next, &s.cell, order)
	case opLabel:
		s.cell = *c
		s.cell.Labels = n.e.label
		return ev.push(n.next, &s.cell, order)
	case opInterleave:
		return ev.pushInterleave(n, c, order)
	case opMerge:
		ev.hold(s, c, order)
		return ev.deadHint(n.next)
	case opCondition:
		return ev.pushCondition(n, c, order)
	case opProbe:
		ev.conds[n.slot].decide(true)
		return SkipRow
	}
	return ev.pushGate(i, n, c, order)
}

func (ev *Eval) deadHint(i int32) Hint {
	if ev.dead[i] {
		return SkipRow
	}
	return More
}

// pushLimit passes the first cells only; full is the hint once they are
// through.
func (ev *Eval) pushLimit(s *state, full Hint, n *node, c *Cell, order uint64) Hint {
	if s.n >= n.e.n {
		return full
	}
	s.n++
	h := ev.push(n.next, c, order)
	switch {
	case s.n >= n.e.n:
		return max(h, full)
	case full == SkipRow && h != SkipRow:
		return More // cells that nobody behind needs count here, too
	}
	return h
}

// pushInterleave gives each branch a copy. What no branch needs is not needed.
func (ev *Eval) pushInterleave(n *node, c *Cell, order uint64) Hint {
	h := SkipRow
	for _, b := range n.branches {
		if !ev.dead[b] {
			h = min(h, ev.push(b, c, order))
		}
		order += ev.p.nodes[b].copies
	}
	return h
}

func (ev *Eval) familyMatches(i int32, family string) bool {
	s := &ev.state[i]
	if !s.known || s.family != family {
		s.known, s.family, s.match = true, family, ev.p.nodes[i].e.pat.matchString(family)
	}
	return s.match
}

// qualifierMatches remembers answers of the regular expression engine: cells of
// a column come together, and rows tend to have the same columns.
func (ev *Eval) qualifierMatches(i int32, q []byte) bool {
	pat := ev.p.nodes[i].e.pat
	if pat.form != formRegexp {
		return pat.match(q)
	}
	s := &ev.state[i]
	if s.known && (s.column == ev.column && ev.flushing == 0 || bytes.Equal(s.key, q)) {
		return s.match
	}
	match, ok := s.memo[string(q)]
	if !ok {
		match = pat.match(q)
		if len(s.memo) < memoEntries && len(q) <= memoKeyLen {
			if s.memo == nil {
				s.memo = map[string]bool{}
			}
			s.memo[string(q)] = match
		}
	}
	s.known, s.column, s.match = true, ev.column, match
	s.key = append(s.key[:0], q...)
	return match
}

// afterQualifier returns the hint after a qualifier that did not match.
func afterQualifier(p *pattern, q []byte) Hint {
	if len(p.bound) > 0 && bytes.Compare(q, p.bound) >= 0 {
		return SkipFamily
	}
	return SkipColumn
}

// hasBits reports whether v is as long as mask and has all its bits.
func hasBits(v, mask []byte) bool {
	if len(v) != len(mask) {
		return false
	}
	for i, m := range mask {
		if v[i]&m != m {
			return false
		}
	}
	return true
}
