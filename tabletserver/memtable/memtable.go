// Package memtable holds the youngest cells of a tablet in memory: a skiplist
// of cell keys in an arena, and large values in an arena of their own, so that
// the keys lie close together: a search meets a dozen of them, and what it
// costs is the memory that it pulls through the processor's caches. One
// goroutine at a time adds, any number read without locks. An empty table costs
// less than 300 bytes, and a full one has one pointer per 1 MiB for the garbage
// collector to look at.
package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// MaxKeyLen is the longest key a table takes, in bytes.
const MaxKeyLen = 1<<24 - 1

// A node, at a multiple of 8 bytes, in little-endian words of 4 bytes:
//
//	+--------------------+-----------+-------+--------------------+-----+---------+
//	| key length<<8 | h  | value len | value | link 0 .. link h-1 | key | (value) |
//	+--------------------+-----------+-------+--------------------+-----+---------+
//
// The third word names the value's place in the other arena; it is 0 for a
// value of at most maxInline bytes, which follows the key. Link i names the next
// node that has a level i, or 0. Only links change, and they are read and
// written as atomics; the rest of a node, and its value, is written before the
// first link to it.
const (
	linksAt   = 12
	linkLen   = 4
	maxInline = 64 // bytes: a cache line
	maxHeight = 14 // of a list with branching 4: enough for 4^14 entries

	// head is the node before all others; alloc gives the first node this name.
	head ref = 1
)

// Table is a memtable. The zero Table is empty and ready to use; it must not
// be copied.
type Table struct {
	arena  arena // nodes
	values arena
	height atomic.Int32 // levels in use
	len    atomic.Int64
	size   atomic.Int64

	// splice is where the last key went, of the adding goroutine. Cells of a
	// row and rows of a sorted load arrive next to each other.
	splice *splice
}

// splice holds, per level, two adjacent nodes; next may be 0.
type splice [maxHeight]struct{ prev, next ref }

// New returns an empty table.
func New() *Table { return &Table{} }

// Len returns the number of entries.
func (t *Table) Len() int { return int(t.len.Load()) }

// Empty reports whether the table has no entry.
func (t *Table) Empty() bool { return t.len.Load() == 0 }

// Size returns the bytes that the entries take with their overhead; it is what
// decides when to flush. It may be called at any time.
func (t *Table) Size() int64 { return t.size.Load() }

// Allocated returns the bytes of memory the table holds, used or not; it is
// what counts against a memory budget. It may be called at any time.
func (t *Table) Allocated() int64 { return t.arena.total.Load() + t.values.total.Load() }

// Add inserts an entry; both slices are copied. It reports false, and changes
// nothing, where the key is present already: a record replayed twice. Only one
// goroutine at a time may call Add; iterators may run meanwhile and see the
// entry or not. It panics on a key longer than MaxKeyLen, a value of 4 GiB, and
// on more than 2 GiB of entries.
func (t *Table) Add(key, value []byte) bool {
	if len(key) > MaxKeyLen || uint64(len(value)) > 1<<32-1 {
		panic(fmt.Sprintf("memtable: key of %d bytes, value of %d bytes", len(key), len(value)))
	}
	if t.splice == nil {
		t.start()
	}
	b := t.arena.load()
	if t.find(b, key) {
		return false
	}
	h := randomHeight()
	n := linksAt + h*linkLen + len(key)
	size := 0
	var at ref
	if len(value) > maxInline {
		size = roundUp(len(value))
		var mem []byte
		at, mem = t.values.alloc(len(value))
		copy(mem, value)
	} else {
		n += len(value)
	}
	r, node := t.arena.alloc(n)
	binary.LittleEndian.PutUint32(node, uint32(len(key)<<8|h))
	binary.LittleEndian.PutUint32(node[4:], uint32(len(value)))
	binary.LittleEndian.PutUint32(node[8:], uint32(at))
	copy(node[linksAt+h*linkLen:], key)
	if at == 0 {
		copy(node[linksAt+h*linkLen+len(key):], value)
	}
	t.link(r, node, h)
	t.len.Add(1)
	t.size.Add(int64(roundUp(n) + size))
	return true
}

// start allocates what an empty table does without.
func (t *Table) start() {
	r, node := t.arena.alloc(linksAt + maxHeight*linkLen)
	if r != head {
		panic("memtable: the head is not the first node")
	}
	binary.LittleEndian.PutUint32(node, maxHeight)
	t.splice = new(splice)
	for i := range t.splice {
		t.splice[i].prev = head
	}
	t.height.Store(1)
}

// link puts the node of height h where the splice says, lowest level first, so
// that a reader who meets it on a level finds it on all lower ones.
func (t *Table) link(r ref, node []byte, h int) {
	b := t.arena.load()
	if h > int(t.height.Load()) {
		// The levels above were empty: their splices are (head, 0).
		t.height.Store(int32(h))
	}
	for level := range h {
		s := &t.splice[level]
		word(node, linksAt+level*linkLen).Store(uint32(s.next))
		word(b.bytes(s.prev), linksAt+level*linkLen).Store(uint32(r))
		s.prev = r
	}
}

// find sets the splice to where key belongs and reports whether it is there
// already. It climbs from the last place only as far as it must.
func (t *Table) find(b blocks, key []byte) bool {
	height := int(t.height.Load())
	level := 0
	for ; level < height; level++ {
		s := &t.splice[level]
		if s.prev != head && bytes.Compare(nodeKey(b.bytes(s.prev)), key) >= 0 {
			continue
		}
		if s.next == 0 || bytes.Compare(key, nodeKey(b.bytes(s.next))) <= 0 {
			break
		}
	}
	prev := head
	if level < height {
		prev = t.splice[level].prev
		level++
	}
	for level--; level >= 0; level-- {
		var next ref
		prev, next = walk(b, prev, level, key)
		t.splice[level].prev, t.splice[level].next = prev, next
	}
	next := t.splice[0].next
	return next != 0 && bytes.Equal(nodeKey(b.bytes(next)), key)
}

// walk goes along a level from prev, whose key is smaller, to the last node
// with a key < key; next is the one after it, or 0.
func walk(b blocks, prev ref, level int, key []byte) (ref, ref) {
	node := b.bytes(prev)
	for {
		next := ref(word(node, linksAt+level*linkLen).Load())
		if next == 0 {
			return prev, 0
		}
		n := b.bytes(next)
		if bytes.Compare(nodeKey(n), key) >= 0 {
			return prev, next
		}
		prev, node = next, n
	}
}

// nodeKey returns the key of a node.
func nodeKey(node []byte) []byte {
	w := binary.LittleEndian.Uint32(node)
	at := linksAt + int(w&0xff)*linkLen
	return node[at : at+int(w>>8) : at+int(w>>8)]
}

// nodeValue returns the value of a node, from the values' arena where it is
// not in the node.
func nodeValue(values blocks, node []byte) []byte {
	w := binary.LittleEndian.Uint32(node)
	n := int(binary.LittleEndian.Uint32(node[4:]))
	if r := valueRef(node); r != 0 {
		return values.bytes(r)[:n:n]
	}
	at := linksAt + int(w&0xff)*linkLen + int(w>>8)
	return node[at : at+n : at+n]
}

// valueRef returns where in the values' arena the value of a node lies, 0
// where it lies in the node.
func valueRef(node []byte) ref { return ref(binary.LittleEndian.Uint32(node[8:])) }

// randomHeight returns h with probability 3/4 * 4^-(h-1).
func randomHeight() int {
	return min(1+bits.TrailingZeros64(rand.Uint64())/2, maxHeight)
}
