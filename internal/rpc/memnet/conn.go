package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxBuffered is how many bytes a direction holds before writers wait.
const maxBuffered = 1 << 20

// conn is one end of a connection: it reads from in and writes to out.
type conn struct {
	net           *Net
	local, remote string
	addr          string
	in, out       *queue
	once          sync.Once
}

func newPipe(n *Net, from, to, addr string) (there, here *conn) {
	up, down := newQueue(), newQueue()
	here = &conn{net: n, local: from, remote: to, addr: addr, in: down, out: up}
	there = &conn{net: n, local: to, remote: from, addr: addr, in: up, out: down}
	n.mu.Lock()
	n.mu.conns[here], n.mu.conns[there] = struct{}{}, struct{}{}
	n.mu.Unlock()
	return there, here
}

func (c *conn) Read(b []byte) (int, error) {
	return c.in.read(b, func() <-chan struct{} { return c.net.healed(c.remote, c.local) })
}

func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *conn) Close() error {
	c.once.Do(func() {
		c.in.closeReader()
		c.out.close()
		c.net.mu.Lock()
		delete(c.net.mu.conns, c)
		c.net.mu.Unlock()
	})
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return address(c.local) }
func (c *conn) RemoteAddr() net.Addr { return address(c.addr) }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setDeadline(t)
	c.out.setDeadline(t)
	return nil
}
func (c *conn) SetReadDeadline(t time.Time) error  { c.in.setDeadline(t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.setDeadline(t); return nil }

// queue is one direction of a connection.
type queue struct {
	mu struct {
		sync.Mutex
		buf      []byte
		closed   bool          // by the writer; the reader learns of it over the link
		unread   bool          // closed by the reader
		changed  chan struct{} // closed and replaced at every change
		deadline time.Time
	}
}

func newQueue() *queue {
	q := &queue{}
	q.mu.changed = make(chan struct{})
	return q
}

// change wakes all who wait; mu is held.
func (q *queue) changeLocked() {
	close(q.mu.changed)
	q.mu.changed = make(chan struct{})
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.mu.closed {
		q.mu.closed = true
		q.changeLocked()
	}
}

func (q *queue) closeReader() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.unread = true
	q.changeLocked()
}

func (q *queue) setDeadline(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.deadline = t
	q.changeLocked()
}

// read waits for bytes and for the link to carry them.
func (q *queue) read(b []byte, healed func() <-chan struct{}) (int, error) {
	for {
		q.mu.Lock()
		wait, deadline := q.mu.changed, q.mu.deadline
		heal := healed()
		switch {
		case q.mu.unread:
			q.mu.Unlock()
			return 0, io.ErrClosedPipe
		case heal != nil: // cut: nothing arrives, not even an end
		case len(q.mu.buf) > 0:
			n := copy(b, q.mu.buf)
			q.mu.buf = q.mu.buf[n:]
			q.changeLocked()
			q.mu.Unlock()
			return n, nil
		case q.mu.closed:
			q.mu.Unlock()
			return 0, io.EOF
		}
		q.mu.Unlock()
		if err := await(wait, heal, deadline); err != nil {
			return 0, err
		}
	}
}

func (q *queue) write(b []byte) (int, error) {
	for {
		q.mu.Lock()
		wait, deadline := q.mu.changed, q.mu.deadline
		switch {
		case q.mu.closed || q.mu.unread:
			q.mu.Unlock()
			return 0, io.ErrClosedPipe
		case len(q.mu.buf) < maxBuffered:
			q.mu.buf = append(q.mu.buf, b...)
			q.changeLocked()
			q.mu.Unlock()
			return len(b), nil
		}
		q.mu.Unlock()
		if err := await(wait, nil, deadline); err != nil {
			return 0, err
		}
	}
}

func await(changed, healed <-chan struct{}, deadline time.Time) error {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-changed:
	case <-healed:
	case <-expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}
