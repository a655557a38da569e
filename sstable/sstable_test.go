package sstable

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/sstable/block"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// variants are the files and readers that must agree.
func variants() (ws []WriterOptions, is []IterOptions) {
	for _, c := range []compress.Type{compress.None, compress.Snappy, compress.Zstd} {
		for _, size := range []int{MinBlockSize, 0} {
			ws = append(ws, WriterOptions{File: testFile, Compression: c, BlockSize: size, SizeHint: size * 3})
		}
	}
	ws = append(ws, WriterOptions{BitsPerKey: -1},
		WriterOptions{Filters: RowFilter, Group: "meta"}, WriterOptions{Filters: NoFilters, Compression: compress.Zstd},
		WriterOptions{BlockSize: MinBlockSize, Compressions: map[base.FamilyID]compress.Type{1: compress.Zstd, 2: compress.Snappy}})
	is = []IterOptions{
		{}, {FillCache: true}, {StableValues: true}, {Readahead: 100 << 10}, {Readahead: DefaultReadahead, FillCache: true},
		{Readahead: 1, Eager: true}, {Readahead: 30_000, Eager: true, StableValues: true},
	}
	return ws, is
}

func TestAgainstSortedSlice(t *testing.T) {
	rng := seedtest.New(t)
	ws, is := variants()
	for _, wo := range ws {
		for _, n := range []int{0, 1, 40, 1500} {
			entries := randomEntries(rng, n, 300)
			if n == 40 {
				entries[20].value = make([]byte, 1<<20)
			}
			tab := write(t, wo, entries)
			cache := NewCache(rng.Int64N(1 << 20))
			r, _ := open(t, tab, ReaderOptions{Cache: cache, File: wo.File})
			if err := r.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkProperties(t, r, entries)
			checkFilters(t, r, entries)
			for _, io := range is {
				checkIter(t, rng, r, io, entries)
				io.Lower, io.Upper = randomBound(rng, entries), randomBound(rng, entries)
				checkIter(t, rng, r, io, clip(entries, io.Lower, io.Upper))
			}
			r.Close()
		}
	}
}

// randomBound returns nil, a key of entries, or something near one.
func randomBound(rng *rand.Rand, entries []entry) []byte {
	if len(entries) == 0 || rng.IntN(4) == 0 {
		return nil
	}
	k := bytes.Clone(entries[rng.IntN(len(entries))].key)
	switch rng.IntN(4) {
	case 0:
		return k[:rng.IntN(len(k))+1]
	case 1:
		return append(k, byte(rng.Uint32()))
	}
	return k
}

func clip(entries []entry, lower, upper []byte) []entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
		return bytes.Compare(e.key, lower) < 0 || upper != nil && bytes.Compare(e.key, upper) >= 0
	})
}

func checkIter(t *testing.T, rng *rand.Rand, r *Reader, o IterOptions, want []entry) {
	t.Helper()
	it := r.NewIter(t.Context(), o)
	defer it.Close()
	if got := scan(t, it); !sameEntries(got, want) {
		t.Fatalf("%+v: scan saw %d entries, want %d", o, len(got), len(want))
	}
	for range 60 {
		k := randomBound(rng, want)
		at := sort.Search(len(want), func(i int) bool { return bytes.Compare(want[i].key, k) >= 0 })
		var ok bool
		if rng.IntN(2) == 0 {
			ok = it.SeekLT(k)
			if at--; ok != (at >= 0) {
				t.Fatalf("%+v: SeekLT(%x) = %v", o, k, ok)
			}
		} else if ok = it.SeekGE(k); ok != (at < len(want)) {
			t.Fatalf("%+v: SeekGE(%x) = %v", o, k, ok)
		}
		for steps := rng.IntN(40); ok; steps-- {
			if !bytes.Equal(it.Key(), want[at].key) || !bytes.Equal(it.Value(), want[at].value) {
				t.Fatalf("%+v: after a seek to %x the iterator is at %x, want %x", o, k, it.Key(), want[at].key)
			}
			if steps == 0 {
				break
			}
			ok = it.Next()
			if at++; ok != (at < len(want)) {
				t.Fatalf("%+v: Next = %v at %d of %d: %v", o, ok, at, len(want), it.Err())
			}
		}
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
}

func checkProperties(t *testing.T, r *Reader, entries []entry) {
	t.Helper()
	p := r.Properties()
	rows, cols, fams := map[string]bool{}, map[string]bool{}, map[base.FamilyID]uint64{}
	minTS, maxTS, tomb, rawK, rawV := int64(math.MaxInt64), int64(math.MinInt64), uint64(0), uint64(0), uint64(0)
	minSeq, maxSeq := base.MaxSeq, base.Seq(0)
	for _, e := range entries {
		k, err := base.DecodeKey(e.key)
		if err != nil {
			t.Fatal(err)
		}
		rows[string(k.Row)] = true
		cols[string(e.key[:base.ColumnPrefixLen(e.key)])] = true
		if k.Family != 0 {
			fams[k.Family]++
		}
		minSeq, maxSeq = min(minSeq, k.Seq), max(maxSeq, k.Seq)
		rawK, rawV = rawK+uint64(len(e.key)), rawV+uint64(len(e.value))
		switch k.Kind {
		case base.KindSet, base.KindAdd, base.KindMerge:
			minTS, maxTS = min(minTS, k.Timestamp), max(maxTS, k.Timestamp)
		default:
			tomb++
		}
	}
	if len(entries) == 0 {
		minSeq = 0
	} else if !bytes.Equal(p.MinKey, entries[0].key) || !bytes.Equal(p.MaxKey, entries[len(entries)-1].key) {
		t.Errorf("keys %x .. %x", p.MinKey, p.MaxKey)
	}
	if p.Entries != uint64(len(entries)) || p.Rows != uint64(len(rows)) || p.Columns != uint64(len(cols)) ||
		p.MinTimestamp != minTS || p.MaxTimestamp != maxTS || p.Tombstones() != tomb ||
		p.RawKeyBytes != rawK || p.RawValueBytes != rawV || p.MinSeq != minSeq || p.MaxSeq != maxSeq || len(p.Families) != len(fams) {
		t.Errorf("wrong properties %+v", p)
	}
	for _, f := range p.Families {
		if fams[f.Family] != f.Entries {
			t.Errorf("family %d has %d entries, want %d", f.Family, f.Entries, fams[f.Family])
		}
	}
}

func checkFilters(t *testing.T, r *Reader, entries []entry) {
	t.Helper()
	for _, e := range entries {
		k, _ := base.DecodeKey(e.key)
		if !r.MayContainRow(base.AppendRowPrefix(nil, k.Row)) {
			t.Fatalf("row of %x is missing", e.key)
		}
		// What deletes a column must be found by whoever asks for the column.
		fam, q := k.Family, k.Qualifier
		if k.Kind == base.KindDeleteRow {
			fam, q = 2, []byte("anything")
		} else if k.Kind == base.KindDeleteFamily {
			q = []byte("anything")
		}
		if !r.MayContainColumn(base.AppendColumnPrefix(nil, k.Row, fam, q)) {
			t.Fatalf("column of %x is missing", e.key)
		}
	}
}

func TestFiltersSayNo(t *testing.T) {
	r, _ := open(t, write(t, WriterOptions{}, rows(10_000, 10)), ReaderOptions{})
	rowHits, colHits := 0, 0
	for i := range 10_000 {
		row := []byte{byte(i), byte(i >> 8), 'x'}
		if r.MayContainRow(base.AppendRowPrefix(nil, row)) {
			rowHits++
		}
		if r.MayContainColumn(base.AppendColumnPrefix(nil, row, 1, []byte("q"))) {
			colHits++
		}
	}
	if rowHits > 60 || colHits > 60 {
		t.Errorf("of 10000 absent keys %d rows and %d columns are let through", rowHits, colHits)
	}
}

func TestTwoLevelIndex(t *testing.T) {
	entries := rows(5000, 3000)
	tab := write(t, WriterOptions{BlockSize: MinBlockSize}, entries)
	r, _ := open(t, tab, ReaderOptions{})
	if len(r.index.parts) < 3 || r.footer.levels != 2 {
		t.Fatalf("the index has %d partitions", len(r.index.parts))
	}
	if err := r.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	it := r.NewIter(t.Context(), IterOptions{})
	for i := 0; i < len(entries); i += 7 {
		if !it.SeekGE(entries[i].key) || !bytes.Equal(it.Value(), entries[i].value) {
			t.Fatalf("entry %d is not found", i)
		}
		if i > 0 && (!it.SeekLT(entries[i].key) || !bytes.Equal(it.Key(), entries[i-1].key)) {
			t.Fatalf("the entry before %d is not found", i)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	key := func(row string) []byte { return base.AppendCellKey(nil, []byte(row), 1, nil, 0, 1, base.KindSet) }
	for name, keys := range map[string][][]byte{
		"descending": {key("b"), key("a")}, "equal": {key("a"), key("a")}, "prefix": {key("a"), key("a")[:10]},
		"not a cell key": {[]byte("hello")}, "empty": {{}}, "cut": {key("a")[:len(key("a"))-1]},
		"wrong kind":   {base.AppendCellKey(nil, []byte("a"), 1, nil, 0, 1, base.KindDeleteRow)},
		"family 0":     {base.AppendDeleteFamilyKey(nil, []byte("a"), 1, 1)[:15]},
		"row deletion": {append(base.AppendFamilyPrefix(nil, []byte("a"), 3), base.AppendDeleteRowKey(nil, nil, 1)[6:]...)},
	} {
		w := NewWriter(WriterOptions{})
		var err error
		for _, k := range keys {
			err = w.Add(k, nil)
		}
		if _, err2 := w.Finish(); !errors.Is(err, base.ErrInvalid) || !errors.Is(err2, base.ErrInvalid) {
			t.Errorf("%s: errors %v, %v, want ones that wrap ErrInvalid", name, err, err2)
		}
	}
	for _, o := range []WriterOptions{{BlockSize: 100}, {BlockSize: 1 << 30}, {Compression: 9}, {Compression: compress.Zstd, Level: 50}, {BitsPerKey: 1000}, {SizeHint: -1}} {
		if err := NewWriter(o).Add(key("a"), nil); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	w := NewWriter(WriterOptions{})
	if _, err := w.Finish(); err != nil {
		t.Error(err)
	}
	if _, err := w.Finish(); !errors.Is(err, base.ErrPrecondition) {
		t.Errorf("second Finish: %v", err)
	}
}

func TestEstimatedSize(t *testing.T) {
	w := NewWriter(WriterOptions{Compression: compress.Snappy})
	for _, e := range rows(5000, 500) {
		w.Add(e.key, e.value)
	}
	estimate := w.EstimatedSize()
	tab, err := w.Finish()
	if err != nil || estimate < tab.Meta.Size*95/100 || estimate > tab.Meta.Size*105/100 {
		t.Errorf("estimated %d, got %d: %v", estimate, tab.Meta.Size, err)
	}
}

func TestSplitPoints(t *testing.T) {
	entries := rows(5000, 500)
	r, _ := open(t, write(t, WriterOptions{}, entries), ReaderOptions{})
	total := r.ApproximateSize(nil, nil)
	for _, f := range []float64{0.1, 0.5, 0.9} {
		k, ok, err := r.KeyAtFraction(t.Context(), nil, nil, f)
		if err != nil || !ok {
			t.Fatalf("KeyAtFraction(%v) = %v, %v", f, ok, err)
		}
		if _, err := base.DecodeKey(k); err != nil {
			t.Fatal(err)
		}
		if got := float64(r.ApproximateSize(nil, k)) / float64(total); math.Abs(got-f) > 0.03 {
			t.Errorf("KeyAtFraction(%v) lies at %v", f, got)
		}
		if sum := r.ApproximateSize(nil, k) + r.ApproximateSize(k, nil); sum < total || sum > total+2*DefaultBlockSize {
			t.Errorf("the halves are %d together, the whole %d", sum, total)
		}
	}
	lower, upper := entries[1000].key, entries[2000].key
	k, ok, err := r.KeyAtFraction(t.Context(), lower, upper, 0.5)
	if err != nil || !ok || bytes.Compare(k, entries[1400].key) < 0 || bytes.Compare(k, entries[1600].key) > 0 {
		t.Errorf("half of the clipped file is at %q: %v %v", k, ok, err)
	}
	if k, ok, err := r.KeyAtFraction(t.Context(), lower, entries[1001].key, 0.5); ok || err != nil {
		t.Errorf("one row was split at %q: %v", k, err)
	}
	empty, _ := open(t, write(t, WriterOptions{}, nil), ReaderOptions{})
	if _, ok, err := empty.KeyAtFraction(t.Context(), nil, nil, 0.5); ok || err != nil || empty.ApproximateSize(lower, upper) != 0 {
		t.Errorf("an empty file has a middle: %v %v", ok, err)
	}
}

func TestStableValues(t *testing.T) {
	entries := rows(500, 1000)
	for _, c := range []compress.Type{compress.None, compress.Snappy} {
		for i := range entries {
			entries[i].value = bytes.Repeat(entries[i].value[:10], 100)
		}
		r, _ := open(t, write(t, WriterOptions{Compression: c}, entries), ReaderOptions{})
		for _, o := range []IterOptions{{StableValues: true}, {StableValues: true, Readahead: 100 << 10}} {
			it := r.NewIter(t.Context(), o)
			var values [][]byte
			for ok := it.SeekGE(nil); ok; ok = it.Next() {
				values = append(values, it.Value())
			}
			it.Close()
			for i, v := range values {
				if !bytes.Equal(v, entries[i].value) {
					t.Fatalf("value %d changed", i)
				}
			}
		}
	}
}

// TestFiltersAsAskedFor: a file has the filters that it was to have, and says
// which group it was written for.
func TestFiltersAsAskedFor(t *testing.T) {
	entries := rows(2000, 10)
	row := func(i int) []byte { return base.AppendRowPrefix(nil, fmt.Appendf(nil, "absent%d", i)) }
	for _, f := range []Filters{RowAndColumnFilters, RowFilter, NoFilters} {
		r, _ := open(t, write(t, WriterOptions{Filters: f, Group: "g"}, entries), ReaderOptions{})
		if err := r.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		rowsPass, columnsPass := 0, 0
		for i := range 100 {
			if r.MayContainRow(row(i)) {
				rowsPass++
			}
			if r.MayContainColumn(base.AppendColumnPrefix(nil, fmt.Appendf(nil, "row%08d", i), 1, []byte("other"))) {
				columnsPass++
			}
		}
		if hasRows, hasColumns := rowsPass < 10, columnsPass < 10; hasRows != (f <= RowFilter) || hasColumns != (f == RowAndColumnFilters) {
			t.Errorf("%v: %d of 100 absent rows and %d of 100 absent columns may be there", f, rowsPass, columnsPass)
		}
		if g := r.Properties().Group; g != "g" {
			t.Errorf("group %q", g)
		}
	}
}

// TestCompressionPerFamily: a block is packed as the family wants that has most
// of its bytes.
func TestCompressionPerFamily(t *testing.T) {
	want := map[base.FamilyID]compress.Type{1: compress.None, 2: compress.Zstd}
	tab := write(t, WriterOptions{BlockSize: MinBlockSize, Compression: compress.Snappy, Compressions: want}, familiesByRow(300))
	r, _ := open(t, tab, ReaderOptions{})
	seen := map[compress.Type]int{}
	for c, ok := (cursor{}), true; ok; c, ok = r.index.next(c) {
		h := r.index.handle(c)
		_, typ, err := block.CheckFrame(tab.Data[h.Offset:h.End()], r.footer.salt, h.Offset)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.block(t.Context(), c, blockMode{})
		if err != nil {
			t.Fatal(err)
		}
		var it block.Iter
		if err := it.Init(b); err != nil || !it.First() {
			t.Fatal(err)
		}
		k, err := base.DecodeKey(it.Key())
		if err != nil {
			t.Fatal(err)
		}
		expected, ok := want[k.Family]
		if !ok {
			expected = compress.Snappy
		}
		if typ != expected {
			t.Errorf("a block of family %d is packed by %v", k.Family, typ)
		}
		seen[typ]++
	}
	if len(seen) != 3 {
		t.Errorf("blocks by compression: %v", seen)
	}
}

// familiesByRow returns rows of n cells of one of three families each, so that
// most blocks hold one family only.
func familiesByRow(n int) []entry {
	var out []entry
	for f := base.FamilyID(1); f <= 3; f++ {
		for i := range n {
			key := base.AppendCellKey(nil, fmt.Appendf(nil, "row%d", f), f, fmt.Appendf(nil, "q%06d", i), 1, base.Seq(i+1), base.KindSet)
			// A value as long as a block: none has cells of two families.
			out = append(out, entry{key, bytes.Repeat([]byte("squeeze"), MinBlockSize/7+1)})
		}
	}
	return out
}
