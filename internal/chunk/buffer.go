package chunk

import "sync"

// reserve makes room for n more bytes: in the buffer, in a larger one, or in a
// new message where this one would grow past the target.
func (e *Encoder) reserve(n int) {
	if len(e.buf)+n > e.opts.Target {
		e.roll()
	}
	if need := len(e.buf) + n; need > cap(e.buf) {
		e.grow(need)
	}
}

// grow moves the message in progress to a buffer with room for need bytes.
func (e *Encoder) grow(need int) {
	size := e.opts.Target
	if e.first {
		size = min(max(e.opts.Initial, 4*cap(e.buf)), e.opts.Target)
	}
	old, oldBox := e.buf, e.boxed
	e.get(max(size, need))
	e.buf = append(e.buf, old...)
	e.put(oldBox)
}

// get starts an empty buffer with room for n bytes.
func (e *Encoder) get(n int) {
	if e.opts.Pool == nil {
		b := make([]byte, n)
		e.boxed = &b
	} else {
		e.boxed = e.opts.Pool.Get(n)
	}
	e.buf = (*e.boxed)[:0]
}

func (e *Encoder) put(box *[]byte) {
	if box != nil && e.opts.Pool != nil {
		e.opts.Pool.Put(box)
	}
}

// roll completes the message in progress without what is kept back of a row in
// progress, which begins the next message.
func (e *Encoder) roll() {
	if e.last < 0 {
		e.finishMessage()
		return
	}
	at := e.cut()
	if at == 0 {
		return // nothing but the chunk
	}
	full, box, mid := e.buf, e.boxed, e.start == 0
	e.first = false
	held := full[at:]
	e.get(max(e.opts.Target, len(held)+commitLen))
	e.buf = append(e.buf, held...)
	e.last, e.lastBody, e.start = e.last-at, e.lastBody-at, 0
	*box = full[:at]
	e.ready = append(e.ready, message{box, mid})
}

// cut returns where the message in progress is cut within a row: before it, or,
// if the message begins with it, before its last chunk.
func (e *Encoder) cut() int {
	if e.start > 0 {
		return e.start
	}
	return e.last
}

// finishMessage completes the message in progress as it is.
func (e *Encoder) finishMessage() {
	if len(e.buf) == 0 {
		return
	}
	*e.boxed = e.buf
	e.ready = append(e.ready, message{box: e.boxed})
	e.buf, e.boxed, e.first = nil, nil, false
}

// BufferPool is a Pool for messages of one Encoder configuration: it keeps
// buffers of up to twice DefaultTarget in a few sizes. It may be used
// concurrently.
type BufferPool struct{ classes [len(classSizes)]sync.Pool }

// classSizes hold a small first message, a message, and a message that begins
// with a chunk that was kept back.
var classSizes = [...]int{16 << 10, 64 << 10, 256 << 10, DefaultTarget, 2*DefaultTarget + 64<<10}

// NewBufferPool returns an empty pool.
func NewBufferPool() *BufferPool { return &BufferPool{} }

// Get implements Pool.
func (p *BufferPool) Get(length int) *[]byte {
	for i, size := range classSizes {
		if length > size {
			continue
		}
		if b, ok := p.classes[i].Get().(*[]byte); ok {
			*b = (*b)[:length]
			return b
		}
		b := make([]byte, length, size)
		return &b
	}
	b := make([]byte, length)
	return &b
}

// Put implements Pool.
func (p *BufferPool) Put(b *[]byte) {
	for i, size := range classSizes {
		if cap(*b) == size {
			p.classes[i].Put(b)
			return
		}
	}
}
