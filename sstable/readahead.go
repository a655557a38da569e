package sstable

import (
	"context"

	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/sstable/block"
)

const (
	firstReadahead = 64 << 10
	// depth is how many ranges are fetched ahead once they have grown to their
	// full length: a bucket gives more to several requests than to one.
	depth = 2
	// sequentialLoads is how many blocks in a row are fetched alone before the
	// read-ahead begins.
	sequentialLoads = 2
)

// readahead fetches ranges of blocks for one iterator: the one it is in, and
// the next one or two after that, each by a goroutine.
type readahead struct {
	run  int    // blocks fetched in sequence, up to here
	next uint64 // where the last block ended
	size int    // of the next range

	off     uint64   // of data
	data    []byte   // the current range
	held    int64    // bytes taken of IterOptions.Memory for it
	pending []*fetch // the ranges after it, in order

	after cursor // the first block that no range holds yet
	more  bool   // there is one, below the upper bound
}

// fetch is a range on its way.
type fetch struct {
	off, n uint64
	cancel context.CancelFunc
	done   chan struct{} // closed when data and err are set
	data   []byte
	err    error
}

// skip notes that block h was cached.
func (a *readahead) skip(h block.Handle) {
	if h.Offset != a.next {
		a.run = 0
	}
	a.next = h.End()
}

// frame returns block c, with its trailer, out of a range; nil: the caller
// fetches it alone. That is also the second attempt where a range could not be
// read, and tells what is wrong. The bytes are not checked.
func (a *readahead) frame(i *Iter, c cursor, h block.Handle) []byte {
	sequential := h.Offset == a.next
	a.next = h.End()
	if f := a.cut(h); f != nil {
		return f
	}
	if len(a.pending) > 0 && a.pending[0].holds(h) {
		return a.advance(i, h)
	}
	a.stop(i.o.Memory)
	if !sequential {
		a.run = 0
	}
	if a.run == 0 {
		a.size = max(firstReadahead, min(i.o.Expect, i.o.Readahead))
		if i.o.Eager {
			a.size = i.o.Readahead
		}
	}
	if a.run++; a.run <= sequentialLoads && a.size == firstReadahead && !i.o.Eager {
		return nil
	}
	return a.restart(i, c, h)
}

// holds reports whether the block is in the range.
func (p *fetch) holds(h block.Handle) bool { return p.off <= h.Offset && h.End() <= p.off+p.n }

// advance makes the first of the ranges on their way the current one.
func (a *readahead) advance(i *Iter, h block.Handle) []byte {
	p := a.pending[0]
	<-p.done
	p.cancel()
	copy(a.pending, a.pending[1:])
	a.pending[len(a.pending)-1] = nil
	a.pending = a.pending[:len(a.pending)-1]
	if p.err != nil {
		i.o.Memory.Give(int64(p.n))
		return nil
	}
	i.o.Memory.Give(a.held)
	a.off, a.data, a.held = p.off, p.data, int64(p.n)
	a.start(i)
	return a.cut(h)
}

// restart fetches a range that begins with block c, and those after it
// meanwhile. Where memory is short it is a small range.
func (a *readahead) restart(i *Iter, c cursor, h block.Handle) []byte {
	a.after, a.more = c, true
	n := a.extend(i)
	if !i.o.Memory.TryTake(int64(n)) {
		a.after, a.more, a.size = c, true, min(firstReadahead, i.o.Readahead)
		n = a.extend(i)
		i.o.Memory.Add(int64(n))
	}
	a.held = int64(n)
	a.start(i)
	data, err := i.r.src.ReadAt(i.ctx, int64(h.Offset), int64(n))
	if err != nil {
		return nil
	}
	a.off, a.data = h.Offset, data
	return a.cut(h)
}

// cut returns block h out of the current range, or nil.
func (a *readahead) cut(h block.Handle) []byte {
	if h.Offset < a.off || h.End() > a.off+uint64(len(a.data)) {
		return nil
	}
	return a.data[h.Offset-a.off : h.End()-a.off]
}

// extend returns the length of the next range: blocks from a.after on, at least
// one, that are not past the upper bound. It moves a.after behind them and
// doubles the size of the range after.
func (a *readahead) extend(i *Iter) uint64 {
	x := &i.r.index
	begin := x.handle(a.after).Offset
	size := uint64(min(a.size, i.o.Readahead))
	n := uint64(0)
	for a.more {
		end := x.handle(a.after).End() - begin
		if n > 0 && end > size {
			break
		}
		n = end
		a.after, a.more = x.next(a.after)
		a.more = a.more && !i.past(a.after)
	}
	a.size = min(2*a.size, i.o.Readahead)
	return n
}

// start begins to fetch the ranges after the current one that are not on their
// way yet.
func (a *readahead) start(i *Iter) {
	for a.more && len(a.pending) < a.depth(i) {
		p := &fetch{off: i.r.index.handle(a.after).Offset, done: make(chan struct{})}
		before, size := a.after, a.size
		p.n = a.extend(i)
		if !i.o.Memory.TryTake(int64(p.n)) { // later, if it is there then
			a.after, a.more, a.size = before, true, max(size/2, min(firstReadahead, i.o.Readahead))
			return
		}
		ctx, cancel := context.WithCancel(i.ctx)
		p.cancel = cancel
		a.pending = append(a.pending, p)
		src := i.r.src
		go func() {
			defer close(p.done)
			p.data, p.err = src.ReadAt(ctx, int64(p.off), int64(p.n))
		}()
	}
}

func (a *readahead) depth(i *Iter) int {
	if a.size < i.o.Readahead {
		return 1
	}
	return depth
}

// stop ends the fetches on their way, waits for them, and lets go of the current
// range.
func (a *readahead) stop(memory *membudget.Account) {
	for _, p := range a.pending {
		p.cancel()
	}
	for k, p := range a.pending {
		<-p.done
		a.pending[k] = nil
		memory.Give(int64(p.n))
	}
	a.pending = a.pending[:0]
	memory.Give(a.held)
	a.data, a.held = nil, 0
}
