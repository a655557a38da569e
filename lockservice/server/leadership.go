package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/lease"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// leadership is one term in which this replica leads. It exists from the end
// of the term's Barrier on.
type leadership struct {
	s    *Server
	term uint64
	over <-chan struct{} // closed when it ends

	mu struct {
		sync.Mutex
		leases *lease.Table
		seen   uint64 // store.Touched that leases follow
	}
}

// leading returns the term in which this replica may answer. Its errors mean
// that the request had no effect.
func (s *Server) leading() (*leadership, error) {
	if l := s.lead.Load(); l != nil {
		return l, nil
	}
	if err := s.failure.Load(); err != nil {
		return nil, fmt.Errorf("%w: %w", errFailed, base.ErrNoLeader)
	}
	if s.raft.State() == raft.Leader {
		return nil, fmt.Errorf("leader is not ready yet: %w", base.ErrNoLeader)
	}
	return nil, &base.LeaderError{Leader: s.leaderAddress()}
}

// confirmed is leading for what must not be answered by a deposed leader.
func (s *Server) confirmed(ctx context.Context) (*leadership, error) {
	l, err := s.leading()
	if err != nil {
		return nil, err
	}
	return l, s.confirm.confirm(ctx, l.term)
}

// leadLoop follows Raft's elections: it runs serveTerm for each term in which
// this replica leads, one at a time.
func (s *Server) leadLoop() {
	defer s.done.Done()
	var term sync.WaitGroup
	stop := func() {}
	for {
		select {
		case leads := <-s.raft.LeaderCh():
			s.lead.Store(nil)
			stop()
			term.Wait()
			if !leads {
				continue
			}
			var ctx context.Context
			ctx, stop = context.WithCancel(s.ctx)
			term.Go(func() { s.serveTerm(ctx) })
		case <-s.ctx.Done():
			s.lead.Store(nil)
			stop()
			term.Wait()
			return
		}
	}
}

// serveTerm makes the replica answer once everything that older terms
// committed is applied (rule R16), and runs the lease timers.
func (s *Server) serveTerm(ctx context.Context) {
	term := s.raft.CurrentTerm()
	if err := s.raft.Barrier(0).Error(); err != nil {
		return // not the leader any more
	}
	if err := s.enterGeneration(ctx); err != nil {
		return
	}
	now := time.Now()
	l := &leadership{s: s, term: term, over: ctx.Done()}
	l.mu.leases = lease.New(now)
	l.follow()
	if s.stillLeads(term) != nil || ctx.Err() != nil {
		return
	}
	s.log.InfoContext(ctx, "leading", slog.Uint64("term", term), slog.Int("sessions", l.mu.leases.Len()))
	s.lead.Store(l)
	l.run(ctx)
	s.lead.CompareAndSwap(l, nil)
}

// enterGeneration wins the first generation of a new cluster (rule R17).
func (s *Server) enterGeneration(ctx context.Context) error {
	for s.store.View().Generation() == 0 {
		g, err := s.cfg.WinGeneration(ctx)
		if err == nil {
			_, err = s.propose(&state.SetGeneration{Generation: g})
		}
		if err != nil {
			s.log.WarnContext(ctx, "winning the generation of the lock service", slog.Any("err", err))
			if !sleep(ctx, time.Second) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow brings the lease table up to the applied state.
func (l *leadership) follow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if touched := l.s.store.Touched(); touched != l.mu.seen {
		l.mu.seen = touched
		l.mu.leases.Follow(l.s.store.View(), time.Now())
	}
}

// run ends what is due until the term is over.
func (l *leadership) run(ctx context.Context) {
	ticker := time.NewTicker(l.s.options.MinTTL / 8)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if l.s.stillLeads(l.term) != nil {
			return
		}
		l.follow()
		l.mu.Lock()
		due := l.mu.leases.Tick(time.Now())
		l.mu.Unlock()
		if due.Gap != 0 {
			l.s.log.WarnContext(ctx, "leader was paused; every lease runs anew", slog.Duration("gap", due.Gap))
		}
		l.end(due)
	}
}

// end proposes what is due, all at once, and waits.
func (l *leadership) end(due lease.Due) {
	commands := due.Commands()
	if len(commands) == 0 {
		return
	}
	for _, id := range due.Expire {
		l.s.log.InfoContext(l.s.ctx, "session expired", slog.String("session", id.String()))
	}
	futures := make([]raft.ApplyFuture, len(commands))
	for i, c := range commands {
		futures[i] = l.s.raft.Apply(state.Encode(c), enqueueTimeout)
	}
	for _, f := range futures {
		if err := f.Error(); err != nil && !mayApply(err) {
			l.mu.Lock()
			l.mu.leases.Again(due) // ending what has ended is no harm
			l.mu.Unlock()
		}
	}
	l.follow()
}

// renew gives a session a full TTL. The caller has confirmed the leadership
// after the request arrived.
func (l *leadership) renew(id lockservice.SessionID) error {
	l.follow()
	l.mu.Lock()
	renewed := l.mu.leases.Renew(id, time.Now())
	l.mu.Unlock()
	if renewed {
		return nil
	}
	if _, dead := l.s.store.SessionState(id); dead {
		return base.ErrSessionExpired
	}
	return fmt.Errorf("session %v is about to end or not yet registered: %w", id, base.ErrUnavailable)
}

// enqueueTimeout is how long a command waits for Raft to take it.
const enqueueTimeout = 5 * time.Second

// propose replicates and applies a command. base.ErrUndecided says that it may
// have been applied or may yet be, a LeaderError and base.ErrNoLeader that it
// certainly was not.
func (s *Server) propose(c state.Command) (state.Result, error) {
	if err := state.Validate(c); err != nil {
		return state.Result{}, err
	}
	f := s.raft.Apply(state.Encode(c), enqueueTimeout)
	if err := f.Error(); err != nil {
		return state.Result{}, s.proposeError(err)
	}
	switch r := f.Response().(type) {
	case state.Result:
		return r, r.Err
	case error:
		return state.Result{}, fmt.Errorf("%w: %w", base.ErrUndecided, r)
	default:
		return state.Result{}, fmt.Errorf("%w: Raft answered %T", base.ErrUndecided, r)
	}
}

// mayApply reports whether a command may still be applied after Raft's error.
func mayApply(err error) bool {
	return !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrEnqueueTimeout) &&
		!errors.Is(err, raft.ErrLeadershipTransferInProgress)
}

func (s *Server) proposeError(err error) error {
	switch {
	case mayApply(err):
		return fmt.Errorf("%w: %w", base.ErrUndecided, err)
	case errors.Is(err, raft.ErrNotLeader):
		return &base.LeaderError{Leader: s.leaderAddress()}
	}
	return fmt.Errorf("%w: %w", base.ErrNoLeader, err)
}
