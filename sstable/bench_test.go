package sstable

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/sstable/merging"
)

// benchRows are rows of one 1000-byte cell: noise, or text that packs to about
// half.
func benchRows(n int, noise bool) []entry {
	out := rows(n, 1000)
	if !noise {
		rng := rand.New(rand.NewPCG(2, 2))
		var words [][]byte
		for range 2000 {
			words = append(words, fmt.Appendf(nil, "%x ", rng.Uint32()))
		}
		for _, e := range out {
			v := e.value[:0]
			for len(v) < 1000 {
				v = append(v, words[rng.IntN(len(words))]...)
			}
		}
	}
	return out
}

var benchKinds = []struct {
	name  string
	typ   compress.Type
	noise bool
}{{"none", compress.None, true}, {"snappy-noise", compress.Snappy, true}, {"snappy-text", compress.Snappy, false}, {"zstd-text", compress.Zstd, false}}

func BenchmarkWrite(b *testing.B) {
	const n = 16_000
	for _, k := range benchKinds {
		entries := benchRows(n, k.noise)
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(n * 1000)
			for b.Loop() {
				write(b, WriterOptions{Compression: k.typ}, entries)
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	const n = 16_000
	for _, k := range benchKinds {
		tab := write(b, WriterOptions{Compression: k.typ}, benchRows(n, k.noise))
		for _, o := range []struct {
			name string
			IterOptions
		}{{"source", IterOptions{}}, {"readahead", IterOptions{Readahead: DefaultReadahead}}, {"cached", IterOptions{FillCache: true}}} {
			b.Run(k.name+"/"+o.name, func(b *testing.B) {
				r, _ := open(b, tab, ReaderOptions{Cache: NewCache(64 << 20)})
				b.ReportAllocs()
				b.SetBytes(n * 1000)
				for b.Loop() {
					it := r.NewIter(b.Context(), o.IterOptions)
					seen := 0
					for ok := it.SeekGE(nil); ok; ok = it.Next() {
						seen++
					}
					if err := it.Close(); err != nil || seen != n {
						b.Fatal(seen, err)
					}
				}
			})
		}
	}
}

func BenchmarkPointRead(b *testing.B) {
	const n = 100_000
	entries := benchRows(n, true)
	tab := write(b, WriterOptions{Compression: compress.Snappy}, entries)
	for _, c := range []struct {
		name string
		size int64
	}{{"cached", 256 << 20}, {"missed", 0}} {
		b.Run(c.name, func(b *testing.B) {
			r, _ := open(b, tab, ReaderOptions{Cache: NewCache(c.size)})
			it := r.NewIter(b.Context(), IterOptions{FillCache: true})
			if c.size > 0 {
				scan(b, it)
			}
			rng := rand.New(rand.NewPCG(3, 3))
			at := make([]int, 4096)
			for i := range at {
				at[i] = rng.IntN(n)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				key := entries[at[i%len(at)]].key
				i++
				if !r.MayContainRow(key[:base.RowPrefixLen(key)]) {
					b.Fatal("filter says no")
				}
				r.InitIter(b.Context(), it, IterOptions{FillCache: true})
				if !it.SeekGE(key) || len(it.Value()) != 1000 {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	tab := write(b, WriterOptions{}, benchRows(60_000, true))
	src := &memSource{data: tab.Data}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(b.Context(), src, tab.Meta, ReaderOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMergedScan(b *testing.B) {
	const n, files = 16_000, 4
	entries := benchRows(n, true)
	var readers []*Reader
	for f := range files {
		var part []entry
		for i := f; i < n; i += files {
			part = append(part, entries[i])
		}
		r, _ := open(b, write(b, WriterOptions{Compression: compress.Snappy}, part), ReaderOptions{})
		readers = append(readers, r)
	}
	b.ReportAllocs()
	b.SetBytes(n * 1000)
	for b.Loop() {
		var its []base.Iterator
		for _, r := range readers {
			its = append(its, r.NewIter(b.Context(), IterOptions{}))
		}
		m := merging.New(its...)
		seen := 0
		for ok := m.SeekGE(nil); ok; ok = m.Next() {
			seen++
		}
		if err := m.Close(); err != nil || seen != n {
			b.Fatal(seen, err)
		}
	}
}

// What a cache costs that holds nothing, and one that is full.
func TestCacheOverhead(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, size := range []int64{1 << 20, 64 << 20, 4 << 30} {
		before, goroutines := heap(), runtime.NumGoroutine()
		c := NewCache(size)
		idle := heap() - before
		for i := range uint64(2000) {
			c.put(blockKey{1, i}, make([]byte, 32<<10))
			c.get(blockKey{1, i})
		}
		extra := heap() - before - idle - c.Stats().Blocks*(32<<10)
		t.Logf("cache of %d bytes: %d bytes idle, %d bytes more for %d blocks", size, idle, extra, c.Stats().Blocks)
		if idle > 5<<20 || runtime.NumGoroutine() > goroutines {
			t.Errorf("a cache of %d bytes costs %d bytes and %d goroutines", size, idle, runtime.NumGoroutine()-goroutines)
		}
		runtime.KeepAlive(c)
	}
}
