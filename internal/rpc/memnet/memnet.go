// Package memnet is a network in memory for whole clusters in one process: it
// works in testing/synctest bubbles, and its links can be cut in either
// direction, silently as a partition does or loudly as a crash does.
package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// errRefused is what dialling an address gives where nobody listens.
var errRefused error = syscall.ECONNREFUSED

// Net is a network of named nodes. Its methods may be called concurrently.
type Net struct {
	mu struct {
		sync.Mutex
		listeners map[string]*listener
		cut       map[link]chan struct{} // closed when the link heals
		conns     map[*conn]struct{}
		nextPort  int
	}
}

// link is the direction in which bytes flow.
type link struct{ from, to string }

// New returns an empty network.
func New() *Net {
	n := &Net{}
	n.mu.listeners = map[string]*listener{}
	n.mu.cut = map[link]chan struct{}{}
	n.mu.conns = map[*conn]struct{}{}
	return n
}

// Node returns the network as the named node sees it; it implements
// rpc.Network.
func (n *Net) Node(name string) *Node { return &Node{net: n, name: name} }

// Cut drops the bytes that flow from one node to another until Heal: nothing
// arrives, nothing fails, as on a partitioned network.
func (n *Net) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.cut[link{from, to}] == nil {
		n.mu.cut[link{from, to}] = make(chan struct{})
	}
}

// Heal undoes Cut. What was sent meanwhile arrives then, as TCP would
// retransmit it.
func (n *Net) Heal(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ch := n.mu.cut[link{from, to}]; ch != nil {
		close(ch)
		delete(n.mu.cut, link{from, to})
	}
}

// Partition cuts a from b in both directions; Join heals both.
func (n *Net) Partition(a, b string) { n.Cut(a, b); n.Cut(b, a) }

// Join undoes Partition.
func (n *Net) Join(a, b string) { n.Heal(a, b); n.Heal(b, a) }

// Crash closes all listeners and connections of a node, as the death of its
// process does. The node may listen again.
func (n *Net) Crash(name string) {
	n.mu.Lock()
	var doomed []interface{ Close() error }
	for _, l := range n.mu.listeners {
		if l.node == name {
			doomed = append(doomed, l)
		}
	}
	for c := range n.mu.conns {
		if c.local == name || c.remote == name {
			doomed = append(doomed, c)
		}
	}
	n.mu.Unlock()
	for _, c := range doomed {
		c.Close()
	}
}

// healed returns nil if the link carries bytes now, else a channel that is
// closed when it does again.
func (n *Net) healed(from, to string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.cut[link{from, to}]
}

// Node is one node's view of a Net.
type Node struct {
	net  *Net
	name string
}

// Listen implements rpc.Network. An address that ends in ":0" gets a port.
func (d *Node) Listen(addr string) (net.Listener, error) {
	n := d.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if host, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
		n.mu.nextPort++
		addr = fmt.Sprintf("%s:%d", host, 10000+n.mu.nextPort)
	}
	if n.mu.listeners[addr] != nil {
		return nil, fmt.Errorf("listen on %s: address in use", addr)
	}
	l := &listener{net: n, node: d.name, addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.listeners[addr] = l
	return l, nil
}

// Dial implements rpc.Network.
func (d *Node) Dial(ctx context.Context, addr string) (net.Conn, error) {
	n := d.net
	n.mu.Lock()
	l := n.mu.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, errRefused)
	}
	for _, way := range []link{{d.name, l.node}, {l.node, d.name}} { // SYN, SYN-ACK
		for ch := n.healed(way.from, way.to); ch != nil; ch = n.healed(way.from, way.to) {
			select {
			case <-ch:
			case <-ctx.Done():
				return nil, fmt.Errorf("dial %s: %w", addr, ctx.Err())
			}
		}
	}
	there, here := newPipe(n, d.name, l.node, addr)
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
	case <-ctx.Done():
	}
	here.Close()
	there.Close()
	return nil, fmt.Errorf("dial %s: %w", addr, errRefused)
}

type listener struct {
	net   *Net
	node  string
	addr  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		delete(l.net.mu.listeners, l.addr)
		l.net.mu.Unlock()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.addr) }

type address string

func (address) Network() string  { return "mem" }
func (a address) String() string { return string(a) }
