package sstable

import (
	"bytes"
	"context"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/sstable/block"
)

// DefaultReadahead is a good IterOptions.Readahead for scans of a remote store.
const DefaultReadahead = 4 << 20

// IterOptions say how to iterate. The zero value walks the whole file for point
// reads that leave no trace in the cache.
type IterOptions struct {
	// Lower and Upper clip the file to the cell keys in [Lower, Upper); nil
	// is open. They are used, and not copied, until Close.
	Lower, Upper []byte
	// FillCache lets blocks that are read go to the cache. Scans of much and
	// compactions leave it off; they use what is cached all the same.
	FillCache bool
	// Readahead is the longest range to fetch at once, in bytes, except for a
	// single block that is longer; 0: blocks are fetched one by one. After
	// two blocks in sequence were missing from the cache, whole ranges are
	// fetched, of 64 KiB and then doubling, and one ahead of the iterator by a
	// goroutine; two, once they are of full length.
	Readahead int
	// Memory is what ranges that are fetched ahead are taken of; where it is short
	// they are small, and none is fetched beside the one in use. nil: no limit.
	Memory *membudget.Account
	// Expect, if not 0, is about how much will be read from the first block on:
	// the read-ahead begins with that block, and with ranges of this length.
	Expect int
	// Eager begins the read-ahead with the first block and at full length: for
	// those who know that they will read it all.
	Eager bool
	// StableValues promises that values stay valid and unchanged for as long
	// as they are referred to; each keeps its whole block, or the range that
	// was fetched around it, in memory. Without it they are valid until the
	// next move, as base.Iterator says. Blocks that come from or go to the
	// cache are not reused in any case.
	StableValues bool
}

// fillAhead is up to which length of the ranges fetched ahead blocks go to the
// cache: beyond, it is a huge row that is read, and not worth what it would push
// out.
const fillAhead = 1 << 20

// Iter walks a file. It implements base.Iterator; it is used by one goroutine.
// After an error it stays where it is: nothing moves any more.
type Iter struct {
	r   *Reader
	ctx context.Context
	o   IterOptions

	data  block.Iter
	at    cursor
	open  bool   // data is the block at
	valid bool   // it stands on an entry
	check bool   // the block may hold keys >= Upper
	buf   []byte // for blocks that nobody else keeps
	err   error
	ahead readahead
}

var _ base.Iterator = (*Iter)(nil)

// NewIter returns an unpositioned iterator. It reads with ctx, which must
// outlive it.
func (r *Reader) NewIter(ctx context.Context, o IterOptions) *Iter {
	i := &Iter{}
	r.InitIter(ctx, i, o)
	return i
}

// InitIter is NewIter for callers that keep the iterator in a place of their
// own. i is zero or closed; it keeps the buffers of its last use.
func (r *Reader) InitIter(ctx context.Context, i *Iter, o IterOptions) {
	*i = Iter{r: r, ctx: ctx, o: o, buf: i.buf, data: i.data}
}

// Key implements base.Iterator. It is valid until the next move.
func (i *Iter) Key() []byte { return i.data.Key() }

// Value implements base.Iterator; see IterOptions.StableValues.
func (i *Iter) Value() []byte { return i.data.Value() }

// Ahead returns the length of the ranges that are fetched ahead, for the Expect
// of an iterator that goes on in another file; 0: there is no read-ahead.
func (i *Iter) Ahead() int {
	if i.ahead.run <= sequentialLoads && len(i.ahead.data) == 0 {
		return 0
	}
	return i.ahead.size
}

// Err implements base.Iterator.
func (i *Iter) Err() error { return i.err }

// Close implements base.Iterator. It waits for the read-ahead to stop.
func (i *Iter) Close() error {
	i.ahead.stop(i.o.Memory)
	i.valid, i.open = false, false
	return i.err
}

// SeekGE implements base.Iterator. key must not be the slice that Key returned.
func (i *Iter) SeekGE(key []byte) bool {
	i.valid = false
	if i.err != nil || i.r.index.empty() {
		return false
	}
	if bytes.Compare(key, i.o.Lower) < 0 {
		key = i.o.Lower
	}
	if i.o.Upper != nil && bytes.Compare(key, i.o.Upper) >= 0 {
		return false
	}
	if !i.load(i.r.index.findGE(key)) {
		return false
	}
	if i.data.SeekGE(key) {
		return i.found()
	}
	return i.nextBlock()
}

// SeekLT implements base.Iterator. key must not be the slice that Key returned.
func (i *Iter) SeekLT(key []byte) bool {
	i.valid = false
	if i.err != nil {
		return false
	}
	if i.o.Upper != nil && bytes.Compare(key, i.o.Upper) > 0 {
		key = i.o.Upper
	}
	c, ok := i.r.index.findLT(key)
	if !ok || !i.load(c) {
		return false
	}
	if !i.data.SeekLT(key) {
		if i.data.Err() != nil {
			return i.fail(i.r.corruptBlock(i.at, i.data.Err()))
		}
		if c, ok = i.r.index.prev(c); !ok || !i.load(c) {
			return false
		}
		if !i.data.Last() {
			return i.fail(i.r.corruptBlock(i.at, i.data.Err()))
		}
	}
	i.valid = bytes.Compare(i.data.Key(), i.o.Lower) >= 0
	return i.valid
}

// Next implements base.Iterator.
func (i *Iter) Next() bool {
	if !i.valid {
		return false
	}
	if i.data.Next() {
		return !i.check || i.found()
	}
	return i.nextBlock()
}

// found accepts the entry under data unless it lies at or past the upper bound.
func (i *Iter) found() bool {
	i.valid = !i.check || bytes.Compare(i.data.Key(), i.o.Upper) < 0
	return i.valid
}

// nextBlock moves to the first entry of the next block.
func (i *Iter) nextBlock() bool {
	i.valid = false
	if err := i.data.Err(); err != nil {
		return i.fail(i.r.corruptBlock(i.at, err))
	}
	c, ok := i.r.index.next(i.at)
	if !ok || i.past(c) || !i.load(c) {
		return false
	}
	if !i.data.First() {
		return i.fail(i.r.corruptBlock(i.at, i.data.Err()))
	}
	return i.found()
}

// past reports whether all keys of block c are at or past the upper bound.
func (i *Iter) past(c cursor) bool {
	return i.o.Upper != nil && bytes.Compare(i.r.index.separator(c), i.o.Upper) >= 0
}

// load makes block c the current one.
func (i *Iter) load(c cursor) bool {
	if i.open && c == i.at {
		return true
	}
	i.open = false
	b, err := i.read(c)
	if err != nil {
		return i.fail(err)
	}
	if err := i.data.Init(b); err != nil {
		return i.fail(i.r.corruptBlock(c, err))
	}
	i.at, i.open = c, true
	i.check = false
	if i.o.Upper != nil {
		next, ok := i.r.index.next(c)
		i.check = !ok || bytes.Compare(i.r.index.separator(next), i.o.Upper) > 0
	}
	return true
}

// read returns the raw block c.
func (i *Iter) read(c cursor) ([]byte, error) {
	m := blockMode{fill: i.o.FillCache}
	if !m.fill && !i.o.StableValues {
		m.buf = &i.buf
	}
	if i.o.Readahead <= 0 {
		return i.r.block(i.ctx, c, m)
	}
	h := i.r.index.handle(c)
	if b, ok := i.r.inMemory(h.Offset); ok {
		i.ahead.skip(h)
		return b, nil
	}
	k := blockKey{i.r.id, h.Offset}
	get := i.r.cache.get
	if !m.fill {
		get = i.r.cache.peek
	}
	if b, ok := get(k); ok {
		i.ahead.skip(h)
		return b, nil
	}
	if frame := i.ahead.frame(i, c, h); frame != nil {
		if b, err := i.r.unpack(frame, h, m); err == nil {
			if m.fill && i.ahead.size <= fillAhead {
				i.r.cache.put(k, b)
			}
			return b, nil
		}
		// fetch reads it again, and tells.
	}
	return i.r.block(i.ctx, c, m)
}

func (i *Iter) fail(err error) bool {
	i.err, i.valid, i.open = err, false, false
	return false
}
