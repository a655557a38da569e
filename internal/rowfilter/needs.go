package rowfilter

import (
	"bytes"
	"slices"

	"github.com/tabletdb/tabletdb/internal/rowset"
)

// The needs of a program say what of a table can influence its result. They
// follow the tree of the filter. What one part of a chain rejects need not be
// read, unless a part before it would have noticed: a count that included it, a
// sink that returned it, a condition it would have met. Such a part is a
// barrier to the needs of those behind it.

// Rows returns a superset of the row keys that anything can pass for.
func (p *Program) Rows() rowset.Set { return p.root.rows() }

// Columns returns a superset of the qualifiers in the family that can
// influence the result; an empty set: the family need not be read.
func (p *Program) Columns(family string) rowset.Set { return p.root.columns(family) }

// TimeRange returns the timestamps [start, end) in microseconds that can
// influence the result; end 0: no end. If end is neither 0 nor above start,
// nothing can.
func (p *Program) TimeRange() (start, end int64) { return p.root.timeRange() }

// CellsPerColumn returns how many cells of a column can influence the result,
// counting from the newest one that lies in TimeRange; 0: all.
func (p *Program) CellsPerColumn() int { return p.root.cellsPerColumn() }

// IgnoresValues reports whether values influence nothing, not even by their
// length: the reader may leave Value nil.
func (p *Program) IgnoresValues() bool {
	for _, k := range []kind{kindValueRegex, kindValueRange, kindValueMask, kindSink} {
		if p.root.contains(k) {
			return false
		}
	}
	return p.root.strips()
}

// Families returns the names of the families that the filter asks for exactly,
// sorted: those of its column ranges and of its family patterns that are
// literals. A table that lacks one answers NOT_FOUND in Cloud Bigtable.
func (p *Program) Families() []string {
	var names []string
	var walk func(e *expr)
	walk = func(e *expr) {
		if e == nil {
			return
		}
		switch e.kind {
		case kindColumnRange:
			names = append(names, e.family)
		case kindFamilyRegex:
			if lit, ok := e.pat.exact(); ok {
				names = append(names, string(lit))
			}
		}
		for _, s := range e.subs {
			walk(s)
		}
	}
	walk(p.root)
	slices.Sort(names)
	return slices.Compact(names)
}

func (e *expr) rows() rowset.Set {
	switch e.kind {
	case kindRowRegex:
		return e.pat.set
	case kindBlock:
		return rowset.Set{}
	case kindChain:
		s := rowset.All()
		for _, sub := range e.subs {
			s = s.IntersectSet(sub.rows())
			if sub.contains(kindSink) { // rows are independent: only a sink is a barrier
				break
			}
		}
		return s
	case kindInterleave:
		return union(e.subs, (*expr).rows)
	case kindCondition:
		var yes, no rowset.Set
		if e.subs[1] != nil {
			yes = e.subs[0].rows().IntersectSet(e.subs[1].rows())
		}
		if e.subs[2] != nil {
			no = e.subs[2].rows()
		}
		return rowset.Of(slices.Concat(yes.Ranges(), no.Ranges())...)
	}
	return rowset.All()
}

// union returns the union of f over the parts that are there.
func union(subs []*expr, f func(*expr) rowset.Set) rowset.Set {
	var all []rowset.Range
	for _, s := range subs {
		if s != nil {
			all = append(all, f(s).Ranges()...)
		}
	}
	return rowset.Of(all...)
}

// notices says which rejected cells a filter would have noticed.
type notices uint8

const (
	noticesNone  notices = iota
	noticesNewer         // those newer than others of the same column
	noticesAll
)

func (e *expr) notices() notices {
	if e == nil {
		return noticesNone
	}
	switch e.kind {
	case kindOffset, kindRowLimit, kindSink, kindCondition:
		return noticesAll
	case kindColumnLimit:
		return noticesNewer
	}
	n := noticesNone
	for _, s := range e.subs {
		n = max(n, s.notices())
	}
	return n
}

func (e *expr) columns(family string) rowset.Set {
	switch e.kind {
	case kindBlock:
		return rowset.Set{}
	case kindFamilyRegex:
		if !e.pat.matchString(family) {
			return rowset.Set{}
		}
	case kindQualifierRegex:
		return e.pat.set
	case kindColumnRange:
		switch {
		case e.family != family || e.in.hasHi && len(e.in.hi) == 0:
			return rowset.Set{}
		case e.in.hasHi:
			return rowset.Of(rowset.Range{Start: e.in.lo, End: e.in.hi})
		}
		return rowset.Of(rowset.Range{Start: e.in.lo})
	case kindChain:
		s := rowset.All()
		for _, sub := range e.subs {
			s = s.IntersectSet(sub.columns(family))
			if sub.notices() == noticesAll {
				break
			}
		}
		return s
	case kindInterleave, kindCondition:
		return union(e.subs, func(s *expr) rowset.Set { return s.columns(family) })
	}
	return rowset.All()
}

func (e *expr) timeRange() (start, end int64) {
	switch e.kind {
	case kindTimeRange:
		return e.start, e.end
	case kindChain:
		barrier := noticesNone
		for _, sub := range e.subs {
			s, x := sub.timeRange()
			start = max(start, s)
			if barrier == noticesNone {
				end = minEnd(end, x)
			}
			if barrier = max(barrier, sub.notices()); barrier == noticesAll {
				break
			}
		}
	case kindInterleave, kindCondition:
		first := true
		for _, sub := range e.subs {
			if sub == nil {
				continue
			}
			s, x := sub.timeRange()
			if first {
				start, end, first = s, x, false
				continue
			}
			start = min(start, s)
			if end != 0 && x != 0 {
				end = max(end, x)
			} else {
				end = 0
			}
		}
	}
	return start, end
}

// minEnd is min where 0 is infinite.
func minEnd(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (e *expr) cellsPerColumn() int {
	switch e.kind {
	case kindRowLimit, kindColumnLimit:
		return e.n
	case kindChain:
		for _, sub := range e.subs {
			if n := sub.cellsPerColumn(); n > 0 {
				return n
			}
			if !sub.keepsNewest() {
				return 0
			}
		}
	case kindInterleave, kindCondition:
		return e.widestLimit()
	}
	return 0
}

// keepsNewest reports whether e passes the newest cells of a column in
// TimeRange, or none of the column.
func (e *expr) keepsNewest() bool {
	switch e.kind {
	case kindPass, kindRowRegex, kindRowSample, kindFamilyRegex, kindQualifierRegex, kindColumnRange, kindTimeRange, kindStrip, kindLabel:
		return true
	case kindChain:
		return !slices.ContainsFunc(e.subs, func(s *expr) bool { return !s.keepsNewest() })
	}
	return false
}

// widestLimit is the largest limit of the parts, where all have one and count
// the same cells: those of equal time ranges.
func (e *expr) widestLimit() int {
	widest := 0
	var start, end int64
	for _, s := range e.subs {
		if s == nil {
			continue
		}
		n := s.cellsPerColumn()
		from, to := s.timeRange()
		if n == 0 || widest > 0 && (from != start || to != end) {
			return 0
		}
		widest, start, end = max(widest, n), from, to
	}
	return widest
}

// strips reports whether no cell that e passes has a value.
func (e *expr) strips() bool {
	switch e.kind {
	case kindStrip, kindBlock:
		return true
	case kindChain:
		return slices.ContainsFunc(e.subs, (*expr).strips)
	case kindInterleave:
		return !slices.ContainsFunc(e.subs, func(s *expr) bool { return !s.strips() })
	case kindCondition:
		return (e.subs[1] == nil || e.subs[1].strips()) && (e.subs[2] == nil || e.subs[2].strips())
	}
	return false
}

// MatchesRow reports whether anything can pass for the row as far as its key
// tells, row samples left aside. It is Rows().Contains, but exact for regular
// expressions.
func (p *Program) MatchesRow(key []byte) bool { return p.root.matchesRow(key) }

func (e *expr) matchesRow(key []byte) bool {
	switch e.kind {
	case kindBlock:
		return false
	case kindRowRegex:
		return e.pat.match(key)
	case kindChain:
		for _, s := range e.subs {
			if !s.matchesRow(key) {
				return false
			}
			if s.contains(kindSink) {
				break
			}
		}
	case kindInterleave:
		return slices.ContainsFunc(e.subs, func(s *expr) bool { return s.matchesRow(key) })
	}
	return true
}

// Prefix returns the longest prefix that all keys of Rows have.
func (p *Program) Prefix() []byte {
	r := p.Rows().Ranges()
	if len(r) == 0 || len(r[len(r)-1].End) == 0 {
		return nil
	}
	first, last := r[0].Start, r[len(r)-1]
	for n := len(first); n > 0; n-- {
		end := rowset.PrefixEnd(first[:n])
		if end == nil || bytes.Compare(last.End, end) <= 0 {
			return first[:n]
		}
	}
	return nil
}
