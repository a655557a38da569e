package tablet

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// handle is one SSTable. It is opened when it is first read, so that loading a
// tablet does not wait for its files, and again when it had to make room.
type handle struct {
	files  *Files
	number base.FileNumber
	meta   sstable.Meta
	refs   int // guarded by Files.mu
	// gone: this server has merged it into others; guarded by Files.mu.
	gone bool
	// Guarded by Files.mu: what the open reader takes, 0: none; its place in
	// the ring.
	bytes int64
	place int
	// Guarded by Files.mu: what it takes as one that is kept in memory, 0: it is
	// not; and at least what it would take, 0: not known.
	keptBytes, unpacked int64

	cacheID uint64
	reader  atomic.Pointer[sstable.Reader] // nil: not opened, or closed for lack of room
	used    atomic.Bool                    // since the sweep came by
	opening chan struct{}                  // holds a token while somebody opens it
}

// acquire returns the handle of a file and takes a reference to it.
func (f *Files) acquire(ref manifest.File) *handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.mu.open[ref.Number]
	if h == nil {
		h = &handle{
			files: f, number: ref.Number, meta: sstable.Meta{Size: ref.Size, TailOffset: ref.TailOffset},
			cacheID: f.cache.NewFile(), opening: make(chan struct{}, 1),
		}
		f.mu.open[ref.Number] = h
	}
	h.refs++
	return h
}

// release gives a reference back. With the last one the file is closed.
func (h *handle) release() {
	f := h.files
	f.mu.Lock()
	h.refs--
	last := h.refs == 0
	if last {
		delete(f.mu.open, h.number)
		f.mu.metadata.remove(h)
		f.mu.resident.drop(h)
	}
	forget := last && h.gone
	f.mu.Unlock()
	if r := h.reader.Load(); last && r != nil {
		r.Close()
	}
	if s, ok := f.store.(forgetful); ok && forget {
		s.Forget(base.SSTableObject(h.number))
	}
}

// forgetful is the optional ability of an objstore.Store that caches: to drop
// what it has of objects.
type forgetful interface{ Forget(keys ...string) }

// mostlyCached reports whether the store has a copy at hand of at least half of
// the files. Then what they are merged into takes their place in the cache;
// else nobody would read it there.
func (f *Files) mostlyCached(runs []manifest.Run) bool {
	s, ok := f.store.(interface{ CachedBytes(key string) int64 })
	if !ok {
		return false
	}
	var cached, size int64
	for _, r := range runs {
		for _, x := range r {
			cached += s.CachedBytes(base.SSTableObject(x.Number))
			size += x.Size
		}
	}
	return 2*cached >= size
}

// obsolete says that the files were merged into others: when the last tablet
// here has let go of one, nothing of it need be cached any more. (One that is
// merely released may come back, after a restart or a move.)
func (f *Files) obsolete(runs []manifest.Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range runs {
		for _, x := range r {
			if h := f.mu.open[x.Number]; h != nil {
				h.gone = true
			}
		}
	}
}

// open returns the reader of the file.
func (h *handle) open(ctx context.Context) (*sstable.Reader, error) {
	if r := h.reader.Load(); r != nil {
		if !h.used.Load() { // the line stays shared between processors
			h.used.Store(true)
		}
		return r, nil
	}
	select { // a mutex would hold readers beyond their deadline
	case h.opening <- struct{}{}:
		defer func() { <-h.opening }()
	case <-ctx.Done():
		return nil, fmt.Errorf("open SSTable %v: %w", h.number, ctx.Err())
	}
	if r := h.reader.Load(); r != nil {
		return r, nil
	}
	r, err := sstable.Open(ctx, sstable.NewObjectSource(h.files.store, base.SSTableObject(h.number)), h.meta,
		sstable.ReaderOptions{Cache: h.files.cache, File: h.number, ID: h.cacheID})
	if err != nil {
		return nil, fmt.Errorf("open SSTable %v: %w", h.number, err)
	}
	h.files.opened(h, r)
	return r, nil
}

// opened keeps the reader of h, and closes others where it needs the room.
func (f *Files) opened(h *handle, r *sstable.Reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.used.Store(true)
	h.reader.Store(r)
	if f.mu.open[h.number] == h { // it was not released meanwhile
		f.mu.metadata.add(h, r.MetadataBytes())
	}
}

// metadata is the handles whose readers are open, and what they take. It is a
// clock: the hand passes those that were used since it came by the last time.
// An index and its filters come and go as one: they are a hundredth of what they
// describe where values are of some size, files are small enough for that, and
// most of it is the filter, of which a part would not do.
type metadata struct {
	budget, bytes int64
	ring          []*handle
	hand          int
	closed        int64 // for lack of room, ever
}

func (m *metadata) add(h *handle, bytes int64) {
	h.place, h.bytes = len(m.ring), bytes
	m.ring = append(m.ring, h)
	m.bytes += bytes
	for m.bytes > m.budget && len(m.ring) > 1 {
		if m.hand >= len(m.ring) {
			m.hand = 0
		}
		victim := m.ring[m.hand]
		if victim.used.Swap(false) || victim == h {
			m.hand++
			continue
		}
		m.remove(victim)
		victim.reader.Store(nil) // whoever reads by it goes on
		m.closed++
	}
}

// remove takes h out, if it is in.
func (m *metadata) remove(h *handle) {
	if h.bytes == 0 {
		return
	}
	last := m.ring[len(m.ring)-1]
	m.ring[h.place], last.place = last, h.place
	m.ring[len(m.ring)-1] = nil
	m.ring = m.ring[:len(m.ring)-1]
	m.bytes -= h.bytes
	h.bytes = 0
}

// MetadataStats returns how many files are open, what their filters and indexes
// take, and how many were closed for lack of room.
func (f *Files) MetadataStats() (files int, bytes, closed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.metadata.ring), f.mu.metadata.bytes, f.mu.metadata.closed
}
