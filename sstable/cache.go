package sstable

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/tabletdb/tabletdb/sstable/compress"
)

// Cache keeps unpacked data blocks of many files in memory, up to a number of
// bytes, and makes concurrent misses of one block one read. It is shared by
// all readers of a process and may be used concurrently. It has no goroutines
// and needs no Close. Blocks are ordinary garbage-collected memory: one that is
// evicted lives on while somebody uses it.
type Cache struct {
	blocks   *otter.Cache[blockKey, []byte] // nil: size 0
	decoder  compress.Decoder
	lastFile atomic.Uint64
	hits     atomic.Int64
	misses   atomic.Int64

	mu struct {
		sync.Mutex
		loads map[blockKey]*load // misses being read
	}
}

// blockKey names a block: a reader by its number, and an offset.
type blockKey struct{ file, offset uint64 }

// load is a read that others may wait for.
type load struct {
	done chan struct{} // closed when data and err are set
	data []byte
	err  error
}

// blockOverhead is about what an entry costs besides its block, in bytes.
const blockOverhead = 160

// NewCache returns a cache for size bytes. With 0 it caches nothing but still
// joins concurrent misses.
func NewCache(size int64) *Cache {
	c := &Cache{}
	c.mu.loads = map[blockKey]*load{}
	if size > 0 {
		c.blocks = otter.Must(&otter.Options[blockKey, []byte]{
			MaximumWeight: uint64(size),
			Weigher:       func(_ blockKey, b []byte) uint32 { return uint32(len(b)) + blockOverhead },
			// Upkeep runs in the goroutine that causes it: none outlives a call.
			Executor: func(fn func()) { fn() },
			Logger:   &otter.NoopLogger{},
		})
	}
	return c
}

// NewFile returns a number for ReaderOptions.ID.
func (c *Cache) NewFile() uint64 { return c.lastFile.Add(1) }

// CacheStats are counters of a Cache since it was made, and its state.
type CacheStats struct {
	Hits, Misses int64 // of blocks asked for
	Bytes        int64 // cached now, overhead included
	Blocks       int64 // cached now, approximately
}

// Stats returns the counters.
func (c *Cache) Stats() CacheStats {
	s := CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load()}
	if c.blocks != nil {
		s.Bytes, s.Blocks = int64(c.blocks.WeightedSize()), int64(c.blocks.EstimatedSize())
	}
	return s
}

// get returns the cached block.
func (c *Cache) get(k blockKey) ([]byte, bool) {
	if c.blocks != nil {
		if b, ok := c.blocks.GetIfPresent(k); ok {
			c.hits.Add(1)
			return b, true
		}
	}
	c.misses.Add(1)
	return nil, false
}

// peek is get for scans: it does not make the block count as used.
func (c *Cache) peek(k blockKey) ([]byte, bool) {
	if c.blocks != nil {
		if e, ok := c.blocks.GetEntryQuietly(k); ok {
			c.hits.Add(1)
			return e.Value, true
		}
	}
	c.misses.Add(1)
	return nil, false
}

// put caches a block, unless it would take more than an eighth of the cache:
// a huge value is not worth thousands of others.
func (c *Cache) put(k blockKey, b []byte) {
	if c.blocks != nil && uint64(len(b)) <= c.blocks.GetMaximum()/8 {
		c.blocks.Set(k, b)
	}
}

func (c *Cache) drop(k blockKey) {
	if c.blocks != nil {
		c.blocks.Invalidate(k)
	}
}

var errLoadDied = errors.New("the read of the block died")

// load returns what read returns, and caches it. Concurrent calls for one block
// share one read. A caller whose own ctx is alive does not get the cancellation
// of another: it reads for itself.
func (c *Cache) load(ctx context.Context, k blockKey, read func() ([]byte, error)) ([]byte, error) {
	for {
		c.mu.Lock()
		l, joined := c.mu.loads[k]
		if !joined {
			l = &load{done: make(chan struct{}), err: errLoadDied}
			c.mu.loads[k] = l
		}
		c.mu.Unlock()
		if !joined {
			c.lead(k, l, read)
			return l.data, l.err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if ctx.Err() == nil && (errors.Is(l.err, context.Canceled) || errors.Is(l.err, context.DeadlineExceeded)) {
			continue
		}
		return l.data, l.err
	}
}

// lead reads for all who wait on l.
func (c *Cache) lead(k blockKey, l *load, read func() ([]byte, error)) {
	defer func() {
		c.mu.Lock()
		delete(c.mu.loads, k)
		c.mu.Unlock()
		close(l.done)
	}()
	if c.blocks != nil { // a load that ended just now
		if b, ok := c.blocks.GetIfPresent(k); ok {
			l.data, l.err = b, nil
			return
		}
	}
	if l.data, l.err = read(); l.err == nil {
		c.put(k, l.data)
	}
}
