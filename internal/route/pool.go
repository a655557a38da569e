package route

import (
	"math/bits"
	"sync"
)

// Size classes of a bufferPool: powers of two from 1 KiB to 4 MiB.
const (
	minClass = 10
	maxClass = 22
)

// bufferPool lends the buffers of received messages. gRPC's own pool has few
// classes and clears what it lends, so that a request of 100 KiB costs the
// clearing of 1 MiB. It implements mem.BufferPool.
type bufferPool struct {
	classes [maxClass - minClass + 1]sync.Pool // of *[]byte with the class's capacity
}

// class returns the index of the class for n bytes; beyond the largest, false.
func class(n int) (int, bool) {
	c := max(bits.Len(uint(max(n, 1)-1)), minClass)
	return c - minClass, c <= maxClass
}

// Get implements mem.BufferPool: a buffer of that length, with any contents.
func (p *bufferPool) Get(length int) *[]byte {
	i, ok := class(length)
	if !ok {
		b := make([]byte, length)
		return &b
	}
	if b, ok := p.classes[i].Get().(*[]byte); ok {
		*b = (*b)[:length]
		return b
	}
	b := make([]byte, length, 1<<(i+minClass))
	return &b
}

// Put implements mem.BufferPool.
func (p *bufferPool) Put(b *[]byte) {
	if i, ok := class(cap(*b)); ok && cap(*b) == 1<<(i+minClass) {
		p.classes[i].Put(b)
	}
}
