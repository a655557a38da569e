package tabletserver_test

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// largeRows makes a tablet with a row of many columns, one of large values, one
// of many versions, and one of many columns that was deleted later; all in files.
func largeRows(t *testing.T, f *tabletservertest.Fixture) (*tabletservertest.Server, meta.Tablet) {
	ctx := t.Context()
	f.Options.NoCompaction, f.Options.MemtableBytes, f.Options.CacheBytes = true, 1<<30, 8<<20
	f.Options.Tablet.MemtableBytes = 256 << 20
	s := f.Open(ctx)
	tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
	wide := func(row string) {
		for c := 0; c < wideColumns; c += 20_000 {
			var m []*bigtablepb.Mutation
			for i := c; i < c+20_000; i++ {
				m = append(m, SetCell("cf", fmt.Sprintf("q%06d", i), 1000, fmt.Sprintf("value %06d of many", i)))
			}
			f.Must(s.Mutate(ctx, tb, row, m...))
		}
	}
	wide("gone")
	wide("wide")
	for i := range largeCells {
		f.Must(s.Set(ctx, tb, "large", "cf", fmt.Sprintf("c%02d", i), 1000, random(1<<20)))
	}
	f.Must(s.Set(ctx, tb, "large", "cf", "empty", 1000, ""))
	for v := range 100 {
		var m []*bigtablepb.Mutation
		for c := range 100 {
			m = append(m, SetCell("cf", fmt.Sprintf("c%02d", c), int64(v)*1000, random(1000)))
		}
		f.Must(s.Mutate(ctx, tb, "versions", m...))
	}
	f.Must(s.Flush(ctx, tb))
	f.Must(s.Mutate(ctx, tb, "gone", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}},
		SetCell("cf", "q150000", 2000, "new")))
	f.Must(s.Flush(ctx, tb))
	return s, tb
}

const (
	wideColumns = 200_000
	largeCells  = 48
)

// random returns bytes that do not compress.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return string(b)
}

// SetCell is a shorter name.
func SetCell(family, qualifier string, ts int64, value string) *bigtablepb.Mutation {
	return tabletservertest.SetCell(family, qualifier, ts, value)
}

func perRow(n int32) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: n}}
}

func columnRange(start, end string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnRangeFilter{ColumnRangeFilter: &bigtablepb.ColumnRange{FamilyName: "cf",
		StartQualifier: &bigtablepb.ColumnRange_StartQualifierClosed{StartQualifierClosed: []byte(start)},
		EndQualifier:   &bigtablepb.ColumnRange_EndQualifierOpen{EndQualifierOpen: []byte(end)}}}}
}

// TestLargeRowsInParts: what a filter or a limit leaves out of a large row is
// not read: not from the bucket, and not into memory.
func TestLargeRowsInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		s, tb := largeRows(t, f)
		for _, c := range []struct {
			name   string
			row    string // "": all
			filter *bigtablepb.RowFilter
			limit  int64
			cells  int
			mb     float64 // memory that may be allocated, freed or not
			gets   int
		}{
			{"open the files", "wide", perRow(1), 0, 1, 8, 4},
			{"first of many", "wide", perRow(1), 0, 1, 0.5, 2},
			{"range in the middle", "wide", columnRange("q150000", "q150010"), 0, 10, 0.5, 2},
			{"last of many", "wide", columnFilter("cf", "q199999"), 0, 1, 0.5, 2},
			{"one large value", "large", columnFilter("cf", "c24"), 0, 1, 6, 4},
			{"an empty value", "large", columnFilter("cf", "empty"), 0, 1, 4, 3},
			{"newest versions", "versions", &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{CellsPerColumnLimitFilter: 1}}, 0, 100, 8, 140},
			{"one version", "versions", columnFilter("cf", "c50"), 0, 100, 1, 5},
			{"deleted and written again", "gone", nil, 0, 1, 0.5, 4},
			{"deleted", "gone", columnFilter("cf", "q000007"), 0, 0, 0.5, 2},
			{"one of each row", "", perRow(1), 0, 4, 16, 16},
			{"limit of rows", "", perRow(1), 2, 2, 8, 10},
		} {
			r := &bigtablepb.ReadRowsRequest{Filter: c.filter, RowsLimit: c.limit}
			if c.row != "" {
				r.Rows = point(c.row).Rows
			}
			s.Store.Reset()
			cells := 0
			allocated := allocations(func() {
				f.Must(s.Scan(t.Context(), tb, r, func(row *chunk.Row) { cells += len(row.Cells) }))
			})
			gets := s.Store.Count(tabletservertest.Get, "sst/")
			t.Logf("%s: %d cells, %.2f MB allocated, %d GETs", c.name, cells, allocated, gets)
			if cells != c.cells || allocated > c.mb || gets > c.gets {
				t.Errorf("%s: want %d cells, at most %.2f MB and %d GETs", c.name, c.cells, c.mb, c.gets)
			}
		}
	})
}

// TestLargeRow: a row that is read as a whole is read in long ranges, and little
// of it is in memory at a time.
func TestLargeRow(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		s, tb := largeRows(t, f)
		for row, gets := range map[string]int{"large": 40, "wide": 30, "versions": 30} {
			s.Store.Reset()
			n := 0
			f.Must(s.Scan(t.Context(), tb, point(row), func(r *chunk.Row) { n += len(r.Cells) }))
			got := s.Store.Count(tabletservertest.Get, "sst/")
			t.Logf("%s: %d cells, %d GETs", row, n, got)
			if got > gets {
				t.Errorf("%s: %d GETs, want at most %d", row, got, gets)
			}
		}
	})
}

// allocations returns how many megabytes f allocates.
func allocations(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / 1e6
}
