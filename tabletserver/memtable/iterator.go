package memtable

import (
	"bytes"

	"github.com/tabletdb/tabletdb/internal/base"
)

var _ base.Iterator = (*Iterator)(nil)

// Iterator walks a table. It needs no lock; entries added while it runs are
// seen or not. Keys and values it returns stay valid, and unchanged, for as
// long as anything refers to them: they are memory of the table, which is never
// reused. It cannot fail: Err is always nil.
type Iterator struct {
	t      *Table
	blocks blocks // published before the node was linked, or later
	values blocks // of the values, refreshed when they do not reach
	node   []byte // nil: not on an entry
}

// NewIterator returns an unpositioned iterator.
func (t *Table) NewIterator() *Iterator { return &Iterator{t: t} }

// Iter is NewIterator for callers that keep the iterator in a place of their
// own.
func (t *Table) Iter() Iterator { return Iterator{t: t} }

// SeekGE implements base.Iterator.
func (i *Iterator) SeekGE(key []byte) bool {
	_, next := i.seek(key)
	return i.set(next)
}

// SeekLT implements base.Iterator.
func (i *Iterator) SeekLT(key []byte) bool {
	prev, _ := i.seek(key)
	if prev == head {
		prev = 0
	}
	return i.set(prev)
}

// seek returns the neighbours of the place of key; 0, or head, for none.
func (i *Iterator) seek(key []byte) (prev, next ref) {
	// The height is published after the head, and read before the blocks: so
	// the head is there.
	height := int(i.t.height.Load())
	if height == 0 {
		return head, 0
	}
	i.blocks = i.t.arena.load()
	prev = head
	node := i.blocks.bytes(head)
	for level := height - 1; level >= 0; {
		n := ref(word(node, linksAt+level*linkLen).Load())
		if n == next { // compared on the level above, or the end
			level--
			continue
		}
		b := i.bytes(n)
		if bytes.Compare(nodeKey(b), key) < 0 {
			prev, node = n, b
			continue
		}
		next = n
		level--
	}
	return prev, next
}

// bytes returns the node at r, which may lie in a block that is younger than
// the list the iterator holds.
func (i *Iterator) bytes(r ref) []byte {
	if int(r>>offsetBits) >= len(i.blocks) {
		i.blocks = i.t.arena.load()
	}
	return i.blocks.bytes(r)
}

func (i *Iterator) set(r ref) bool {
	if r == 0 {
		i.node = nil
		return false
	}
	i.node = i.bytes(r)
	return true
}

// Next implements base.Iterator.
func (i *Iterator) Next() bool {
	return i.set(ref(word(i.node, linksAt).Load()))
}

// Key implements base.Iterator.
func (i *Iterator) Key() []byte { return nodeKey(i.node) }

// Value implements base.Iterator.
func (i *Iterator) Value() []byte {
	if int(valueRef(i.node)>>offsetBits) >= len(i.values) {
		i.values = i.t.values.load()
	}
	return nodeValue(i.values, i.node)
}

// Err implements base.Iterator.
func (i *Iterator) Err() error { return nil }

// Close implements base.Iterator. A closed iterator may be used again.
func (i *Iterator) Close() error {
	i.node, i.blocks, i.values = nil, nil, nil
	return nil
}
