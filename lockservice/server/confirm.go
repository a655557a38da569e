package server

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// confirmer finds out whether this replica was still the leader when a request
// arrived. One round of asking is in flight; requests that arrive meanwhile
// share the next one, which starts after they came.
type confirmer struct {
	s    *Server
	done sync.WaitGroup

	mu struct {
		sync.Mutex
		next    *round // waiters of the round to come; nil without any
		running bool
	}
}

type round struct {
	term uint64
	err  error
	done chan struct{}
}

// confirm returns nil if this replica led in term at some moment after the
// call.
func (c *confirmer) confirm(ctx context.Context, term uint64) error {
	if c.s.onlyVoter() { // nobody else can have been elected
		return c.s.stillLeads(term)
	}
	c.mu.Lock()
	if c.mu.next == nil {
		c.mu.next = &round{done: make(chan struct{})}
	}
	r := c.mu.next
	if !c.mu.running {
		c.mu.running = true
		c.done.Add(1)
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.err == nil && r.term != term {
		return &base.LeaderError{Leader: c.s.leaderAddress()}
	}
	return r.err
}

// run holds rounds until nobody waits for one.
func (c *confirmer) run() {
	defer c.done.Done()
	for {
		c.mu.Lock()
		r := c.mu.next
		c.mu.next = nil
		if r == nil {
			c.mu.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		r.term = c.s.raft.CurrentTerm()
		r.err = c.s.askMajority(r.term)
		close(r.done)
	}
}

// askMajority asks the voters for their terms. A voter that has seen nothing
// above our term has not voted for another leader before it answered, and any
// other leader needed a vote of one of those who answered.
func (s *Server) askMajority(term uint64) error {
	if err := s.stillLeads(term); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*s.options.Heartbeat)
	defer cancel()
	voters := s.voters()
	answers := make(chan bool, len(voters))
	missing, left := len(voters)/2+1, 0
	for _, v := range voters {
		if v.ID == raft.ServerID(s.cfg.ID) {
			missing--
			continue
		}
		left++
		s.confirm.done.Add(1)
		go func() {
			defer s.confirm.done.Done()
			seen, err := s.peers.term(ctx, string(v.Address))
			answers <- err == nil && seen == term
		}()
	}
	for missing > 0 {
		if left < missing {
			return fmt.Errorf("leader cannot reach a majority: %w", base.ErrNoLeader)
		}
		if <-answers {
			missing--
		}
		left--
	}
	return s.stillLeads(term)
}

// stillLeads is what this replica itself believes.
func (s *Server) stillLeads(term uint64) error {
	if s.raft.State() != raft.Leader || s.raft.CurrentTerm() != term {
		return &base.LeaderError{Leader: s.leaderAddress()}
	}
	return nil
}

// leaderAddress is the address of the leader where another one is known.
func (s *Server) leaderAddress() string {
	address, id := s.raft.LeaderWithID()
	if id == raft.ServerID(s.cfg.ID) {
		return ""
	}
	return string(address)
}

// peers are the connections to other replicas.
type peers struct {
	network rpc.Network
	mu      struct {
		sync.Mutex
		conns map[string]*grpc.ClientConn // nil once closed
	}
}

func newPeers(n rpc.Network) *peers {
	p := &peers{network: n}
	p.mu.conns = make(map[string]*grpc.ClientConn)
	return p
}

func (p *peers) conn(address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.conns == nil {
		return nil, fmt.Errorf("replica is closed: %w", base.ErrUnavailable)
	}
	if c := p.mu.conns[address]; c != nil {
		return c, nil
	}
	c, err := rpc.Dial(p.network, address)
	if err != nil {
		return nil, err
	}
	p.mu.conns[address] = c
	return c, nil
}

func (p *peers) term(ctx context.Context, address string) (uint64, error) {
	c, err := p.conn(address)
	if err != nil {
		return 0, err
	}
	r, err := lockpb.NewPeerClient(c).Term(ctx, &lockpb.TermRequest{})
	return r.GetTerm(), rpc.FromStatus(err)
}

func (p *peers) close() {
	p.mu.Lock()
	conns := p.mu.conns
	p.mu.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// peerServer implements lockpb.PeerServer.
type peerServer struct {
	lockpb.UnsafePeerServer
	s *Server
}

func (p *peerServer) Term(context.Context, *lockpb.TermRequest) (*lockpb.TermResponse, error) {
	return &lockpb.TermResponse{Term: p.s.raft.CurrentTerm()}, nil
}
