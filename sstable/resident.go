package sstable

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/sstable/block"
)

// residentRange is about how much Load reads at once, in bytes.
const residentRange = 4 << 20

// resident are all blocks of a file, by offset.
type resident map[uint64][]byte

// Load reads all blocks of the file and keeps them, unpacked, until Unload: no
// read of the file needs anything else then. room is asked before more bytes are
// kept; where it says no nothing is kept, and loaded is false. bytes is what is
// kept. One Load runs at a time.
func (r *Reader) Load(ctx context.Context, room func(bytes int64) bool) (bytes int64, loaded bool, err error) {
	if r.kept.Load() != nil {
		return 0, true, nil
	}
	all := make(resident, r.index.blocks)
	var span []block.Handle
	flush := func() (bool, error) {
		n, ok, err := r.loadSpan(ctx, all, span, room)
		bytes += n
		span = span[:0]
		return ok, err
	}
	for c, ok := (cursor{}), !r.index.empty(); ok; c, ok = r.index.next(c) {
		h := r.index.handle(c)
		if len(span) > 0 && h.End()-span[0].Offset > residentRange {
			if ok, err := flush(); err != nil || !ok {
				return bytes, false, err
			}
		}
		span = append(span, h)
	}
	if len(span) > 0 {
		if ok, err := flush(); err != nil || !ok {
			return bytes, false, err
		}
	}
	r.kept.Store(&all)
	return bytes, true, nil
}

// loadSpan reads blocks that follow each other into all.
func (r *Reader) loadSpan(ctx context.Context, all resident, span []block.Handle, room func(int64) bool) (bytes int64, ok bool, err error) {
	from, to := span[0].Offset, span[len(span)-1].End()
	raw, err := readFull(ctx, r.src, false, int64(from), int64(to-from))
	if err != nil {
		return 0, false, fmt.Errorf("load SSTable %s: %w", r.Name(), err)
	}
	for _, h := range span {
		frame := raw[h.Offset-from : h.End()-from]
		b, err := r.unpack(frame[:len(frame):len(frame)], h, blockMode{fill: true})
		if err != nil {
			b, err = r.fetch(ctx, h, blockMode{fill: true}) // reads it again, and tells
		}
		if err != nil {
			return bytes, false, err
		}
		n := int64(len(b)) + blockOverhead
		if bytes += n; !room(n) {
			return bytes, false, nil
		}
		all[h.Offset] = b
	}
	return bytes, true, nil
}

// Unload lets go of what Load has kept. Iterators go on working.
func (r *Reader) Unload() { r.kept.Store(nil) }

// Loaded reports whether all blocks are kept.
func (r *Reader) Loaded() bool { return r.kept.Load() != nil }

// inMemory returns a block that is kept.
func (r *Reader) inMemory(offset uint64) ([]byte, bool) {
	all := r.kept.Load()
	if all == nil {
		return nil, false
	}
	b, ok := (*all)[offset]
	if ok {
		r.cache.hits.Add(1)
	}
	return b, ok
}

// Resize changes how many bytes the cache may take.
func (c *Cache) Resize(size int64) {
	if c.blocks != nil {
		c.blocks.SetMaximum(uint64(max(size, 0)))
	}
}
