package pagecache

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Options of a Store. Dir, Identity and Bytes must be given.
type Options struct {
	// Dir is the directory; it is made. One process at a time may use it.
	Dir string
	// Identity names what the objects belong to, such as a cluster: what Dir
	// holds of another is thrown away, whose objects may have the same names.
	Identity string
	// Bytes is about how much the pages may take on disk.
	Bytes int64
	// PageSize in bytes, a power of two; 64 KiB. A file with pages of another
	// size is thrown away.
	PageSize int64
	// Prefix is what the keys of cached objects begin with: objects that never
	// change. base.SSTablePrefix.
	Prefix string
	// OnDisabled, if set, is told once why the cache is off from now on.
	OnDisabled func(error)
}

const (
	defaultPageSize = 64 << 10
	minSlots        = 16

	// maxRead is the longest read that goes through the cache, in bytes; a
	// longer one is a huge value, or somebody who reads everything.
	maxRead = 16 << 20
	// queued is how many bytes may wait to be written. What comes when they are
	// reached is not cached.
	queued = 32 << 20
	// writers is how many goroutines write.
	writers = 2
)

func (o *Options) ensureDefaults() {
	if o.PageSize == 0 {
		o.PageSize = defaultPageSize
	}
	if o.Prefix == "" {
		o.Prefix = base.SSTablePrefix
	}
}

func (o *Options) validate() error {
	switch {
	case o.Dir == "":
		return fmt.Errorf("%w: no directory for the page cache", base.ErrInvalid)
	case o.PageSize < 4<<10 || o.PageSize > 1<<20 || o.PageSize&(o.PageSize-1) != 0:
		return fmt.Errorf("%w: pages of %d bytes: want a power of two from 4 KiB to 1 MiB", base.ErrInvalid, o.PageSize)
	case o.Bytes < minSlots*o.PageSize || o.Bytes/o.PageSize > 1<<31-1:
		return fmt.Errorf("%w: a page cache of %d bytes: want room for at least %d pages", base.ErrInvalid, o.Bytes, minSlots)
	}
	return nil
}

// Store caches the ranges read of another store. It implements objstore.Store and
// objstore.Streamer; streams and whole objects pass it by.
type Store struct {
	objstore.Store // the store below: what is not cached passes through
	opts           Options
	disk           *disk
	off            atomic.Bool // the disk has failed
	counts         counts
	jobs           chan *flight
	workers        sync.WaitGroup

	mu struct {
		sync.Mutex
		closed  bool
		table   *table
		flights map[pageID]*flight // pages that are read, or wait to be written
		waiting int                // pages that wait to be written, or are
		idle    sync.Cond          // waiting is 0
	}
}

var _ objstore.Streamer = (*Store)(nil)

// Open returns inner with the cache in o.Dir, which has what it had when it was
// last used. It reads the index, 128 bytes for each page there is room for.
func Open(inner objstore.Store, o Options) (*Store, error) {
	o.ensureDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	slots := int(o.Bytes / o.PageSize)
	d, err := openDisk(o.Dir, o.Identity, o.PageSize, slots)
	if err != nil {
		return nil, fmt.Errorf("open page cache %s: %w", o.Dir, err)
	}
	s := &Store{Store: inner, opts: o, disk: d, jobs: make(chan *flight, max(queued/o.PageSize, 1))}
	s.mu.table = newTable(slots)
	s.mu.flights = map[pageID]*flight{}
	s.mu.idle.L = &s.mu
	if err := d.load(s.mu.table); err != nil {
		d.close()
		return nil, fmt.Errorf("open page cache %s: %w", o.Dir, err)
	}
	for range writers {
		s.workers.Go(s.write)
	}
	return s, nil
}

// Close writes what waits to be written and closes the files. Reads after it
// pass the cache by; so do those in progress when they find the files closed.
// The store below is not closed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	close(s.jobs)
	s.mu.Unlock()
	s.workers.Wait()
	s.Settle() // those who put
	s.off.Store(true)
	return s.disk.close()
}

// Settle returns when all that was read has been written or dropped: for those
// who measure.
func (s *Store) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.waiting > 0 {
		s.mu.idle.Wait()
	}
}

// fail turns the cache off because the disk has failed.
func (s *Store) fail(err error) {
	if s.off.Swap(true) {
		return
	}
	if s.opts.OnDisabled != nil {
		s.opts.OnDisabled(fmt.Errorf("page cache %s: %w", s.opts.Dir, err))
	}
}

// cached reports whether ranges of the object go through the cache.
func (s *Store) cached(key string) bool {
	return !s.off.Load() && strings.HasPrefix(key, s.opts.Prefix) && len(key) <= maxKeyLen
}

// PutIfAbsent implements objstore.Store. What was put goes to the cache as what
// is read does, in the mode of ctx, before it returns; with Bypass it does not.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	err := s.Store.PutIfAbsent(ctx, key, data)
	if mode := modeOf(ctx); err == nil && mode != Bypass && s.cached(key) {
		s.keep(key, data, mode)
	}
	return err
}

// keep writes the pages of a new object.
func (s *Store) keep(key string, data []byte, mode Mode) {
	size := int(s.opts.PageSize)
	for p := 0; p*size < len(data) && p < maxPage; p++ {
		id := pageID{key, uint32(p)}
		s.mu.Lock()
		if s.mu.closed || s.off.Load() {
			s.mu.Unlock()
			return
		}
		if s.mu.flights[id] != nil || s.mu.table.find(id, false) != none || mode != Fill && len(s.mu.table.free) == 0 {
			s.mu.Unlock()
			continue
		}
		f := s.newFlightLocked(id)
		f.data, f.err, f.evict = data[p*size:min((p+1)*size, len(data))], nil, mode == Fill
		s.mu.waiting++ // Close waits for it
		close(f.done)
		s.mu.Unlock()
		s.store(f)
		s.written()
	}
}

// CachedBytes returns about how many bytes of an object are in the cache.
func (s *Store) CachedBytes(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.mu.table.numbers[key]
	if !ok {
		return 0
	}
	return int64(s.mu.table.objects[n].count) * s.opts.PageSize
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	err := s.Store.Put(ctx, key, data)
	s.Forget(key)
	return err
}

// Delete implements objstore.Store. The pages of the objects go as well.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	err := s.Store.Delete(ctx, keys...)
	s.Forget(keys...)
	return err
}

// Upload implements objstore.Streamer.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	return objstore.Upload(ctx, s.Store, key, r, size)
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return objstore.Download(ctx, s.Store, key, off, n)
}

// List implements objstore.Store.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return s.Store.List(ctx, prefix, startAfter)
}

// Forget drops the pages of objects that nobody will read any more.
func (s *Store) Forget(keys ...string) {
	var gone []int32
	s.mu.Lock()
	for _, key := range keys {
		if !s.cached(key) {
			continue
		}
		gone = append(gone, s.mu.table.dropObject(key)...)
		for id, f := range s.mu.flights {
			if id.key == key {
				f.forgotten = true
			}
		}
	}
	s.mu.Unlock()
	for _, i := range gone {
		// A slot that has a page again by now loses it with the next restart:
		// no harm.
		if err := s.disk.forget(i); err != nil {
			s.fail(err)
			return
		}
	}
}

// Stats are counters since Open, and the present state.
type Stats struct {
	// Hits are pages that were there, Joined those that another read was
	// fetching, or that waited to be written, Misses those that were fetched
	// for lack of it, Bypassed those that were read past the cache.
	Hits, Joined, Misses, Bypassed int64
	// Fetches are the ranges read from the store below.
	Fetches int64
	// Stored are pages that were written, Dropped those that found no room,
	// Evicted those that had to go, Bad those that failed their checksum.
	Stored, Dropped, Evicted, Bad int64
	// Pages are there now, of Capacity.
	Pages, Capacity int64
	Disabled        bool
}

type counts struct {
	hits, joined, misses, bypassed, fetches, stored, dropped, bad atomic.Int64
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	c := &s.counts
	st := Stats{
		Hits: c.hits.Load(), Joined: c.joined.Load(), Misses: c.misses.Load(), Bypassed: c.bypassed.Load(),
		Fetches: c.fetches.Load(), Stored: c.stored.Load(), Dropped: c.dropped.Load(), Bad: c.bad.Load(),
		Disabled: s.off.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Pages, st.Capacity, st.Evicted = int64(s.mu.table.used()), int64(len(s.mu.table.slots)), s.mu.table.evicted
	return st
}
