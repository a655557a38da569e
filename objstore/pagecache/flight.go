package pagecache

import (
	"context"
	"errors"

	"github.com/tabletdb/tabletdb/objstore"
)

// flight is a page on its way: being fetched, then waiting to be written.
type flight struct {
	id   pageID
	done chan struct{} // closed when data and err are set
	data []byte        // shorter than a page: the object ends. Never changed.
	err  error

	forgotten bool // the object was deleted meanwhile; guarded by Store.mu
	evict     bool // it may push another page out; set before it is queued
}

var errDied = errors.New("the read of the page died")

// newFlight makes it known that a page is being fetched. The caller has the
// lock.
func (s *Store) newFlightLocked(id pageID) *flight {
	f := &flight{id: id, done: make(chan struct{}), err: errDied}
	s.mu.flights[id] = f
	return f
}

// fetchRun reads the pages from first to last in one piece and ends the flights,
// which are some of them in ascending order.
func (s *Store) fetchRun(ctx context.Context, first, last uint32, fs []*flight, mode Mode) {
	defer s.land(fs, mode) // also if the store panics
	size := s.opts.PageSize
	s.counts.fetches.Add(1)
	data, err := s.Store.GetRange(ctx, fs[0].id.key, int64(first)*size, int64(last-first+1)*size)
	for _, f := range fs {
		if f.err = err; err != nil {
			continue
		}
		f.data = pageOf(data, int64(f.id.page-first), size)
	}
}

// pageOf returns page i of data.
func pageOf(data []byte, i, size int64) []byte {
	lo, hi := objstore.Window(int64(len(data)), i*size, size)
	return data[lo:hi:hi]
}

// land ends flights that were fetched together, and queues their pages to be
// written: all or none, for a page that waits keeps what was read with it in
// memory.
func (s *Store) land(fs []*flight, mode Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := cap(s.jobs) - len(s.jobs) // only this lock's owner adds to it
	if mode != Fill {
		room = min(room, len(s.mu.table.free)-len(s.jobs))
	}
	wanted := !s.mu.closed && !s.off.Load() && fs[0].err == nil
	if wanted && room < len(fs) {
		s.counts.dropped.Add(int64(len(fs)))
	}
	for _, f := range fs {
		if f.evict = mode == Fill; wanted && room >= len(fs) && len(f.data) > 0 && !f.forgotten {
			s.jobs <- f
			s.mu.waiting++
		} else {
			s.endLocked(f)
		}
		close(f.done)
	}
}

// endLocked takes a flight out of the list, where another of its page may stand
// by now.
func (s *Store) endLocked(f *flight) {
	if s.mu.flights[f.id] == f {
		delete(s.mu.flights, f.id)
	}
}

// write writes the pages that were fetched, until Close.
func (s *Store) write() {
	for f := range s.jobs {
		s.store(f)
		s.written()
	}
}

// written says that a page which waited has been written, or dropped.
func (s *Store) written() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.waiting--; s.mu.waiting == 0 {
		s.mu.idle.Broadcast()
	}
}

// store writes one page to a slot.
func (s *Store) store(f *flight) {
	s.mu.Lock()
	i := none
	if !f.forgotten && !s.off.Load() {
		if i = s.mu.table.take(f.evict); i == none {
			s.counts.dropped.Add(1)
		}
	}
	if i == none {
		s.endLocked(f)
	}
	s.mu.Unlock()
	if i == none {
		return
	}
	crc := checksum(f.id, f.data)
	err := s.disk.write(i, f.id, f.data, crc)
	s.mu.Lock()
	s.endLocked(f)
	if err != nil || f.forgotten {
		s.mu.table.giveBack(i)
	} else {
		s.mu.table.put(i, f.id, uint32(len(f.data)), crc)
		s.counts.stored.Add(1)
	}
	s.mu.Unlock()
	if err != nil {
		s.fail(err)
	}
}

// await waits for a page that somebody else fetches. again is true where that
// one gave up, and the caller has to do it.
func (f *flight) await(ctx context.Context) (data []byte, again bool, err error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	if f.err != nil && ctx.Err() == nil && (errors.Is(f.err, context.Canceled) || errors.Is(f.err, context.DeadlineExceeded) || errors.Is(f.err, errDied)) {
		return nil, true, nil
	}
	return f.data, false, f.err
}
