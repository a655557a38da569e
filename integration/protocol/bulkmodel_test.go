package protocol_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// shadow is a table as a map, and the real one.
type shadow struct {
	*bubble
	rand  *rand.Rand
	s     []*tabletservertest.Server
	table meta.Table
	cells map[string]string // "row family:qualifier@timestamp": value
	steps []string
	loads int
}

// TestBulkLoadsAgainstModel mixes loads with writes, deletions of every kind, and
// everything that files and tablets go through, and compares all cells with a map
// after each load and every few steps.
func TestBulkLoadsAgainstModel(t *testing.T) {
	r := seedtest.New(t)
	for range 4 {
		history(t, func(b *bubble) {
			b.Options.Tablet.MemtableBytes = 2 << 10
			b.Options.Tablet.FileBytes = 2 << 10
			b.Options.Tablet.BlockBytes = 4 << 10
			x := &shadow{bubble: b, rand: r, s: b.servers(2), cells: map[string]string{}}
			x.table = b.CreateTable(b.ctx, "r3", "r6")
			for _, tb := range b.Tablets(b.ctx, x.table) {
				b.Serve(b.ctx, tb, x.s[x.rand.IntN(2)])
			}
			for i := 0; i < 160 && !t.Failed(); i++ {
				x.step()
				if i%8 == 0 {
					x.compare()
				}
			}
			x.compare()
			if x.loads < 4 {
				t.Errorf("%d loads: little was tested", x.loads)
			}
			if t.Failed() {
				t.Logf("steps: %q", x.steps)
			}
		})
	}
}

func (x *shadow) row() string { return fmt.Sprintf("r%d%d", x.rand.IntN(10), x.rand.IntN(3)) }

// cell is of the family cf, which keeps all versions.
func (x *shadow) cell() (qualifier string, ts int64) {
	return string(rune('a' + x.rand.IntN(3))), int64(x.rand.IntN(3)) * 1000
}

func key(row, qualifier string, ts int64) string {
	return fmt.Sprintf("%s cf:%s@%d", row, qualifier, ts)
}

// at returns the tablet of a row, and who serves it.
func (x *shadow) at(row string) (meta.Tablet, *tabletservertest.Server) {
	for _, tb := range x.Tablets(x.ctx, x.table) {
		if tb.Contains([]byte(row)) {
			return tb, x.Server(tb.Owner)
		}
	}
	panic("no tablet")
}

func (x *shadow) did(format string, args ...any) {
	x.steps = append(x.steps, fmt.Sprintf(format, args...))
}

// forget removes what a deletion hides.
func (x *shadow) forget(prefix string) {
	maps.DeleteFunc(x.cells, func(k, _ string) bool { return len(k) >= len(prefix) && k[:len(prefix)] == prefix })
}

func (x *shadow) step() {
	row := x.row()
	tb, s := x.at(row)
	q, ts := x.cell()
	value := fmt.Sprint(len(x.steps))
	switch n := x.rand.IntN(100); {
	case n < 35:
		x.did("set %s", key(row, q, ts))
		x.Must(s.Set(x.ctx, tb, row, "cf", q, ts, value))
		x.cells[key(row, q, ts)] = value
	case n < 40:
		x.did("delete row %s", row)
		x.Must(s.Mutate(x.ctx, tb, row, &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
		x.forget(row + " ")
	case n < 45:
		x.did("delete family of %s", row)
		x.Must(s.Mutate(x.ctx, tb, row, &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: "cf"}}}))
		x.forget(row + " ")
	case n < 52:
		x.did("delete %s", key(row, q, ts))
		x.Must(s.Mutate(x.ctx, tb, row, &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromColumn_{DeleteFromColumn: &bigtablepb.Mutation_DeleteFromColumn{
			FamilyName: "cf", ColumnQualifier: []byte(q), TimeRange: &bigtablepb.TimestampRange{StartTimestampMicros: ts, EndTimestampMicros: ts + 1000},
		}}}))
		delete(x.cells, key(row, q, ts))
	case n < 56:
		end := row + "~"
		x.did("drop from %s in tablet %d", row, tb.ID)
		x.Must(s.Drop(x.ctx, tb, nil, row, end))
		x.forget(row)
	case n < 70:
		x.load()
	default:
		x.reshape(n, tb, s, row)
	}
}

// load loads cells of some rows, and waits.
func (x *shadow) load() {
	l := x.loader(x.table, x.Store, x.Lock.Client())
	n := 1 + x.rand.IntN(40)
	fresh := map[string]string{}
	for i := range n {
		row := x.row()
		q, ts := x.cell()
		value := fmt.Sprintf("load %d.%d", len(x.steps), i)
		x.Must(l.Add([]byte(row), "cf", []byte(q), ts, []byte(value)))
		fresh[key(row, q, ts)] = value
	}
	x.did("load %q", slices.Sorted(maps.Keys(fresh)))
	done := x.background(func() error { _, err := l.Commit(x.ctx); return err })
	x.adoptAll(x.table.ID)
	x.pause(time.Second)
	x.Must(<-done)
	x.Must(l.Close(x.ctx))
	maps.Copy(x.cells, fresh)
	x.loads++
	x.compare()
}

// reshape does what changes no cell.
func (x *shadow) reshape(n int, tb meta.Tablet, s *tabletservertest.Server, row string) {
	list := x.Tablets(x.ctx, x.table)
	switch {
	case n < 78:
		x.did("flush %d", tb.ID)
		x.Must(s.Flush(x.ctx, tb))
	case n < 83:
		x.did("compact %d", tb.ID)
		x.Must(s.Compact(x.ctx, tb))
	case n < 88 && len(list) < 8 && row != string(tb.Start):
		x.did("split %d at %s", tb.ID, row)
		_, err := s.Split(x.ctx, tb, row)
		x.Must(err)
	case n < 92 && len(list) > 2:
		i := x.rand.IntN(len(list) - 1)
		left, right := list[i], list[i+1]
		if left.Owner != right.Owner {
			right = x.Move(x.ctx, right, x.Server(right.Owner), x.Server(left.Owner))
		}
		x.did("merge %d and %d", left.ID, right.ID)
		_, err := x.Server(left.Owner).Merge(x.ctx, left, right)
		x.Must(err)
	case n < 96:
		to := x.s[x.rand.IntN(len(x.s))]
		if to != s {
			x.did("move %d", tb.ID)
			x.Move(x.ctx, tb, s, to)
		}
	case n < 98:
		x.did("fail over")
		i := x.rand.IntN(len(x.s))
		x.dieAndServe(x.table.ID, x.s[i], x.s[1-i])
		x.s[i] = x.servers(1)[0]
	default:
		x.did("collect")
		x.collectNow()
	}
}

// compare compares all cells, and runs the check.
func (x *shadow) compare() {
	x.t.Helper()
	got := map[string]string{}
	for _, tb := range x.Tablets(x.ctx, x.table) {
		err := x.Server(tb.Owner).Scan(x.ctx, tb, &bigtablepb.ReadRowsRequest{}, collectCells(got))
		x.Must(err)
	}
	if !maps.Equal(got, x.cells) {
		for k, v := range x.cells {
			if got[k] != v {
				x.t.Errorf("%s is %q, want %q", k, got[k], v)
			}
		}
		for k, v := range got {
			if _, ok := x.cells[k]; !ok {
				x.t.Errorf("%s is %q, want nothing", k, v)
			}
		}
	}
	x.check()
}

func collectCells(into map[string]string) func(*chunk.Row) {
	return func(r *chunk.Row) {
		for _, c := range r.Cells {
			into[key(string(r.Key), string(c.Qualifier), c.Timestamp)] = string(c.Value)
		}
	}
}
