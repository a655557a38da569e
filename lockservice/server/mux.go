package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tabletdb/tabletdb/internal/rpc"
)

// raftGreeting is the first byte of a connection that carries Raft; gRPC
// begins with the "P" of "PRI * HTTP/2.0".
const raftGreeting = 0x01

// greetingTimeout is how long a new connection may stay silent.
const greetingTimeout = 10 * time.Second

// mux shares one listener between gRPC and Raft, so that a replica has one
// address. It tracks Raft's connections, because Raft's transport does not end
// them all when it is closed.
type mux struct {
	l       net.Listener
	network rpc.Network
	grpc    *side
	raft    *side
	done    sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		conns  map[net.Conn]struct{} // unsorted ones and Raft's
	}
}

// side is the listener of one protocol.
type side struct {
	m     *mux
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMux(l net.Listener, network rpc.Network) *mux {
	m := &mux{l: l, network: network}
	m.grpc, m.raft = m.newSide(), m.newSide()
	m.mu.conns = make(map[net.Conn]struct{})
	m.done.Add(1)
	go m.accept()
	return m
}

func (m *mux) newSide() *side {
	return &side{m: m, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (m *mux) accept() {
	defer m.done.Done()
	for {
		c, err := m.l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && !m.isClosed() {
				<-time.After(10 * time.Millisecond) // out of file descriptors, say
				continue
			}
			return
		}
		if !m.track(c) {
			c.Close()
			return
		}
		m.done.Add(1)
		go m.sort(c)
	}
}

// sort hands a new connection to the side that its first byte names.
func (m *mux) sort(c net.Conn) {
	defer m.done.Done()
	var first [1]byte
	c.SetReadDeadline(time.Now().Add(greetingTimeout))
	if _, err := c.Read(first[:]); err != nil {
		m.drop(c)
		return
	}
	c.SetReadDeadline(time.Time{})
	if first[0] == raftGreeting {
		m.raft.offer(&trackedConn{Conn: c, m: m})
		return
	}
	m.untrack(c) // grpc.Server closes its own
	m.grpc.offer(&firstByteConn{Conn: c, first: first[:]})
}

func (s *side) offer(c net.Conn) {
	select {
	case s.conns <- c:
	case <-s.done:
		c.Close()
	}
}

func (m *mux) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.closed
}

func (m *mux) track(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return false
	}
	m.mu.conns[c] = struct{}{}
	return true
}

func (m *mux) untrack(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mu.conns, c)
}

func (m *mux) drop(c net.Conn) {
	m.untrack(c)
	c.Close()
}

// close stops listening and cuts what is unsorted or Raft's.
func (m *mux) close() {
	m.mu.Lock()
	m.mu.closed = true
	conns := m.mu.conns
	m.mu.conns = make(map[net.Conn]struct{})
	m.mu.Unlock()
	m.l.Close()
	m.grpc.Close()
	m.raft.Close()
	for c := range conns {
		c.Close()
	}
	m.done.Wait()
}

// Accept implements net.Listener.
func (s *side) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The other side goes on.
func (s *side) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr implements net.Listener.
func (s *side) Addr() net.Addr { return s.m.l.Addr() }

// Dial implements raft.StreamLayer.
func (s *side) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := s.m.network.Dial(ctx, string(address))
	if err != nil {
		return nil, err
	}
	if !s.m.track(c) {
		c.Close()
		return nil, net.ErrClosed
	}
	if _, err := c.Write([]byte{raftGreeting}); err != nil {
		s.m.drop(c)
		return nil, fmt.Errorf("greeting %s: %w", address, err)
	}
	return &trackedConn{Conn: c, m: s.m}, nil
}

// trackedConn forgets itself when closed.
type trackedConn struct {
	net.Conn
	m *mux
}

func (c *trackedConn) Close() error {
	c.m.untrack(c.Conn)
	return c.Conn.Close()
}

// firstByteConn gives back the byte that sort took. It has one reader.
type firstByteConn struct {
	net.Conn
	first []byte
}

func (c *firstByteConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// advertised makes Raft know the replica by its configured address.
type advertised struct {
	*side
	address string
}

type addr string

func (addr) Network() string  { return "tabletdb" }
func (a addr) String() string { return string(a) }

// Addr implements net.Listener.
func (a advertised) Addr() net.Addr { return addr(a.address) }

// plainTransport is Raft's transport without pipelining. A pipeline whose
// responses nobody reads any more, because the leader heard of a newer term,
// blocks Raft's replication goroutine for ever in hashicorp/raft 1.7.3: it
// leaks, goes on sending heartbeats of its old term, and Shutdown waits for it.
// Without one an append carries what gathered during the last, which batches
// the follower's fsyncs better.
type plainTransport struct{ *raft.NetworkTransport }

var (
	_ raft.Transport   = plainTransport{}
	_ raft.WithPreVote = plainTransport{}
	_ raft.WithClose   = plainTransport{}
)

// AppendEntriesPipeline implements raft.Transport.
func (plainTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}
