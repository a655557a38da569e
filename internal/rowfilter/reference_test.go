package rowfilter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// The reference evaluates filters over whole rows, slice in, slice out, word
// for word after data.proto. It knows neither streams nor hints.

// refCell is a cell with its origin: the index in the row, then the branch of
// each interleave it went through. Sorting by origin keeps cells in the order
// of the row and copies in the order of the branches.
type refCell struct {
	Cell
	origin []int
}

type reference struct {
	row  string
	sunk []refCell
}

func refFilter(f *bigtablepb.RowFilter, row string, cells []Cell) []Cell {
	r := reference{row: row}
	in := make([]refCell, len(cells))
	for i, c := range cells {
		in[i] = refCell{c, []int{i}}
	}
	out := append(r.apply(f, in), r.sunk...)
	sortByOrigin(out)
	var res []Cell
	for _, c := range out {
		res = append(res, c.Cell)
	}
	return res
}

func sortByOrigin(c []refCell) {
	slices.SortStableFunc(c, func(a, b refCell) int { return slices.Compare(a.origin, b.origin) })
}

// latin1String makes each byte a rune, for Go's own engine.
func latin1String(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

func refMatch(pattern, b []byte) bool {
	p := strings.ReplaceAll(latin1String(pattern), `\C`, `(?s:.)`)
	return regexp.MustCompile(`\A(?:` + p + `)\z`).MatchString(latin1String(b))
}

func (r *reference) apply(f *bigtablepb.RowFilter, in []refCell) []refCell {
	keep := func(ok func(c *Cell) bool) []refCell {
		var out []refCell
		for _, c := range in {
			if ok(&c.Cell) {
				out = append(out, c)
			}
		}
		return out
	}
	switch k := f.GetFilter().(type) {
	case *bigtablepb.RowFilter_Chain_:
		for _, s := range k.Chain.Filters {
			in = r.apply(s, in)
		}
		return in
	case *bigtablepb.RowFilter_Interleave_:
		var out []refCell
		for i, s := range k.Interleave.Filters {
			branch := slices.Clone(in)
			for j := range branch {
				branch[j].origin = append(slices.Clone(branch[j].origin), i)
			}
			out = append(out, r.apply(s, branch)...)
		}
		sortByOrigin(out)
		return out
	case *bigtablepb.RowFilter_Condition_:
		chosen := k.Condition.FalseFilter
		if len(r.apply(k.Condition.PredicateFilter, in)) > 0 {
			chosen = k.Condition.TrueFilter
		}
		if chosen == nil {
			return nil
		}
		return r.apply(chosen, in)
	case *bigtablepb.RowFilter_Sink:
		r.sunk = append(r.sunk, in...)
		return nil
	case *bigtablepb.RowFilter_BlockAllFilter:
		return nil
	case *bigtablepb.RowFilter_RowKeyRegexFilter:
		return keep(func(*Cell) bool { return refMatch(k.RowKeyRegexFilter, []byte(r.row)) })
	case *bigtablepb.RowFilter_FamilyNameRegexFilter:
		return keep(func(c *Cell) bool { return refMatch([]byte(k.FamilyNameRegexFilter), []byte(c.Family)) })
	case *bigtablepb.RowFilter_ColumnQualifierRegexFilter:
		return keep(func(c *Cell) bool { return refMatch(k.ColumnQualifierRegexFilter, c.Qualifier) })
	case *bigtablepb.RowFilter_ValueRegexFilter:
		return keep(func(c *Cell) bool { return refMatch(k.ValueRegexFilter, c.Value) })
	case *bigtablepb.RowFilter_ColumnRangeFilter:
		return keep(func(c *Cell) bool { return refInColumns(k.ColumnRangeFilter, c) })
	case *bigtablepb.RowFilter_ValueRangeFilter:
		return keep(func(c *Cell) bool { return refInValues(k.ValueRangeFilter, c.Value) })
	case *bigtablepb.RowFilter_TimestampRangeFilter:
		t := k.TimestampRangeFilter
		return keep(func(c *Cell) bool {
			return c.Timestamp >= t.StartTimestampMicros && (t.EndTimestampMicros == 0 || c.Timestamp < t.EndTimestampMicros)
		})
	case *bigtablepb.RowFilter_ValueBitmaskFilter:
		m := k.ValueBitmaskFilter.Mask
		return keep(func(c *Cell) bool {
			and := slices.Clone(c.Value)
			for i := range and {
				if i < len(m) {
					and[i] &= m[i]
				}
			}
			return len(c.Value) == len(m) && bytes.Equal(and, m)
		})
	case *bigtablepb.RowFilter_CellsPerRowOffsetFilter:
		return in[min(len(in), int(k.CellsPerRowOffsetFilter)):]
	case *bigtablepb.RowFilter_CellsPerRowLimitFilter:
		return in[:min(len(in), int(k.CellsPerRowLimitFilter))]
	case *bigtablepb.RowFilter_CellsPerColumnLimitFilter:
		n := map[string]int32{}
		return keep(func(c *Cell) bool {
			col := c.Family + ":" + string(c.Qualifier)
			n[col]++
			return n[col] <= k.CellsPerColumnLimitFilter
		})
	case *bigtablepb.RowFilter_StripValueTransformer:
		out := slices.Clone(in)
		for i := range out {
			out[i].Value = nil
		}
		return out
	case *bigtablepb.RowFilter_ApplyLabelTransformer:
		out := slices.Clone(in)
		for i := range out {
			out[i].Labels = []string{k.ApplyLabelTransformer}
		}
		return out
	}
	return in
}

func refInColumns(r *bigtablepb.ColumnRange, c *Cell) bool {
	q := string(c.Qualifier)
	ok := c.Family == r.FamilyName
	switch k := r.StartQualifier.(type) {
	case *bigtablepb.ColumnRange_StartQualifierClosed:
		ok = ok && q >= string(k.StartQualifierClosed)
	case *bigtablepb.ColumnRange_StartQualifierOpen:
		ok = ok && q > string(k.StartQualifierOpen)
	}
	switch k := r.EndQualifier.(type) {
	case *bigtablepb.ColumnRange_EndQualifierClosed:
		ok = ok && q <= string(k.EndQualifierClosed)
	case *bigtablepb.ColumnRange_EndQualifierOpen:
		ok = ok && q < string(k.EndQualifierOpen)
	}
	return ok
}

func refInValues(r *bigtablepb.ValueRange, value []byte) bool {
	v, ok := string(value), true
	switch k := r.StartValue.(type) {
	case *bigtablepb.ValueRange_StartValueClosed:
		ok = v >= string(k.StartValueClosed)
	case *bigtablepb.ValueRange_StartValueOpen:
		ok = v > string(k.StartValueOpen)
	}
	switch k := r.EndValue.(type) {
	case *bigtablepb.ValueRange_EndValueClosed:
		ok = ok && v <= string(k.EndValueClosed)
	case *bigtablepb.ValueRange_EndValueOpen:
		ok = ok && v < string(k.EndValueOpen)
	}
	return ok
}

// generator makes random rows and filters out of few distinct parts, so that
// they meet often.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

var refPatterns = []string{"", "a", "b", "q1", "q.*", ".*", `\C*`, ".*1", `\C*1\C*`, ".*x.*", "a|b|q2", "[ab]", "(?i)Q1", "q1|q2", `x\ny`, "q[0-9]", "\xff", `a\.b`, "q1.*|b", `\x61`, ".", `\C`, ".+"}

func (g generator) filter(depth int, sinks bool) *bigtablepb.RowFilter {
	n := 20
	if depth <= 0 {
		n = 15
	}
	switch k := g.IntN(n); k {
	case 0:
		return rowRegex(pick(g, refPatterns[1:]...))
	case 1:
		return family(pick(g, "a", "b", "c", ".*", "a|c", "[bc]", "nope"))
	case 2, 3:
		return qualifier(pick(g, refPatterns...))
	case 4:
		return valueRegex(pick(g, refPatterns...))
	case 5:
		return columns(pick(g, "a", "b", "nope"), pick(g, "", "[", "("), pick(g, "", "a", "q1"), pick(g, "", "]", ")"), pick(g, "q1", "q2", "z"))
	case 6:
		return values(pick(g, "", "[", "("), pick(g, "", "a", "q1"), pick(g, "", "]", ")"), pick(g, "q1", "z"))
	case 7, 8:
		return times(pick(g, int64(0), 1, 2, 3), pick(g, int64(0), 3, 4, 5))
	case 9:
		return mask(pick(g, "", "a", "\x01", "q\x01"))
	case 10:
		return offset(g.Int32N(4))
	case 11:
		return rowLimit(1 + g.Int32N(4))
	case 12:
		return columnLimit(1 + g.Int32N(3))
	case 13:
		return pick(g, strip(), label("l1"), label("l2"))
	case 14:
		if sinks && g.IntN(2) == 0 {
			return sink()
		}
		return pick(g, pass(), pass(), block(), &bigtablepb.RowFilter{})
	case 15, 16:
		return chain(g.filter(depth-1, sinks), g.filter(depth-1, sinks), g.filter(depth-1, sinks))
	case 17, 18:
		return interleave(g.filter(depth-1, sinks), g.filter(depth-1, sinks))
	}
	return when(g.filter(depth-1, false), pick(g, nil, g.filter(depth-1, false)), pick(g, nil, g.filter(depth-1, false)))
}

func (g generator) cells() []Cell {
	var out []Cell
	for i, f := range []string{"a", "b", "c"} {
		for _, q := range []string{"", "a", "a.b", "b", "q1", "q2", "x\ny", "\xff"} {
			if g.IntN(3) > 0 {
				continue
			}
			for ts := int64(5); ts >= 0; ts-- {
				if g.IntN(2) == 0 {
					out = append(out, Cell{Family: f, FamilyID: base.FamilyID(i + 1), Qualifier: []byte(q), Timestamp: ts, Value: []byte(pick(g, "", "a", "q1", "axb", "q\x03", "x\ny", "\xff"))})
				}
			}
		}
	}
	return out
}

func dumpCells(cells []Cell) string {
	var b strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&b, "%s:%q@%d=%q%v\n", c.Family, c.Qualifier, c.Timestamp, c.Value, c.Labels)
	}
	return b.String()
}

// run pushes cells as a reader would that obeys hints, or one that does not. It
// overwrites each cell after it was pushed, since cells are only borrowed.
func run(ev *Eval, row string, cells []Cell, obey bool) []Cell {
	var out []Cell
	add := func(c *Cell) {
		out = append(out, Cell{c.Family, c.FamilyID, bytes.Clone(c.Qualifier), c.Timestamp, bytes.Clone(c.Value), c.Labels})
	}
	if !ev.Row([]byte(row)) {
		return nil
	}
	for i := 0; i < len(cells); {
		c := cells[i]
		c.Qualifier, c.Value = bytes.Clone(c.Qualifier), bytes.Clone(c.Value)
		h := ev.Push(&c, add)
		for _, b := range [][]byte{c.Qualifier, c.Value} {
			for j := range b {
				b[j] = '#'
			}
		}
		at := cells[i]
		for i++; obey && i < len(cells); i++ {
			sameFamily := cells[i].Family == at.Family
			sameColumn := sameFamily && bytes.Equal(cells[i].Qualifier, at.Qualifier)
			if h == SkipRow || h == SkipFamily && sameFamily || h == SkipColumn && sameColumn {
				continue
			}
			break
		}
	}
	ev.End(add)
	return out
}

// needed returns what a reader gives to Push that reads only what the program
// needs.
func needed(p *Program, row string, cells []Cell) []Cell {
	if !p.Rows().Contains([]byte(row)) || !p.MatchesRow([]byte(row)) || !bytes.HasPrefix([]byte(row), p.Prefix()) {
		return nil
	}
	start, end := p.TimeRange()
	limit := p.CellsPerColumn()
	seen := map[string]int{}
	var out []Cell
	for _, c := range cells {
		if !p.Columns(c.Family).Contains(c.Qualifier) || c.Timestamp < start || end != 0 && c.Timestamp >= end {
			continue
		}
		col := c.Family + ":" + string(c.Qualifier)
		if seen[col]++; limit > 0 && seen[col] > limit {
			continue
		}
		if p.IgnoresValues() {
			c.Value = nil
		}
		out = append(out, c)
	}
	return out
}

func checkAgainstReference(t *testing.T, f *bigtablepb.RowFilter, p *Program, ev *Eval, row string, cells []Cell) {
	t.Helper()
	want := dumpCells(refFilter(f, row, cells))
	for _, c := range []struct {
		name string
		got  []Cell
	}{
		{"all cells", run(ev, row, cells, false)},
		{"obeying hints", run(ev, row, cells, true)},
		{"needed cells", run(ev, row, needed(p, row, cells), true)},
	} {
		if got := dumpCells(c.got); got != want {
			t.Fatalf("filter %v\nrow %q\n%s\n%s:\n%s\nwant\n%s", f, row, dumpCells(cells), c.name, got, want)
		}
	}
}

func TestAgainstReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	compiled := 0
	for range 5000 {
		f := g.filter(4, true)
		p, err := Compile(f, Options{})
		if err != nil {
			continue
		}
		compiled++
		ev := p.NewEval()
		for range 3 {
			checkAgainstReference(t, f, p, ev, pick(g, "a", "q1", "x\ny", "q2z"), g.cells())
		}
	}
	if compiled < 2000 {
		t.Fatalf("only %d filters compiled", compiled)
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		g := generator{rand.New(rand.NewPCG(a, b))}
		filter := g.filter(5, true)
		p, err := Compile(filter, Options{})
		if err != nil {
			return
		}
		checkAgainstReference(t, filter, p, p.NewEval(), pick(g, "a", "q1"), g.cells())
	})
}
