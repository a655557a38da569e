package router

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
)

// server is the way to one tablet server: a call in process, or connections.
// Local must be comparable; a pointer is.
type server struct {
	addr    string
	local   route.Server
	whole   route.Server // of Config.Whole
	remotes []route.Server
	conns   []*grpc.ClientConn
	next    atomic.Uint32
	missed  int // rounds of reapLoop in which no live server had the address
}

// pick returns the server's data plane.
func (s *server) pick() route.Server {
	switch {
	case s.local != nil:
		return s.local
	case s.whole != nil:
		return s.whole
	}
	if len(s.remotes) == 1 {
		return s.remotes[0]
	}
	return s.remotes[s.next.Add(1)%uint32(len(s.remotes))]
}

func (s *server) close() {
	for _, c := range s.conns {
		_ = c.Close() // only says that it was closed before
	}
}

// server returns the way to addr.
func (r *Router) server(addr string) *server {
	local := r.local(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.mu.servers[addr]
	if s != nil && s.local == local {
		return s
	}
	if s != nil {
		s.close()
	}
	s = &server{addr: addr, local: local}
	if local == nil {
		s.dial(r.network, r.options)
	}
	r.mu.servers[addr] = s
	return s
}

// dial makes the connections; they are established by the first calls.
func (s *server) dial(n rpc.Network, o Options) {
	for range o.Connections {
		cc, err := rpc.Dial(n, s.addr, o.Dial...)
		if err != nil { // a malformed address: each call says so
			s.remotes = []route.Server{route.NewRemote(broken{err})}
			return
		}
		s.conns = append(s.conns, cc)
		s.remotes = append(s.remotes, route.NewRemote(conn{cc}))
	}
}

// Conn returns cc as a connection on which a call that was certainly not sent
// fails with base.ErrNotServing rather than UNAVAILABLE, which tells nothing.
func Conn(cc *grpc.ClientConn) grpc.ClientConnInterface { return conn{cc} }

// conn tells calls that were never sent from those that may have been: the
// former are base.ErrNotServing, which promises that nothing was applied.
type conn struct{ *grpc.ClientConn }

// Invoke implements grpc.ClientConnInterface.
func (c conn) Invoke(ctx context.Context, method string, req, resp any, opts ...grpc.CallOption) error {
	var p peer.Peer // set once the call has a transport
	err := c.ClientConn.Invoke(ctx, method, req, resp, append(opts, grpc.Peer(&p))...)
	if err != nil && p.Addr == nil {
		return c.unsent(err)
	}
	return err
}

// NewStream implements grpc.ClientConnInterface. The request follows by
// SendMsg, so that an error here is of a call without one.
func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	st, err := c.ClientConn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, c.unsent(err)
	}
	return st, nil
}

func (c conn) unsent(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled: // Canceled: also of a closed connection
		return notReached(c.Target(), err)
	}
	return err
}

func notReached(addr string, err error) error {
	return rpc.ToStatus(fmt.Errorf("%w: %s cannot be reached: %v", base.ErrNotServing, addr, err))
}

// broken is a connection that was never made.
type broken struct{ err error }

func (b broken) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return notReached("", b.err)
}

func (b broken) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, notReached("", b.err)
}

// reapLoop closes connections to addresses where no live server is any more.
func (r *Router) reapLoop() {
	defer r.done.Done()
	ticker := time.NewTicker(reapEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.reap()
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *Router) reap() {
	ctx, cancel := context.WithTimeout(r.ctx, reapEvery/3)
	defer cancel()
	live, err := r.meta.Servers(ctx, lockservice.ReadOptions{Stale: true})
	if err != nil {
		return // nobody is known to be gone
	}
	addrs := map[string]bool{}
	for _, s := range live {
		addrs[s.Address] = true
	}
	gone := map[*server]bool{}
	r.mu.Lock()
	for addr, s := range r.mu.servers {
		if s.missed++; addrs[addr] || s.local != nil {
			s.missed = 0
		}
		if s.missed > 1 { // twice: a replica may have been behind
			gone[s] = true
			delete(r.mu.servers, addr)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	for _, t := range *r.tables.Load() {
		t.drop(func(l *location) bool { return gone[l.server] })
	}
	for s := range gone {
		r.log.InfoContext(ctx, "closing connections to a server that is gone", "server", s.addr)
		s.close()
	}
}
