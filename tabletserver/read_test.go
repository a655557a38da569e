package tabletserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// column and table are the naive model of a table.
type column struct{ family, qualifier string }

type table map[string]map[column]map[int64]string

// apply applies a mutation to a row.
func (m table) apply(row string, x *bigtablepb.Mutation) {
	if m[row] == nil {
		m[row] = map[column]map[int64]string{}
	}
	switch x := x.Mutation.(type) {
	case *bigtablepb.Mutation_SetCell_:
		c := column{x.SetCell.FamilyName, string(x.SetCell.ColumnQualifier)}
		if m[row][c] == nil {
			m[row][c] = map[int64]string{}
		}
		m[row][c][x.SetCell.TimestampMicros] = string(x.SetCell.Value)
	case *bigtablepb.Mutation_AddToCell_:
		c := column{x.AddToCell.FamilyName, string(x.AddToCell.ColumnQualifier.GetRawValue())}
		if m[row][c] == nil {
			m[row][c] = map[int64]string{}
		}
		ts, n := x.AddToCell.Timestamp.GetRawTimestampMicros(), x.AddToCell.Input.GetIntValue()
		if old := m[row][c][ts]; old != "" {
			n += int64(binary.BigEndian.Uint64([]byte(old)))
		}
		m[row][c][ts] = string(binary.BigEndian.AppendUint64(nil, uint64(n)))
	case *bigtablepb.Mutation_DeleteFromColumn_:
		d := x.DeleteFromColumn
		maps.DeleteFunc(m[row][column{d.FamilyName, string(d.ColumnQualifier)}], func(ts int64, _ string) bool {
			r := d.TimeRange
			return ts >= r.GetStartTimestampMicros() && (r.GetEndTimestampMicros() == 0 || ts < r.EndTimestampMicros)
		})
	case *bigtablepb.Mutation_DeleteFromFamily_:
		maps.DeleteFunc(m[row], func(c column, _ map[int64]string) bool { return c.family == x.DeleteFromFamily.FamilyName })
	case *bigtablepb.Mutation_DeleteFromRow_:
		delete(m, row)
	}
}

// read returns what a request yields. Filters see all cells, in order.
func (m table) read(t *testing.T, r *bigtablepb.ReadRowsRequest) []string {
	rows := slices.Sorted(maps.Keys(m))
	if r.Reversed {
		slices.Reverse(rows)
	}
	var ev *rowfilter.Eval
	if r.Filter != nil {
		p, err := rowfilter.Compile(r.Filter, rowfilter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ev = p.NewEval()
	}
	var out []string
	for _, row := range rows {
		if r.RowsLimit > 0 && len(out) >= int(r.RowsLimit) {
			break
		}
		if !wanted(r.Rows, []byte(row)) {
			continue
		}
		line := ""
		emit := func(c *rowfilter.Cell) {
			line += fmt.Sprintf(" %s:%s@%d=%s", c.Family, c.Qualifier, c.Timestamp, c.Value)
		}
		cells := m.cells(row)
		switch {
		case ev == nil:
			for _, c := range cells {
				emit(c)
			}
		case ev.Row([]byte(row)):
			for _, c := range cells {
				ev.Push(c, emit)
			}
			ev.End(emit)
		}
		if line != "" {
			out = append(out, row+line)
		}
	}
	return out
}

func (m table) cells(row string) []*rowfilter.Cell {
	columns := slices.SortedFunc(maps.Keys(m[row]), func(a, b column) int {
		if a.family != b.family {
			return bytes.Compare([]byte(a.family), []byte(b.family)) // cf, v1: the order of their ids
		}
		return bytes.Compare([]byte(a.qualifier), []byte(b.qualifier))
	})
	var cells []*rowfilter.Cell
	for _, c := range columns {
		stamps := slices.Sorted(maps.Keys(m[row][c]))
		slices.Reverse(stamps)
		if c.family == "v1" && len(stamps) > 1 {
			stamps = stamps[:1]
		}
		for _, ts := range stamps {
			cells = append(cells, &rowfilter.Cell{Family: c.family, FamilyID: familyIDs()[c.family], Qualifier: []byte(c.qualifier), Timestamp: ts, Value: []byte(m[row][c][ts])})
		}
	}
	return cells
}

// familyIDs are the families that tests have; ids are in the order of names.
func familyIDs() map[string]base.FamilyID {
	return map[string]base.FamilyID{"cf": 1, "v1": 2, "w": 3, "wsum": 4}
}

func wanted(set *bigtablepb.RowSet, row []byte) bool {
	if set == nil || len(set.RowKeys)+len(set.RowRanges) == 0 {
		return true
	}
	for _, k := range set.RowKeys {
		if bytes.Equal(k, row) {
			return true
		}
	}
	for _, g := range set.RowRanges {
		ok := true
		switch s := g.StartKey.(type) {
		case *bigtablepb.RowRange_StartKeyClosed:
			ok = bytes.Compare(row, s.StartKeyClosed) >= 0
		case *bigtablepb.RowRange_StartKeyOpen:
			ok = bytes.Compare(row, s.StartKeyOpen) > 0
		}
		switch e := g.EndKey.(type) {
		case *bigtablepb.RowRange_EndKeyClosed:
			ok = ok && bytes.Compare(row, e.EndKeyClosed) <= 0
		case *bigtablepb.RowRange_EndKeyOpen:
			ok = ok && bytes.Compare(row, e.EndKeyOpen) < 0
		}
		if ok {
			return true
		}
	}
	return false
}

// traffic makes random requests.
type traffic struct {
	rand *rand.Rand
	rows int
	n    int
	more []string // families beside cf and v1
}

func (x *traffic) family() string {
	k := x.rand.IntN(2 + len(x.more))
	if k < 2 {
		return []string{"cf", "v1"}[k]
	}
	return x.more[k-2]
}

func (x *traffic) row() string {
	row := fmt.Sprintf("row%03d", x.rand.IntN(x.rows))
	if x.rand.IntN(10) == 0 {
		row += []string{"\x00", "\x00\x01", "\xff"}[x.rand.IntN(3)]
	}
	return row
}

func (x *traffic) mutation() *bigtablepb.Mutation {
	family := x.family()
	qualifier := []string{"", "a", "a\x00", "b", "c"}[x.rand.IntN(5)]
	x.n++
	switch k := x.rand.IntN(100); {
	case k < 2:
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}
	case k < 5:
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: family}}}
	case k < 15:
		d := &bigtablepb.Mutation_DeleteFromColumn{FamilyName: family, ColumnQualifier: []byte(qualifier)}
		if family != "v1" && x.rand.IntN(2) == 0 { // of v1 older versions may be gone already, or not
			start := int64(x.rand.IntN(10)) * 1000
			d.TimeRange = &bigtablepb.TimestampRange{StartTimestampMicros: start, EndTimestampMicros: start + 1000 + int64(x.rand.IntN(5))*1000}
		}
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromColumn_{DeleteFromColumn: d}}
	}
	if family == "wsum" {
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_AddToCell_{AddToCell: &bigtablepb.Mutation_AddToCell{
			FamilyName: family, ColumnQualifier: &bigtablepb.Value{Kind: &bigtablepb.Value_RawValue{RawValue: []byte(qualifier)}},
			Timestamp: &bigtablepb.Value{Kind: &bigtablepb.Value_RawTimestampMicros{RawTimestampMicros: int64(x.rand.IntN(3)) * 1000}},
			Input:     &bigtablepb.Value{Kind: &bigtablepb.Value_IntValue{IntValue: int64(x.n)}},
		}}}
	}
	return tabletservertest.SetCell(family, qualifier, int64(x.rand.IntN(10))*1000, fmt.Sprintf("v%d", x.n))
}

func (x *traffic) filter(depth int) *bigtablepb.RowFilter {
	f := func(k int) *bigtablepb.RowFilter {
		switch k {
		case 0:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: []string{x.family(), x.family(), ".*", "x"}[x.rand.IntN(4)]}}
		case 1:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte([]string{"a", "[bc]", "a\\C*", ".*"}[x.rand.IntN(4)])}}
		case 2:
			start := int64(x.rand.IntN(10)) * 1000
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_TimestampRangeFilter{TimestampRangeFilter: &bigtablepb.TimestampRange{StartTimestampMicros: start, EndTimestampMicros: start + int64(1+x.rand.IntN(4))*1000}}}
		case 3:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{CellsPerColumnLimitFilter: int32(1 + x.rand.IntN(2))}}
		case 4:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: int32(1 + x.rand.IntN(4))}}
		case 5:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowOffsetFilter{CellsPerRowOffsetFilter: int32(1 + x.rand.IntN(3))}}
		case 6:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnRangeFilter{ColumnRangeFilter: &bigtablepb.ColumnRange{FamilyName: x.family(),
				StartQualifier: &bigtablepb.ColumnRange_StartQualifierClosed{StartQualifierClosed: []byte([]string{"", "a", "b"}[x.rand.IntN(3)])},
				EndQualifier:   &bigtablepb.ColumnRange_EndQualifierClosed{EndQualifierClosed: []byte("b")}}}}
		case 7:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_RowKeyRegexFilter{RowKeyRegexFilter: []byte([]string{"row0.*", ".*[02468]", "row\\C*"}[x.rand.IntN(3)])}}
		case 8:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueRegexFilter{ValueRegexFilter: []byte("v.*[0-5]")}}
		case 9:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: []*bigtablepb.RowFilter{x.filter(depth + 1), x.filter(depth + 1)}}}}
		case 10:
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Interleave_{Interleave: &bigtablepb.RowFilter_Interleave{Filters: []*bigtablepb.RowFilter{x.filter(depth + 1), x.filter(depth + 1)}}}}
		}
		return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Condition_{Condition: &bigtablepb.RowFilter_Condition{PredicateFilter: x.filter(depth + 1), TrueFilter: x.filter(depth + 1), FalseFilter: x.filter(depth + 1)}}}
	}
	if depth > 1 {
		return f(x.rand.IntN(9))
	}
	return f(x.rand.IntN(12))
}

func (x *traffic) request() *bigtablepb.ReadRowsRequest {
	r := &bigtablepb.ReadRowsRequest{Reversed: x.rand.IntN(2) == 0}
	if x.rand.IntN(2) == 0 {
		r.RowsLimit = int64(x.rand.IntN(20))
	}
	if x.rand.IntN(3) > 0 {
		r.Filter = x.filter(0)
	}
	if x.rand.IntN(3) > 0 {
		r.Rows = &bigtablepb.RowSet{}
		for range x.rand.IntN(4) {
			r.Rows.RowKeys = append(r.Rows.RowKeys, []byte(x.row()))
		}
		for range x.rand.IntN(3) {
			a, b := x.row(), x.row()
			if a > b {
				a, b = b, a
			}
			if a == b {
				continue
			}
			g := &bigtablepb.RowRange{StartKey: &bigtablepb.RowRange_StartKeyOpen{StartKeyOpen: []byte(a)}}
			if x.rand.IntN(2) == 0 {
				g.StartKey = &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: []byte(a)}
			}
			switch x.rand.IntN(3) {
			case 0:
				g.EndKey = &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte(b)}
			case 1:
				g.EndKey = &bigtablepb.RowRange_EndKeyClosed{EndKeyClosed: []byte(b)}
			}
			r.Rows.RowRanges = append(r.Rows.RowRanges, g)
		}
	}
	return r
}

// dropRange returns rows to be dropped: some, or now and then many or all.
func (x *traffic) dropRange() (start, end string) {
	switch x.rand.IntN(8) {
	case 0:
		return "", ""
	case 1:
		return x.row(), ""
	case 2:
		return "", x.row()
	}
	from := x.rand.IntN(x.rows)
	return fmt.Sprintf("row%03d", from), fmt.Sprintf("row%03d\x00", from+x.rand.IntN(30))
}

// TestReadsAgainstModel: reads of all kinds, over memtables and runs of several
// files, before and after flushes, compactions and fail-overs.
func TestReadsAgainstModel(t *testing.T) {
	rng := seedtest.New(t)
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) { readAgainstModel(t, f, rng) })
}

// readAgainstModel reads from servers whose blocks and files are tiny.
func readAgainstModel(t *testing.T, f *tabletservertest.Fixture, rng *rand.Rand) {
	ctx := t.Context()
	f.Options.Tablet.FileBytes = 2 << 10
	f.Options.Tablet.BlockBytes = 4 << 10
	f.Options.NoCompaction = true
	s := f.Open(ctx)
	tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
	m := table{}
	x := &traffic{rand: rng, rows: 150}
	for range 1500 {
		switch k := rng.IntN(1000); {
		case k < 12:
			f.Must(s.Flush(ctx, tb))
		case k < 15:
			f.Must(s.Compact(ctx, tb))
		case k < 17:
			s, tb = failOver(f, s, tb)
		case k < 19:
			time.Sleep(4 * time.Minute) // drops are forgotten
		case k < 35:
			start, end := x.dropRange()
			f.Must(s.Drop(ctx, tb, nil, start, end))
			maps.DeleteFunc(m, func(row string, _ map[column]map[int64]string) bool { return row >= start && (end == "" || row < end) })
		case k < 400:
			row := x.row()
			var list []*bigtablepb.Mutation
			for range 1 + rng.IntN(5) {
				mut := x.mutation()
				list = append(list, mut)
				m.apply(row, mut)
			}
			f.Must(s.Mutate(ctx, tb, row, list...))
		default:
			r := x.request()
			got, err := s.Read(ctx, tb, r)
			f.Must(err)
			if want := m.read(t, r); !slices.Equal(got, want) {
				t.Fatalf("read %v\n%q, want\n%q", r, got, want)
			}
		}
	}
}

// TestDeletionIsTheLastWrite: the only file there is ends, by sequence, with the
// deletion of a row or of a family. A scan that passes it sees the first cell of
// the row behind it.
func TestDeletionIsTheLastWrite(t *testing.T) {
	for name, gone := range map[string]*bigtablepb.Mutation{
		"row":    {Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}},
		"family": {Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: "v1"}}},
	} {
		inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
			ctx := t.Context()
			f.Options.NoCompaction = true
			s := f.Open(ctx)
			tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
			f.Must(s.Set(ctx, tb, "z", "cf", "q", 1000, "old"))
			f.Must(s.Flush(ctx, tb)) // so that deletions are kept
			f.Must(s.Set(ctx, tb, "b", "cf", "q", 1000, "v"))
			f.Must(s.Mutate(ctx, tb, "a", gone))
			f.Must(s.Flush(ctx, tb))
			children, err := s.Split(ctx, tb, "y") // the left one has one file
			f.Must(err)
			got := s.All(ctx, children[0])
			if want := []string{"b cf:q@1000=v"}; !slices.Equal(got, want) {
				t.Errorf("after the deletion of a %s: %q, want %q", name, got, want)
			}
		})
	}
}

func failOver(f *tabletservertest.Fixture, s *tabletservertest.Server, tb meta.Tablet) (*tabletservertest.Server, meta.Tablet) {
	ctx := f.T.Context()
	s.Kill()
	next := f.Open(ctx)
	return next, f.FailOver(ctx, tb, next)
}

// TestTimeFilterAndVersions: a filter on timestamps does not bring a version
// back that a newer one, in a file outside of the filter's range, has replaced.
func TestTimeFilterAndVersions(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction = true
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		r := &bigtablepb.ReadRowsRequest{Filter: &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_TimestampRangeFilter{
			TimestampRangeFilter: &bigtablepb.TimestampRange{EndTimestampMicros: 2000}}}}
		read := func(want ...string) {
			t.Helper()
			rows, err := s.Read(ctx, tb, r)
			f.Must(err)
			wantRows(t, rows, want...)
		}
		f.Must(s.Set(ctx, tb, "r", "v1", "q", 1000, "old"))
		f.Must(s.Set(ctx, tb, "r", "cf", "q", 1000, "kept"))
		f.Must(s.Flush(ctx, tb))
		read("r cf:q@1000=kept v1:q@1000=old")
		f.Must(s.Set(ctx, tb, "r", "v1", "q", 5000, "new"))
		f.Must(s.Set(ctx, tb, "r", "cf", "q", 5000, "newer"))
		read("r cf:q@1000=kept")
		f.Must(s.Flush(ctx, tb))
		read("r cf:q@1000=kept")
		f.Must(s.Compact(ctx, tb))
		read("r cf:q@1000=kept")
	})
}

// missAt makes the n-th call of a server's store find nothing.
func missAt(s *tabletservertest.Server, n int) {
	var calls atomic.Int64
	s.Store.Before(func(context.Context, tabletservertest.Call) error {
		if calls.Add(1) == int64(n) {
			return objstore.ErrNotFound
		}
		return nil
	})
}

// TestMissingFileOfIncrement: what reads before it writes takes the view again
// as a read does.
func TestMissingFileOfIncrement(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.CacheBytes = -1
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		_, err := s.Increment(ctx, tb, "r", "cf", "n", 1)
		f.Must(err)
		f.Must(s.Flush(ctx, tb))
		missAt(s, 1)
		n, err := s.Increment(ctx, tb, "r", "cf", "n", 1)
		f.Must(err)
		if n != 2 {
			t.Errorf("counter %d, want 2", n)
		}
		f.Must(s.Flush(ctx, tb))
		s.Store.Before(func(context.Context, tabletservertest.Call) error { return objstore.ErrNotFound })
		if _, err = s.Increment(ctx, tb, "r", "cf", "n", 1); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("increment of a row whose file is gone: %v, want corruption", err)
		}
	})
}

// TestMissingFileEndsRead: a file of the view is gone. The read fails, and does
// not pass over the row that it would have had to look for there.
func TestMissingFileEndsRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction = true
		f.Options.CacheBytes = -1
		f.Options.Tablet.BlockBytes = 4 << 10
		f.Options.Tablet.NoCompression = true
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		var want []string
		for i := range 40 {
			// A row is larger than a block, and its last cell alone passes.
			row, long := fmt.Sprintf("r%02d", i), string(bytes.Repeat([]byte("x"), 2000))
			for _, q := range []string{"a", "b", "c", "d"} {
				f.Must(s.Set(ctx, tb, row, "cf", q, 1000, long))
			}
			f.Must(s.Set(ctx, tb, row, "cf", "e", 1000, "y"))
			want = append(want, fmt.Sprintf("%s cf:e@1000=y", row))
		}
		f.Must(s.Flush(ctx, tb))
		filter := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueRegexFilter{ValueRegexFilter: []byte("y")}}
		for fail := 1; fail < 40; fail++ {
			for _, reversed := range []bool{false, true} {
				missAt(s, fail)
				rows, err := s.Read(ctx, tb, &bigtablepb.ReadRowsRequest{Reversed: reversed, Filter: filter})
				s.Store.Before(nil)
				if reversed {
					slices.Reverse(rows)
				}
				if err == nil && !slices.Equal(rows, want) {
					t.Fatalf("call %d fails, reversed %v: %d rows, want %d", fail, reversed, len(rows), len(want))
				}
				if err != nil && !errors.Is(err, base.ErrCorrupt) {
					t.Errorf("call %d fails, reversed %v: %v", fail, reversed, err)
				}
			}
		}
	})
}
