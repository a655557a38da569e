package pagecache

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/tabletdb/tabletdb/objstore"
)

// maxGap is how many pages that are there may lie between two that are missing
// for both to be fetched at once: a request costs more than their bytes.
const maxGap = 4

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if off < 0 || n <= 0 || n > maxRead || off/s.opts.PageSize+n/s.opts.PageSize >= maxPage || !s.cached(key) {
		return s.Store.GetRange(ctx, key, off, n)
	}
	size := s.opts.PageSize
	r := &read{s: s, key: key, mode: modeOf(ctx), first: uint32(off / size), last: uint32((off + n - 1) / size), off: off, n: n}
	if r.mode == Bypass {
		return r.bypass(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r.out, r.have = make([]byte, n), make([]int32, r.last-r.first+1)
	for i := range r.have {
		r.have[i] = missing
	}
	for !r.complete() {
		if err := r.round(ctx); err != nil {
			return nil, err
		}
	}
	return r.result(), nil
}

// GetRangeFresh is GetRange past the cache, which forgets what it has of the
// range: for a caller who has found that something is wrong with it.
func (s *Store) GetRangeFresh(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if !s.cached(key) || off < 0 || n <= 0 {
		return s.Store.GetRange(ctx, key, off, n)
	}
	s.mu.Lock()
	for p := off / s.opts.PageSize; p <= min((off+n-1)/s.opts.PageSize, maxPage); p++ {
		id := pageID{key, uint32(p)}
		if i := s.mu.table.find(id, false); i != none {
			s.mu.table.drop(i)
		}
		if f := s.mu.flights[id]; f != nil {
			f.forgotten = true // nor is it written
			delete(s.mu.flights, id)
		}
	}
	s.mu.Unlock()
	return s.Store.GetRange(ctx, key, off, n)
}

// read is one GetRange.
type read struct {
	s           *Store
	key         string
	mode        Mode
	first, last uint32
	off, n      int64

	out  []byte
	have []int32 // bytes of each page that stand in out; missing: not yet
}

const missing = -1

func (r *read) complete() bool {
	for _, h := range r.have {
		if h == missing {
			return false
		}
	}
	return true
}

// hit is a page that is on disk.
type hit struct {
	page, length, crc, generation uint32
	slot                          int32
}

// round does what can be done at once: reads what is there, fetches what nobody
// fetches, and waits for others. What fails a checksum, or was given up by
// others, is left to the next round.
func (r *read) round(ctx context.Context) error {
	var hits []hit
	var own, others []*flight
	s := r.s
	s.mu.Lock()
	for p := r.first; p <= r.last; p++ {
		if r.have[p-r.first] != missing {
			continue
		}
		id := pageID{r.key, p}
		if f := s.mu.flights[id]; f != nil {
			others = append(others, f)
		} else if h, ok := s.hitLocked(id, r.mode == Fill); ok {
			hits = append(hits, h)
		} else {
			own = append(own, s.newFlightLocked(id))
		}
	}
	s.mu.Unlock()
	s.counts.joined.Add(int64(len(others)))
	s.counts.misses.Add(int64(len(own)))
	wait := r.fetch(ctx, own)
	r.readHits(hits)
	wait()
	for _, f := range append(own, others...) {
		data, again, err := f.await(ctx)
		if err != nil {
			return err
		}
		if !again {
			r.copyPage(f.id.page, data)
		}
	}
	return nil
}

// hitLocked returns a page that is on disk.
func (s *Store) hitLocked(id pageID, touch bool) (hit, bool) {
	if s.off.Load() {
		return hit{}, false
	}
	i := s.mu.table.find(id, touch)
	if i == none {
		return hit{}, false
	}
	x := &s.mu.table.slots[i]
	return hit{page: id.page, length: x.length, crc: x.crc, generation: x.generation, slot: i}, true
}

// fetch fetches pages, neighbours at once, and returns what waits for it. It
// does the last, and mostly only, range itself then.
func (r *read) fetch(ctx context.Context, own []*flight) (wait func()) {
	if len(own) == 0 {
		return func() {}
	}
	var runs [][]*flight
	for _, f := range own {
		if k := len(runs) - 1; k >= 0 && f.id.page-runs[k][len(runs[k])-1].id.page <= maxGap {
			runs[k] = append(runs[k], f)
		} else {
			runs = append(runs, []*flight{f})
		}
	}
	run := func(fs []*flight) { r.s.fetchRun(ctx, fs[0].id.page, fs[len(fs)-1].id.page, fs, r.mode) }
	var wg sync.WaitGroup
	for _, fs := range runs[:len(runs)-1] {
		wg.Go(func() { run(fs) })
	}
	return func() {
		run(runs[len(runs)-1])
		wg.Wait()
	}
}

// readHits reads pages from the disk. Those that are not what they should be
// are dropped, and stay missing.
func (r *read) readHits(hits []hit) {
	if len(hits) == 0 {
		return
	}
	s, good := r.s, hits[:0]
	buf := pageBuffers.Get().(*[]byte)
	defer pageBuffers.Put(buf)
	for _, h := range hits {
		ok, err := r.readHit(h, buf)
		if err != nil && !errors.Is(err, os.ErrClosed) {
			s.fail(err)
		}
		if ok {
			good = append(good, h)
		} else {
			s.dropBad(h)
		}
	}
	// A slot that was given away meanwhile may have been read before or after.
	s.mu.Lock()
	for _, h := range good {
		if s.mu.table.slots[h.slot].generation != h.generation {
			r.have[h.page-r.first] = missing
		} else {
			s.counts.hits.Add(1)
		}
	}
	s.mu.Unlock()
}

var pageBuffers = sync.Pool{New: func() any { return new([]byte) }}

// readHit reads a page into its place in the result.
func (r *read) readHit(h hit, buf *[]byte) (ok bool, err error) {
	if cap(*buf) < int(h.length) {
		*buf = make([]byte, r.s.opts.PageSize)
	}
	b := (*buf)[:h.length]
	if err := r.s.disk.read(h.slot, b); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return false, err
	}
	if checksum(pageID{r.key, h.page}, b) != h.crc {
		return false, nil
	}
	r.copyPage(h.page, b)
	return true, nil
}

// dropBad drops a page that could not be read, unless its slot has another one
// by now.
func (s *Store) dropBad(h hit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.table.slots[h.slot].generation == h.generation {
		s.mu.table.drop(h.slot)
		s.counts.bad.Add(1)
	}
}

// copyPage puts the part of a page that was asked for into the result.
func (r *read) copyPage(page uint32, data []byte) {
	at := int64(page)*r.s.opts.PageSize - r.off // of the page in out
	if at < 0 {
		data = data[min(-at, int64(len(data))):]
		at = 0
	}
	r.have[page-r.first] = int32(copy(r.out[min(at, r.n):], data))
}

// result is the pages up to the first that is short.
func (r *read) result() []byte {
	n := int64(0)
	for i, h := range r.have {
		n += int64(h)
		if end := (int64(r.first)+int64(i)+1)*r.s.opts.PageSize - r.off; n < min(end, r.n) {
			break
		}
	}
	return r.out[:n:n]
}

// bypass reads from the disk if all is there, else past the cache.
func (r *read) bypass(ctx context.Context) ([]byte, error) {
	s := r.s
	var hits []hit
	s.mu.Lock()
	for p := r.first; p <= r.last; p++ {
		h, ok := s.hitLocked(pageID{r.key, p}, false)
		if !ok {
			break
		}
		hits = append(hits, h)
		if int64(h.length) < s.opts.PageSize { // the object ends
			r.last = p
		}
	}
	s.mu.Unlock()
	if len(hits) == int(r.last-r.first)+1 {
		r.out, r.have = make([]byte, r.n), make([]int32, len(hits))
		for i := range r.have {
			r.have[i] = missing
		}
		if r.readHits(hits); r.complete() {
			return r.result(), nil
		}
	}
	s.counts.bypassed.Add(int64(r.last - r.first + 1))
	return s.Store.GetRange(ctx, r.key, r.off, r.n)
}

var _ objstore.Store = (*Store)(nil)
