package sstable

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// countingStore counts the ranged reads of a store.
type countingStore struct {
	objstore.Store
	gets  atomic.Int64
	fresh atomic.Int64
}

func (s *countingStore) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	s.gets.Add(1)
	return s.Store.GetRange(ctx, key, off, n)
}

func (s *countingStore) GetRangeFresh(ctx context.Context, key string, off, n int64) ([]byte, error) {
	s.fresh.Add(1)
	return s.Store.GetRange(ctx, key, off, n)
}

func TestOpenCostsOneRead(t *testing.T) {
	for _, n := range []int{0, 10, 5000} {
		tab := write(t, WriterOptions{File: testFile}, rows(n, 500))
		store := &countingStore{Store: newStore()}
		key := base.SSTableObject(testFile)
		if err := store.PutIfAbsent(t.Context(), key, tab.Data); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			meta Meta
			most int64
		}{{tab.Meta, 1}, {Meta{}, 2}, {Meta{Size: tab.Meta.Size, TailOffset: -1}, 2}} {
			store.gets.Store(0)
			r, err := Open(t.Context(), NewObjectSource(store, key), c.meta, ReaderOptions{File: testFile})
			if err != nil {
				t.Fatal(err)
			}
			if got := store.gets.Load(); got > c.most {
				t.Errorf("open of %d entries with %+v took %d reads", n, c.meta, got)
			}
			if r.Meta() != tab.Meta || r.Name() != key || r.MetadataBytes() < tab.Meta.Size-tab.Meta.TailOffset {
				t.Errorf("opened %s as %+v with %d bytes", r.Name(), r.Meta(), r.MetadataBytes())
			}
		}
	}
}

func TestOpenFailures(t *testing.T) {
	tab := write(t, WriterOptions{File: testFile}, rows(100, 500))
	src := &memSource{data: tab.Data}
	other := base.FileNumber{Creator: testFile.Creator, Number: 8}
	for name, c := range map[string]struct {
		meta Meta
		file base.FileNumber
		want error
	}{
		"wrong size":  {Meta{tab.Meta.Size - 1, tab.Meta.TailOffset}, testFile, base.ErrCorrupt},
		"past end":    {Meta{tab.Meta.Size + 9, tab.Meta.TailOffset}, testFile, base.ErrCorrupt},
		"wrong tail":  {Meta{tab.Meta.Size, tab.Meta.TailOffset + 1}, testFile, base.ErrCorrupt},
		"no tail":     {Meta{tab.Meta.Size, tab.Meta.Size}, testFile, base.ErrCorrupt},
		"other file":  {tab.Meta, other, base.ErrCorrupt},
		"other file2": {Meta{}, other, base.ErrCorrupt},
	} {
		if _, err := Open(t.Context(), src, c.meta, ReaderOptions{File: c.file}); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	store := newStore()
	if _, err := Open(t.Context(), NewObjectSource(store, "sst/00/none"), Meta{}, ReaderOptions{}); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("missing object: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, src, tab.Meta, ReaderOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPointReadsReadOneBlock(t *testing.T) {
	entries := rows(5000, 500)
	for _, cached := range []bool{false, true} {
		r, src := open(t, write(t, WriterOptions{}, entries), ReaderOptions{Cache: NewCache(64 << 20)})
		for round := range 2 {
			src.reads.Store(0)
			src.bytes.Store(0)
			it := r.NewIter(t.Context(), IterOptions{FillCache: cached, Readahead: DefaultReadahead})
			for i := 0; i < len(entries); i += 500 {
				if !it.SeekGE(entries[i].key) || !bytes.Equal(it.Key(), entries[i].key) {
					t.Fatal("not found")
				}
			}
			it.Close()
			want := int64(10)
			if cached && round == 1 {
				want = 0
			}
			if got := src.reads.Load(); got != want || src.bytes.Load() > want*(DefaultBlockSize+1000) {
				t.Errorf("cached %v, round %d: 10 point reads took %d reads of %d bytes", cached, round, got, src.bytes.Load())
			}
		}
		if s := r.cache.Stats(); cached != (s.Blocks > 0) {
			t.Errorf("cached %v: %+v", cached, s)
		}
		r.Close()
		if s := r.cache.Stats(); s.Blocks != 0 {
			t.Errorf("after Close: %+v", s)
		}
	}
}

func TestReadahead(t *testing.T) {
	entries := rows(20_000, 1000)
	r, src := open(t, write(t, WriterOptions{}, entries), ReaderOptions{})
	size := r.Meta().TailOffset
	for _, c := range []struct {
		o     IterOptions
		most  int64
		share float64 // of the file that may be read
	}{
		{IterOptions{Readahead: DefaultReadahead}, 15, 1},
		{IterOptions{Readahead: DefaultReadahead, Eager: true}, 6, 1},
		{IterOptions{}, 700, 1},
		{IterOptions{Readahead: DefaultReadahead, Upper: entries[1000].key}, 9, 0.06},
		{IterOptions{Readahead: DefaultReadahead, Eager: true, Lower: entries[5000].key, Upper: entries[6000].key}, 1, 0.06},
	} {
		src.reads.Store(0)
		src.bytes.Store(0)
		it := r.NewIter(t.Context(), c.o)
		n := 0
		for ok := it.SeekGE(nil); ok; ok = it.Next() {
			n++
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		got, share := src.reads.Load(), float64(src.bytes.Load())/float64(size)
		t.Logf("%d entries with %d reads, %.3f of the file", n, got, share)
		if got > c.most || share > c.share+1e-9 {
			t.Errorf("%+v: %d entries took %d reads of %.3f of the file", c.o, n, got, share)
		}
	}
	// A seek elsewhere ends the read-ahead.
	it := r.NewIter(t.Context(), IterOptions{Readahead: DefaultReadahead})
	for i := 0; i+200 < len(entries); i += 777 {
		it.SeekGE(entries[i].key)
		for j := range 200 {
			if !bytes.Equal(it.Key(), entries[i+j].key) || !it.Next() {
				t.Fatalf("wrong entry after %d", i)
			}
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadaheadMemory: where memory is short, scans read on in small ranges, and
// give back what they took.
func TestReadaheadMemory(t *testing.T) {
	entries := rows(20_000, 1000)
	r, src := open(t, write(t, WriterOptions{}, entries), ReaderOptions{})
	for _, limit := range []int64{1, 1 << 20, 64 << 20} {
		a := membudget.New(0).Account("reads", limit)
		a.Add(1) // of another
		src.reads.Store(0)
		var its [3]*Iter
		for k := range its {
			its[k] = r.NewIter(t.Context(), IterOptions{Readahead: DefaultReadahead, Eager: k == 2, Memory: a})
			its[k].SeekGE(nil)
		}
		for n, e := range entries {
			for k, it := range its {
				if !bytes.Equal(it.Key(), e.key) || it.Next() != (n+1 < len(entries)) {
					t.Fatalf("limit %d: iterator %d at entry %d: %v", limit, k, n, it.Err())
				}
			}
		}
		for _, it := range its {
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("limit %d: peak %d, %d reads", limit, a.Peak(), src.reads.Load())
		if most := limit + 3*(firstReadahead+DefaultBlockSize); a.Peak() > most || a.Used() != 1 {
			t.Errorf("limit %d: peak %d, and %d bytes are left", limit, a.Peak(), a.Used())
		}
	}
}

// gate is a Source that holds back reads.
type gate struct {
	*memSource
	open chan struct{}
}

func (g *gate) ReadAt(ctx context.Context, off, n int64) ([]byte, error) {
	select {
	case <-g.open:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return g.memSource.ReadAt(ctx, off, n)
}

func TestConcurrentMissesAreOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entries := rows(100, 500)
		tab := write(t, WriterOptions{}, entries)
		g := &gate{&memSource{data: tab.Data}, make(chan struct{})}
		tail, err := openTail(tab.Data[tab.Meta.TailOffset:])
		if err != nil {
			t.Fatal(err)
		}
		r := &Reader{src: g, cache: NewCache(1 << 20), tail: tail}
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for n := range 10 {
			ctx := t.Context()
			if n == 0 {
				ctx = first
			}
			wg.Go(func() {
				it := r.NewIter(ctx, IterOptions{FillCache: true})
				if ok := it.SeekGE(entries[3].key); ok != (n > 0) {
					t.Errorf("reader %d: %v, %v", n, ok, it.Err())
				}
				it.Close()
			})
			synctest.Wait() // so the first one leads, and is then cancelled
		}
		cancel()
		synctest.Wait()
		close(g.open)
		wg.Wait()
		if got := g.reads.Load(); got != 1 {
			t.Errorf("%d reads of one block", got)
		}
	})
}

func TestCloseEndsTheReadahead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entries := rows(2000, 500)
		tab := write(t, WriterOptions{}, entries)
		g := &gate{&memSource{data: tab.Data}, make(chan struct{}, 1)}
		tail, _ := openTail(tab.Data[tab.Meta.TailOffset:])
		r := &Reader{src: g, cache: NewCache(1 << 20), tail: tail}
		g.open <- struct{}{}
		it := r.NewIter(t.Context(), IterOptions{Readahead: 100 << 10, Eager: true, FillCache: true})
		// One read is let through; the other, of the two ranges asked for,
		// must end with Close. Which one is a matter of luck.
		done := make(chan struct{})
		go func() {
			it.SeekGE(nil)
			close(done)
		}()
		synctest.Wait()
		select {
		case <-done:
		default:
			g.open <- struct{}{}
			<-done
		}
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestBadBytesAreReadAgain(t *testing.T) {
	entries := rows(2000, 500)
	tab := write(t, WriterOptions{Compression: compress.Snappy}, entries)
	for _, o := range []IterOptions{{}, {FillCache: true}, {Readahead: DefaultReadahead, Eager: true}, {Readahead: DefaultReadahead}} {
		src := &memSource{data: tab.Data, spoil: func(_ int64, b []byte) []byte { b[len(b)/2] ^= 1; return b }}
		r, err := Open(t.Context(), src, tab.Meta, ReaderOptions{Cache: NewCache(1 << 20)})
		if err != nil {
			t.Fatal(err)
		}
		if got := scan(t, r.NewIter(t.Context(), o)); !sameEntries(got, entries) || src.fresh.Load() == 0 {
			t.Errorf("%+v: wrong entries after %d fresh reads", o, src.fresh.Load())
		}
		// A short answer is no better than a wrong one.
		src.spoil = func(_ int64, b []byte) []byte { return b[:len(b)-1] }
		if got := scan(t, r.NewIter(t.Context(), o)); !sameEntries(got, entries) {
			t.Errorf("%+v: wrong entries", o)
		}
		r.src = plainSource{src}
		r.Close()
		it := r.NewIter(t.Context(), o)
		for ok := it.SeekGE(nil); ok; ok = it.Next() {
		}
		if !errors.Is(it.Err(), base.ErrCorrupt) || it.SeekGE(nil) || it.SeekLT(entries[9].key) || it.Close() == nil {
			t.Errorf("%+v: error %v, want one that wraps ErrCorrupt and stays", o, it.Err())
		}
	}
	store := &countingStore{Store: newStore()}
	bad := bytes.Clone(tab.Data)
	bad[100] ^= 1
	store.Put(t.Context(), "x", bad)
	r, err := Open(t.Context(), NewObjectSource(store, "x"), tab.Meta, ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if it := r.NewIter(t.Context(), IterOptions{}); it.SeekGE(nil) || !errors.Is(it.Err(), base.ErrCorrupt) || store.fresh.Load() != 1 {
		t.Errorf("error %v after %d fresh reads", it.Err(), store.fresh.Load())
	} else if msg := it.Err().Error(); !bytes.Contains([]byte(msg), []byte("block at 0 of SSTable x")) {
		t.Errorf("the error does not name object and offset: %s", msg)
	}
}

// The cache leaves nothing running behind: the bubble would tell.
func TestCacheInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(1 << 20)
		var wg sync.WaitGroup
		for g := range uint64(4) {
			wg.Go(func() {
				for i := range uint64(2000) {
					k := blockKey{1, i*g%500 + 1}
					if _, ok := c.get(k); !ok {
						c.put(k, make([]byte, 1+i%40_000))
					}
					c.drop(blockKey{1, i})
				}
			})
		}
		wg.Wait()
		c.put(blockKey{2, 1}, make([]byte, 500_000))
		if _, ok := c.peek(blockKey{2, 1}); ok {
			t.Error("a block of half the cache was cached")
		}
		if s := c.Stats(); s.Bytes > 1<<20 {
			t.Errorf("%+v in 1 MiB", s)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	entries := rows(20_000, 500)
	const size = 2 << 20
	c := NewCache(size)
	r, src := open(t, write(t, WriterOptions{}, entries), ReaderOptions{Cache: c})
	it := r.NewIter(t.Context(), IterOptions{FillCache: true})
	for range 3 {
		for ok := it.SeekGE(nil); ok; ok = it.Next() {
		}
	}
	if s := c.Stats(); s.Bytes > size+size/8 || s.Bytes < size/2 {
		t.Errorf("a cache of %d bytes holds %+v", size, s)
	}
	src.reads.Store(0)
	before := c.Stats()
	scanIt := r.NewIter(t.Context(), IterOptions{Readahead: DefaultReadahead})
	scan(t, scanIt)
	scanIt.Close()
	if after := c.Stats(); after.Blocks != before.Blocks {
		t.Errorf("a scan changed the cache from %+v to %+v", before, after)
	}
}

func TestOneReaderManyGoroutines(t *testing.T) {
	entries := rows(3000, 300)
	r, _ := open(t, write(t, WriterOptions{Compression: compress.Zstd}, entries), ReaderOptions{Cache: NewCache(200 << 10)})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			o := IterOptions{FillCache: g%2 == 0, StableValues: g%3 == 0}
			if g%4 > 1 {
				o.Readahead = 100 << 10
			}
			it := r.NewIter(t.Context(), o)
			defer it.Close()
			for i := g; i+20 < len(entries); i += 97 {
				ok := it.SeekGE(entries[i].key)
				for j := range 20 {
					if !ok || !bytes.Equal(it.Key(), entries[i+j].key) || !bytes.Equal(it.Value(), entries[i+j].value) {
						t.Errorf("goroutine %d: entry %d is wrong: %v", g, i+j, it.Err())
						return
					}
					ok = it.Next()
				}
			}
		})
	}
	wg.Wait()
}
