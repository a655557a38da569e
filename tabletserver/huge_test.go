package tabletserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// incompressible returns n bytes that do not compress.
func incompressible(rng *rand.Rand, n int) string {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return string(b[:n])
}

// insist repeats a write that is refused for lack of memory, as clients do.
func insist(t *testing.T, write func() error) {
	t.Helper()
	for range 1000 {
		err := write()
		var o *base.OverloadError
		switch {
		case err == nil:
			return
		case !errors.As(err, &o) || o.After <= 0:
			t.Fatal(err)
		}
		time.Sleep(o.After) // fake time
	}
	t.Fatal("the write is refused for ever")
}

// sameCells checks that a row has these values, by qualifier.
func sameCells(ctx context.Context, t *testing.T, s *tabletservertest.Server, tb meta.Tablet, row string, want map[string]string) {
	t.Helper()
	got := 0
	err := s.Scan(ctx, tb, point(row), func(r *chunk.Row) {
		for _, c := range r.Cells {
			v, ok := want[string(c.Qualifier)]
			if !ok || v != string(c.Value) {
				t.Fatalf("row %s, column %s: %d bytes, which are not what was written", row, c.Qualifier, len(c.Value))
			}
			got++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got != len(want) {
		t.Fatalf("row %s has %d cells of %d", row, got, len(want))
	}
}

// TestHugeValues: values from 0 to 100 MiB, and a request of 250 MiB, are written,
// read, flushed, compacted, split beside and failed over with.
func TestHugeValues(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred MiB")
	}
	rng := seedtest.New(t)
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		a, b := f.Open(ctx), f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], a)
		rows := map[string]map[string]string{
			"b-limits": {"empty": "", "one": "x", "most": incompressible(rng, mutation.MaxValue)},
			"m-whole":  {"a": incompressible(rng, 90<<20), "b": incompressible(rng, 90<<20), "c": strings.Repeat("c", 70<<20)},
			"z-small":  {"a": "small"},
		}
		for row, cells := range rows {
			var m []*bigtablepb.Mutation
			for q, v := range cells {
				m = append(m, SetCell("cf", q, 1000, v))
			}
			insist(t, func() error { return a.Mutate(ctx, tb, row, m...) })
		}
		var err error
		long := strings.Repeat("x", mutation.MaxValue+1)
		insist(t, func() error {
			err = a.Set(ctx, tb, "b-limits", "cf", "more", 1000, long)
			if errors.As(err, new(*base.OverloadError)) { // it is as large as any, until it is looked into
				return err
			}
			return nil
		})
		if !errors.Is(err, base.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprint(mutation.MaxValue)) {
			t.Fatalf("a value that is too long: %v; want the limit", err)
		}
		check := func(s *tabletservertest.Server, tablets ...meta.Tablet) {
			t.Helper()
			for row, cells := range rows {
				for _, x := range tablets {
					if row >= string(x.Start) && (len(x.End) == 0 || row < string(x.End)) {
						sameCells(ctx, t, s, x, row, cells)
					}
				}
			}
		}
		check(a, tb)
		a.Kill()
		tb = f.FailOver(ctx, tb, b) // replays what was not flushed
		check(b, tb)
		f.Must(b.Compact(ctx, tb))
		check(b, tb)
		children, err := b.Split(ctx, tb, "m")
		f.Must(err)
		check(b, children...)
		c := f.Open(ctx)
		for i, x := range children {
			f.Must(b.Compact(ctx, x))
			children[i] = f.Move(ctx, x, b, c)
		}
		check(c, children...)
	})
}

// TestHugeRow: a row of 256 MiB, written in many requests into memory for a
// quarter of it, and one column of it read for little.
func TestHugeRow(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred MiB")
	}
	rng := seedtest.New(t)
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		cells := map[string]string{}
		for i := range 128 {
			q, v := fmt.Sprintf("q%03d", i), incompressible(rng, 2<<20)
			cells[q] = v
			insist(t, func() error { return s.Set(ctx, tb, "row", "cf", q, 1000, v) })
		}
		sameCells(ctx, t, s, tb, "row", cells)
		f.Must(s.Compact(ctx, tb))
		sameCells(ctx, t, s, tb, "row", cells)
		wantCheap(t, f, s, tb, "row", columnFilter("cf", "q077"), 1, 16, 8)
		wantCheap(t, f, s, tb, "row", columnFilter("cf", "q077"), 1, 10, 3)
		wantCheap(t, f, s, tb, "row", perRow(1), 1, 10, 3)
	})
}

// TestMillionColumns: a row of a million columns, of which the last are read for
// little.
func TestMillionColumns(t *testing.T) {
	if testing.Short() {
		t.Skip("a million cells")
	}
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction = true
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		const columns, each = 1_000_000, mutation.MaxMutations
		for c := 0; c < columns; c += each {
			m := make([]*bigtablepb.Mutation, each)
			for i := range m {
				m[i] = SetCell("cf", fmt.Sprintf("q%07d", c+i), 1000, "value")
			}
			insist(t, func() error { return s.Mutate(ctx, tb, "row", m...) })
		}
		count := func() (n int) {
			f.Must(s.Scan(ctx, tb, point("row"), func(r *chunk.Row) { n = len(r.Cells) }))
			return n
		}
		if n := count(); n != columns {
			t.Fatalf("%d cells in memory and files", n)
		}
		f.Must(s.Compact(ctx, tb))
		if n := count(); n != columns {
			t.Fatalf("%d cells in files", n)
		}
		for name, c := range map[string]struct {
			filter *bigtablepb.RowFilter
			cells  int
		}{"last": {columnFilter("cf", "q0999999"), 1}, "range": {columnRange("q0500000", "q0500010"), 10}, "first": {perRow(1), 1}} {
			t.Log(name)
			wantCheap(t, f, s, tb, "row", c.filter, c.cells, 16, 6)
			wantCheap(t, f, s, tb, "row", c.filter, c.cells, 1, 3)
		}
	})
}

// wantCheap reads a row through a filter, and checks what that costs: megabytes
// allocated, and GETs of files.
func wantCheap(t *testing.T, f *tabletservertest.Fixture, s *tabletservertest.Server, tb meta.Tablet, row string, filter *bigtablepb.RowFilter, cells int, mb float64, gets int) {
	t.Helper()
	r := point(row)
	r.Filter = filter
	s.Store.Reset()
	n := 0
	allocated := allocations(func() { f.Must(s.Scan(t.Context(), tb, r, func(row *chunk.Row) { n += len(row.Cells) })) })
	got := s.Store.Count(tabletservertest.Get, "sst/")
	t.Logf("%d cells, %.2f MB allocated, %d GETs", n, allocated, got)
	if n != cells || allocated > mb || got > gets {
		t.Errorf("%d cells, %.2f MB allocated, %d GETs; want %d cells, at most %.2f MB and %d GETs", n, allocated, got, cells, mb, gets)
	}
}
