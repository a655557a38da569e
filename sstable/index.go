package sstable

import (
	"bytes"
	"fmt"
	"sort"
	"unsafe"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/block"
)

// index is the opened index of a file: its partitions, none of them empty.
type index struct {
	parts  []block.Index
	blocks uint64
}

// cursor names a data block of a file: its partition and its place there.
type cursor struct{ part, i int }

// check counts the blocks and checks that they tile [0, end).
func (x *index) check(end uint64) error {
	at := uint64(0)
	var last []byte
	for p, part := range x.parts {
		if p > 0 && bytes.Compare(last, part.Separator(0)) >= 0 {
			return fmt.Errorf("%w: index partition %d does not ascend", base.ErrCorrupt, p)
		}
		for i := range part.Len() {
			h := part.Handle(i)
			if h.Offset != at || h.Len > end || h.End() > end {
				return fmt.Errorf("%w: index has block at %d+%d, want it at %d, before %d", base.ErrCorrupt, h.Offset, h.Len, at, end)
			}
			at = h.End()
			x.blocks++
		}
		last = part.Separator(part.Len() - 1)
	}
	if at != end {
		return fmt.Errorf("%w: indexed blocks end at %d, not at %d", base.ErrCorrupt, at, end)
	}
	return nil
}

func (x *index) memory() int64 {
	return int64(cap(x.parts)) * int64(unsafe.Sizeof(block.Index{}))
}

func (x *index) empty() bool { return len(x.parts) == 0 }

// findGE returns the first block that may hold keys >= key; the file must not
// be empty. The keys may all be in the block after.
func (x *index) findGE(key []byte) cursor {
	p := sort.Search(len(x.parts), func(p int) bool { return bytes.Compare(x.parts[p].Separator(0), key) > 0 }) - 1
	if p < 0 {
		return cursor{}
	}
	return cursor{p, x.parts[p].FindLE(key)}
}

// findLT returns the last block that may hold keys < key; false: none does.
// Where it holds none, the block before does.
func (x *index) findLT(key []byte) (cursor, bool) {
	p := sort.Search(len(x.parts), func(p int) bool { return bytes.Compare(x.parts[p].Separator(0), key) >= 0 }) - 1
	if p < 0 {
		return cursor{}, false
	}
	return cursor{p, x.parts[p].FindLT(key)}, true
}

func (x *index) next(c cursor) (cursor, bool) {
	c.i++
	if c.i < x.parts[c.part].Len() {
		return c, true
	}
	return cursor{c.part + 1, 0}, c.part+1 < len(x.parts)
}

func (x *index) prev(c cursor) (cursor, bool) {
	if c.i > 0 {
		return cursor{c.part, c.i - 1}, true
	}
	if c.part == 0 {
		return c, false
	}
	return cursor{c.part - 1, x.parts[c.part-1].Len() - 1}, true
}

func (x *index) handle(c cursor) block.Handle { return x.parts[c.part].Handle(c.i) }

func (x *index) separator(c cursor) []byte { return x.parts[c.part].Separator(c.i) }

// findOffset returns the block that holds byte off of the file, or the last;
// the file must not be empty.
func (x *index) findOffset(off uint64) cursor {
	p := max(0, sort.Search(len(x.parts), func(p int) bool { return x.parts[p].Handle(0).Offset > off })-1)
	part := x.parts[p]
	return cursor{p, max(0, sort.Search(part.Len(), func(i int) bool { return part.Handle(i).Offset > off })-1)}
}
