package memtable

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// ref names a node: the index of its block in the upper 15 bits, the offset
// in the block, in units of 8 bytes, in the lower 17. 0 names no node: the
// first 8 bytes of block 0 stay unused.
type ref uint32

const (
	unit       = 8
	offsetBits = 17
	maxBlocks  = 1 << (32 - offsetBits)

	firstBlock = 4 << 10
	// maxBlock is what the lower bits of a ref address: 1 MiB.
	maxBlock = unit << offsetBits
	// growth is the ratio of a block to the one before, up to maxBlock, so
	// that a table with one small cell costs 4 KiB and a busy one soon gets
	// blocks for a thousand cells.
	growth = 4
	// A larger node gets a block of its own; so no more than a sixteenth of a
	// block of 1 MiB is left unused at its end.
	maxShared = maxBlock / 16
)

// blocks is the list of blocks of an arena. A published list never changes:
// its owner publishes a longer one (which may share the array).
type blocks [][]byte

// bytes returns the memory from the start of the node to the end of its block.
func (b blocks) bytes(r ref) []byte {
	return b[r>>offsetBits][(r&(1<<offsetBits-1))*unit:]
}

// arena is memory that only grows: one goroutine allocates, any number read
// what was published to them through an atomic.
type arena struct {
	table atomic.Pointer[blocks] // nil: nothing allocated yet
	total atomic.Int64           // bytes in all blocks

	// Of the allocating goroutine:
	next ref // where the next small node goes
	left int // bytes left in the block of next
	size int // of the youngest block that is shared by nodes
}

// load returns the blocks published so far.
func (a *arena) load() blocks {
	t := a.table.Load()
	if t == nil {
		return nil
	}
	return *t
}

// alloc returns n zeroed bytes, aligned to 8, and their name. It panics where
// the arena is full, which takes more than 2 GiB of nodes: whoever fills a
// table freezes it long before.
func (a *arena) alloc(n int) (ref, []byte) {
	n = roundUp(n)
	if n > maxShared {
		if a.load() == nil {
			a.newBlock(0) // so that no node is named 0
		}
		r := a.newBlock(n)
		return r, a.load().bytes(r)
	}
	if n > a.left {
		a.size = max(firstBlock, a.size*growth)
		for a.size < 2*n {
			a.size *= growth
		}
		a.size = min(a.size, maxBlock)
		a.next, a.left = a.newBlock(a.size), a.size
		if a.next == 0 {
			a.next, a.left = 1, a.size-unit
		}
	}
	r, b := a.next, a.load().bytes(a.next)[:n]
	a.next += ref(n / unit)
	a.left -= n
	return r, b
}

// newBlock adds a block of size bytes and names its start.
func (a *arena) newBlock(size int) ref {
	t := a.load()
	if len(t) == maxBlocks {
		panic(fmt.Sprintf("memtable: %d blocks are in use, all that can be addressed", maxBlocks))
	}
	r := ref(len(t)) << offsetBits
	t = append(t, make([]byte, size))
	a.table.Store(&t)
	a.total.Add(int64(size))
	return r
}

// word returns the aligned 4 bytes at off of a node as an atomic integer. It
// and the alignment kept by alloc are all that this package asks of unsafe:
// links must change in one step under the eyes of readers, and encoding/binary
// has no atomic store.
func word(node []byte, off int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&node[off : off+4][0]))
}

// roundUp returns the bytes that a node of n bytes occupies.
func roundUp(n int) int { return (n + unit - 1) &^ (unit - 1) }
