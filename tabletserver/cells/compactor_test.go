package cells_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// compact returns the entries that a compaction of its inputs writes.
func compact(t *testing.T, s *schema.Schema, oldest bool, inputs ...*slice) *slice {
	t.Helper()
	var its []base.Iterator
	for _, in := range inputs {
		its = append(its, in)
	}
	out := &slice{}
	c := cells.NewCompactor(merging.New(its...), s, oldest, now)
	for ok := c.First(); ok; ok = c.Next() {
		if n := len(out.keys); n > 0 && bytes.Compare(out.keys[n-1], c.Key()) >= 0 {
			t.Fatalf("key %x after %x", c.Key(), out.keys[n-1])
		}
		out.keys, out.values = append(out.keys, bytes.Clone(c.Key())), append(out.values, bytes.Clone(c.Value()))
	}
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, in := range inputs {
		n += len(in.keys)
	}
	if int(c.Dropped) != n-len(out.keys) {
		t.Errorf("dropped %d of %d entries; %d are left", c.Dropped, n, len(out.keys))
	}
	return out
}

// TestCompactorAgainstModel: whatever neighbours are merged, in whatever order,
// a read finds the same.
func TestCompactorAgainstModel(t *testing.T) {
	rng, s := seedtest.New(t), testSchema(t)
	for round := range 80 {
		entries := randomEntries(rng, 1+rng.IntN(400), 1+rng.IntN(6))
		want := cellsOf(s, entries, base.MaxSeq)
		var runs []*slice // oldest first
		for rest := entries; len(rest) > 0; {
			n := 1 + rng.IntN(min(len(rest), 60))
			run := newSlice(rest[:n])
			if rng.IntN(2) == 0 { // as a flush does
				run = compact(t, s, len(runs) == 0, run)
			}
			runs, rest = append(runs, run), rest[n:]
		}
		check := func(what string) {
			t.Helper()
			var its []base.Iterator
			for _, r := range runs {
				its = append(its, r)
			}
			diff(t, fmt.Sprintf("round %d, %s", round, what), readAll(t, merging.New(its...), s, base.MaxSeq), want)
		}
		check("as written")
		for len(runs) > 1 || rng.IntN(3) > 0 {
			from := rng.IntN(len(runs))
			to := from + 1 + rng.IntN(len(runs)-from)
			merged := compact(t, s, from == 0, runs[from:to]...)
			runs = slices.Replace(runs, from, to, merged)
			check(fmt.Sprintf("after merging runs %d to %d", from, to))
		}
		last := compact(t, s, true, runs...)
		for i, key := range last.keys {
			if _, kind := base.Trailer(key); kind != base.KindSet && kind != base.KindMerge {
				t.Errorf("round %d: entry %d of a major compaction is of kind %d", round, i, kind)
			}
		}
		if len(last.keys) != len(want) {
			t.Errorf("round %d: %d entries are left of %d visible cells", round, len(last.keys), len(want))
		}
	}
}

// TestCompactorKeepsTombstones: a deletion goes only where nothing older is
// left that it hides.
func TestCompactorKeepsTombstones(t *testing.T) {
	s := testSchema(t)
	old := newSlice([]entry{{row: "r", family: all, qual: "q", ts: 1000, seq: 1, kind: base.KindSet, value: []byte("old")}})
	deletion := newSlice([]entry{{row: "r", seq: 2, kind: base.KindDeleteRow}})
	kept := compact(t, s, false, deletion)
	if len(kept.keys) != 1 {
		t.Fatal("the deletion is gone; the cell in an older run comes back")
	}
	if all := compact(t, s, true, old, kept); len(all.keys) != 0 {
		t.Errorf("%d entries are left of a deleted row", len(all.keys))
	}
}

// TestCompactorSystemFamily: hidden cells live for their time and are not seen.
func TestCompactorSystemFamily(t *testing.T) {
	s := testSchema(t)
	entries := []entry{
		{row: "r", family: base.SystemFamily, qual: "young", ts: now, seq: 1, kind: base.KindSet, value: []byte("id")},
		{row: "r", family: base.SystemFamily, qual: "old", ts: now - base.SystemRetention.Microseconds() - 1, seq: 2, kind: base.KindSet, value: []byte("id")},
		{row: "s", family: all, qual: "q", ts: 1000, seq: 3, kind: base.KindSet, value: []byte("v")},
	}
	if got := readAll(t, newSlice(entries), s, base.MaxSeq); len(got) != 1 {
		t.Errorf("read %q, want the one cell of s", got)
	}
	if left := compact(t, s, true, newSlice(entries)); len(left.keys) != 2 {
		t.Errorf("%d entries are left, want the young one and the cell", len(left.keys))
	}
}
