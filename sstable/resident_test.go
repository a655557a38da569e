package sstable

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// TestLoad: a file that was loaded is read without its source, in any way, until
// it is unloaded; one that does not fit stays as it was.
func TestLoad(t *testing.T) {
	rng := seedtest.New(t)
	_, is := variants()
	for _, c := range []compress.Type{compress.None, compress.Snappy, compress.Zstd} {
		for _, n := range []int{0, 1, 3000} {
			entries := randomEntries(rng, n, 3000)
			r, src := open(t, write(t, WriterOptions{File: testFile, Compression: c, BlockSize: MinBlockSize}, entries), ReaderOptions{})
			if n > 0 {
				left := int64(5000)
				if n == 1 {
					left = 0
				}
				_, ok, err := r.Load(t.Context(), func(b int64) bool { left -= b; return left >= 0 })
				if ok || err != nil || r.Loaded() {
					t.Fatalf("loaded what does not fit: %v, %v", ok, err)
				}
			}
			src.reads.Store(0)
			total := int64(0)
			want, ok, err := r.Load(t.Context(), func(b int64) bool { total += b; return true })
			if !ok || err != nil || want != total || !r.Loaded() {
				t.Fatalf("loaded %d of %d bytes: %v, %v", want, total, ok, err)
			}
			if reads, most := src.reads.Load(), int64(len(src.data)/residentRange+2); reads > most {
				t.Errorf("%d reads for %d bytes", reads, len(src.data))
			}
			src.reads.Store(0)
			for _, o := range is {
				checkIter(t, rng, r, o, entries)
			}
			if reads := src.reads.Load(); reads > 0 {
				t.Errorf("%d reads of a file that is in memory", reads)
			}
			r.Unload()
			checkIter(t, rng, r, IterOptions{}, entries)
			if n > 0 && src.reads.Load() == 0 {
				t.Error("no read of a file that is not in memory any more")
			}
		}
	}
}

// TestLoadDamage: a block that a cache has spoilt is read again; one that is
// damaged is an error that names the file.
func TestLoadDamage(t *testing.T) {
	tab := write(t, WriterOptions{File: testFile, BlockSize: MinBlockSize}, rows(2000, 50))
	all := func(int64) bool { return true }
	r, src := open(t, tab, ReaderOptions{})
	src.spoil = func(_ int64, b []byte) []byte { b[len(b)/2] ^= 1; return b }
	if _, ok, err := r.Load(t.Context(), all); !ok || err != nil || src.fresh.Load() == 0 {
		t.Errorf("%v, %v, %d reads past the cache", ok, err, src.fresh.Load())
	}
	bad := Table{Data: bytes.Clone(tab.Data), Meta: tab.Meta}
	bad.Data[100] ^= 1
	r, _ = open(t, bad, ReaderOptions{})
	if _, ok, err := r.Load(t.Context(), all); ok || !errors.Is(err, base.ErrCorrupt) || r.Loaded() {
		t.Errorf("a damaged file: %v, %v", ok, err)
	}
}
