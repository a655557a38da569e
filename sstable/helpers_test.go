package sstable

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/mem"
)

var testFile = base.FileNumber{Creator: base.Incarnation{Generation: 1, Index: 42}, Number: 7}

// memSource is a file in memory that counts how it is read.
type memSource struct {
	data  []byte
	reads atomic.Int64
	bytes atomic.Int64
	fresh atomic.Int64
	// spoil, if set, changes what ReadAt returns, but not ReadFresh.
	spoil func(off int64, b []byte) []byte
}

func (s *memSource) Name() string { return "test-file" }

func (s *memSource) ReadAt(ctx context.Context, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.reads.Add(1)
	b := s.cut(off, n)
	s.bytes.Add(int64(len(b)))
	if s.spoil != nil {
		b = s.spoil(off, bytes.Clone(b))
	}
	return b, nil
}

func (s *memSource) cut(off, n int64) []byte {
	size := int64(len(s.data))
	if off < 0 {
		off = max(0, size+off)
	}
	off = min(off, size)
	return s.data[off:min(off+n, size):min(off+n, size)]
}

func (s *memSource) ReadFresh(_ context.Context, off, n int64) ([]byte, error) {
	s.fresh.Add(1)
	return s.cut(off, n), nil
}

// plainSource hides ReadFresh.
type plainSource struct{ Source }

type entry struct{ key, value []byte }

// randomEntries returns about n entries of all kinds in the order of their keys.
func randomEntries(rng *rand.Rand, n, valueLen int) []entry {
	bs := func(n int) []byte {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = "\x00\x01abc\xff"[rng.IntN(6)]
		}
		return b
	}
	var out []entry
	for len(out) < n {
		row := bs(6)
		for range 1 + rng.IntN(10) {
			f, seq := base.FamilyID(1+rng.IntN(3)), base.Seq(rng.IntN(1000))
			value := make([]byte, rng.IntN(valueLen+1))
			for i := range value {
				value[i] = byte(rng.Uint32() & 0x3f)
			}
			var key []byte
			switch rng.IntN(20) {
			case 0:
				key = base.AppendDeleteRowKey(nil, row, seq)
			case 1:
				key = base.AppendDeleteFamilyKey(nil, row, f, seq)
			case 2:
				key, value = base.AppendDeleteColumnKey(nil, row, f, bs(4), seq), base.AppendTimeRange(nil, 1, 2)
			default:
				kind := []base.Kind{base.KindSet, base.KindAdd, base.KindMerge}[rng.IntN(3)]
				key = base.AppendCellKey(nil, row, f, bs(4), rng.Int64N(100), seq, kind)
			}
			out = append(out, entry{key, value})
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	return slices.CompactFunc(out, func(a, b entry) bool { return bytes.Equal(a.key, b.key) })
}

// rows returns n entries of one cell per row.
func rows(n, valueLen int) []entry {
	out := make([]entry, n)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range out {
		v := make([]byte, valueLen)
		for j := range v {
			v[j] = byte(rng.Uint32())
		}
		out[i] = entry{base.AppendCellKey(nil, fmt.Appendf(nil, "row%08d", i), 1, []byte("q"), 1000, base.Seq(i), base.KindSet), v}
	}
	return out
}

func write(t testing.TB, o WriterOptions, entries []entry) Table {
	t.Helper()
	w := NewWriter(o)
	for _, e := range entries {
		if err := w.Add(e.key, e.value); err != nil {
			t.Fatal(err)
		}
	}
	tab, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func open(t testing.TB, tab Table, o ReaderOptions) (*Reader, *memSource) {
	t.Helper()
	src := &memSource{data: tab.Data}
	r, err := Open(t.Context(), src, tab.Meta, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, src
}

// scan returns all entries of an iterator, from its first key on.
func scan(t testing.TB, it base.Iterator) []entry {
	t.Helper()
	var out []entry
	for ok := it.SeekGE(nil); ok; ok = it.Next() {
		out = append(out, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func sameEntries(a, b []entry) bool {
	return slices.EqualFunc(a, b, func(x, y entry) bool {
		return bytes.Equal(x.key, y.key) && bytes.Equal(x.value, y.value)
	})
}

func newStore() *mem.Store { return mem.New() }
