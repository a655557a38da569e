// Package merging presents several sorted iterators as one.
package merging

import (
	"bytes"
	"errors"

	"github.com/tabletdb/tabletdb/internal/base"
)

// New returns an iterator over the entries of all children, which it closes
// with itself. Keys that several children hold stand for one record replayed
// twice; only the entry of the earliest of these children is shown. An error of
// a child stops the iterator for good. With one child New returns that child.
func New(children ...base.Iterator) base.Iterator {
	if len(children) == 1 {
		return children[0]
	}
	m := &Iter{children: children, items: make([]item, len(children)), heap: make([]*item, 0, len(children))}
	for i, c := range children {
		m.items[i] = item{it: c, n: i}
	}
	return m
}

// item is a child that stands on an entry, or may come to.
type item struct {
	it  base.Iterator
	key []byte // of the current entry
	n   int    // among the children; a smaller one wins ties
}

// Iter merges children in a binary heap. As long as the top goes on winning, a
// move costs one comparison of keys, with the runner-up.
type Iter struct {
	children []base.Iterator
	items    []item
	heap     []*item // children that stand on an entry; heap[0] is the current one
	second   int     // index in heap of the runner-up: 1 or 2; 0: none
	tie      bool    // the runner-up has the key of the top
	err      error
}

var _ base.Iterator = (*Iter)(nil)

// Key implements base.Iterator.
func (m *Iter) Key() []byte { return m.heap[0].key }

// Value implements base.Iterator. It is valid as long as the child says.
func (m *Iter) Value() []byte { return m.heap[0].it.Value() }

// Err implements base.Iterator.
func (m *Iter) Err() error { return m.err }

// Close implements base.Iterator.
func (m *Iter) Close() error {
	m.heap = nil
	errs := []error{m.err}
	for _, c := range m.children {
		if err := c.Close(); err != nil && !errors.Is(m.err, err) {
			errs = append(errs, err)
		}
	}
	m.children, m.items = nil, nil
	return errors.Join(errs...)
}

// SeekGE implements base.Iterator.
func (m *Iter) SeekGE(key []byte) bool {
	m.heap = m.heap[:0]
	if m.err != nil {
		return false
	}
	for i := range m.items {
		if x := &m.items[i]; !m.enter(x, x.it.SeekGE(key)) {
			return false
		}
	}
	return m.build()
}

// SeekLT implements base.Iterator.
func (m *Iter) SeekLT(key []byte) bool {
	m.heap = m.heap[:0]
	if m.err != nil {
		return false
	}
	var best *item
	for i := range m.items {
		x := &m.items[i]
		if x.key = nil; x.it.SeekLT(key) {
			if x.key = x.it.Key(); best == nil || bytes.Compare(x.key, best.key) > 0 {
				best = x
			}
		} else if m.err = x.it.Err(); m.err != nil {
			return false
		}
	}
	if best == nil {
		return false
	}
	// All other children go to their first entry after that one: the one after
	// their last < key. That skips equal entries of later children, too.
	for i := range m.items {
		x := &m.items[i]
		ok := true
		switch {
		case x == best:
		case x.key != nil:
			ok = x.it.Next()
		default:
			ok = x.it.SeekGE(key)
		}
		if !m.enter(x, ok) {
			return false
		}
	}
	return m.build()
}

// enter puts a child that was moved at the end of the heap, unless it ended. It
// reports false if the child failed.
func (m *Iter) enter(x *item, ok bool) bool {
	if ok {
		x.key = x.it.Key()
		m.heap = append(m.heap, x)
		return true
	}
	if m.err = x.it.Err(); m.err != nil {
		m.heap = m.heap[:0]
		return false
	}
	return true
}

// build makes a heap of the children that entered.
func (m *Iter) build() bool {
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	m.rank()
	return len(m.heap) > 0
}

// Next implements base.Iterator.
func (m *Iter) Next() bool {
	if len(m.heap) == 0 {
		return false
	}
	for m.tie { // step over the entries that the current one hides
		if !m.advance(m.second) {
			return false
		}
		m.rank()
	}
	x := m.heap[0]
	if !x.it.Next() {
		return m.leave(0) && m.settle()
	}
	x.key = x.it.Key()
	if m.second == 0 {
		return true
	}
	c := bytes.Compare(x.key, m.heap[m.second].key)
	if c < 0 {
		return true
	}
	if c == 0 && x.n < m.heap[m.second].n {
		m.tie = true
		return true
	}
	return m.settle()
}

// Skipper is the optional ability of an iterator to leave out what is known to
// be hidden.
type Skipper interface {
	// SkipPrefix moves behind all entries with the prefix, if the iterator
	// stands on one of them and knows that all of its own have sequence numbers
	// up to seq; ok is what the move returned.
	SkipPrefix(prefix []byte, seq base.Seq) (moved, ok bool)
}

// SkipPrefix makes the children other than the current one leave out the entries
// with the prefix, as far as they know that all of theirs have sequence numbers
// up to seq. The current entry, which has the prefix, stays; an error shows with
// the next move.
func (m *Iter) SkipPrefix(prefix []byte, seq base.Seq) (moved, ok bool) {
	if len(m.heap) < 2 {
		return false, true
	}
	rest := m.heap[1:]
	m.heap = m.heap[:1]
	for _, x := range rest {
		if s, can := x.it.(Skipper); can {
			if went, ok := s.SkipPrefix(prefix, seq); went {
				moved = true
				if !m.enter(x, ok) {
					return true, false
				}
				continue
			}
		}
		m.heap = append(m.heap, x)
	}
	if moved {
		m.build()
	}
	return moved, true
}

// settle puts the top in its place.
func (m *Iter) settle() bool {
	m.sink(0)
	m.rank()
	return len(m.heap) > 0
}

// advance moves the child at place i of the heap; false: it failed.
func (m *Iter) advance(i int) bool {
	x := m.heap[i]
	if !x.it.Next() {
		if !m.leave(i) {
			return false
		}
		if i < len(m.heap) {
			m.sink(i)
		}
		return true
	}
	x.key = x.it.Key()
	m.sink(i)
	return true
}

// leave takes the child at place i, which ended or failed, out of the heap.
func (m *Iter) leave(i int) bool {
	if m.err = m.heap[i].it.Err(); m.err != nil {
		m.heap = m.heap[:0]
		return false
	}
	last := len(m.heap) - 1
	m.heap[i] = m.heap[last]
	m.heap = m.heap[:last]
	return true
}

// rank finds the runner-up.
func (m *Iter) rank() {
	m.second, m.tie = 0, false
	if len(m.heap) < 2 {
		return
	}
	m.second = 1
	if len(m.heap) > 2 && before(m.heap[2], m.heap[1]) {
		m.second = 2
	}
	m.tie = bytes.Equal(m.heap[0].key, m.heap[m.second].key)
}

// sink moves the child at place i down to where it belongs.
func (m *Iter) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(m.heap) {
			return
		}
		if c+1 < len(m.heap) && before(m.heap[c+1], m.heap[c]) {
			c++
		}
		if !before(m.heap[c], m.heap[i]) {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}

// before is the order of the heap.
func before(a, b *item) bool {
	c := bytes.Compare(a.key, b.key)
	return c < 0 || c == 0 && a.n < b.n
}
