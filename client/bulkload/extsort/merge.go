package extsort

import "bytes"

// Iter walks the entries of several sources in the order of their keys. It
// starts before the first. It is used by one goroutine.
type Iter struct {
	heap  []source // that stand on an entry; the least first
	begun bool
	err   error
}

// merge returns a walk over files and, where it is not nil, a sorted batch.
func merge(files []*run, b *batch) (*Iter, error) {
	it := &Iter{}
	all := make([]source, 0, len(files)+1)
	for _, r := range files {
		all = append(all, r.walk())
	}
	if b != nil {
		all = append(all, b.walk())
	}
	for _, s := range all {
		if s.Next() {
			it.heap = append(it.heap, s)
		} else if err := s.Err(); err != nil {
			return nil, err
		}
	}
	for i := len(it.heap)/2 - 1; i >= 0; i-- {
		it.sink(i)
	}
	return it, nil
}

// Next moves to the next entry; false: there is none, or Err.
func (it *Iter) Next() bool {
	if it.err != nil || len(it.heap) == 0 {
		return false
	}
	if !it.begun {
		it.begun = true
		return true
	}
	top := it.heap[0]
	if !top.Next() {
		if it.err = top.Err(); it.err != nil {
			return false
		}
		last := len(it.heap) - 1
		it.heap[0], it.heap[last] = it.heap[last], nil
		it.heap = it.heap[:last]
	}
	it.sink(0)
	return len(it.heap) > 0
}

// Key and Value return the current entry, valid until Next.
func (it *Iter) Key() []byte { return it.heap[0].Key() }

// Value returns the value of the current entry.
func (it *Iter) Value() []byte { return it.heap[0].Value() }

// Err returns the error that ended the walk, if any.
func (it *Iter) Err() error { return it.err }

func (it *Iter) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(it.heap) {
			return
		}
		if c+1 < len(it.heap) && bytes.Compare(it.heap[c+1].Key(), it.heap[c].Key()) < 0 {
			c++
		}
		if bytes.Compare(it.heap[i].Key(), it.heap[c].Key()) <= 0 {
			return
		}
		it.heap[i], it.heap[c] = it.heap[c], it.heap[i]
		i = c
	}
}
