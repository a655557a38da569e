// Package mem is a lock service without Raft: a lockservice.Client straight on
// the state machine, for tests and small tools. It behaves as one replica that
// never fails; leases run out by real timers, so it works inside a synctest
// bubble. What the network and elections would do to a caller is scripted:
// Client.SetHook loses requests and replies and makes transactions land late
// (history H4 of the protocol review), Client.Partition cuts a client off.
package mem

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/lease"
	"github.com/tabletdb/tabletdb/lockservice/session"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// Options qualify a Service. The zero value is valid.
type Options struct {
	// Generation of the service (rule R17); 0 means 1.
	Generation uint32
	// DefaultTTL of sessions; 0 means 10 s.
	DefaultTTL time.Duration
	// State are the options of the state machine. Tests set Decisions to -1 to
	// see retries as they are once the memory of decisions has run out.
	State state.Options
	// Clock that sessions count their deadline by; nil means time.Now, which
	// follows the fake time of a synctest bubble.
	Clock session.Clock
	// Logger of the sessions; nil discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Generation == 0 {
		o.Generation = 1
	}
	if o.DefaultTTL == 0 {
		o.DefaultTTL = 10 * time.Second
	}
	if o.Clock == nil {
		start := time.Now()
		o.Clock = func() time.Duration { return time.Since(start) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Service is the state that Clients share. Close stops it.
type Service struct {
	options Options
	store   *state.Store
	ctx     context.Context // the service's lifetime
	cancel  context.CancelFunc
	done    sync.WaitGroup
	wake    chan struct{} // the leases changed

	mu struct {
		sync.Mutex
		index  uint64
		leases *lease.Table
		seen   uint64 // store.Touched that leases follow
	}
}

// New starts a service.
func New(o Options) *Service {
	o = o.withDefaults()
	s := &Service{options: o, store: state.NewStore(state.New(o.State)), wake: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.leases = lease.New(time.Now())
	s.apply(&state.SetGeneration{Generation: o.Generation})
	s.apply(&state.EndOldLeases{Generation: o.Generation})
	s.done.Add(1)
	go s.expireLoop()
	return s
}

// Close stops the service: every call fails from then on. Sessions are left in
// jeopardy.
func (s *Service) Close() error {
	s.cancel()
	s.done.Wait()
	return nil
}

// apply applies a command as a replicated log would: encoded and decoded, so
// that nothing of the caller's memory stays in the state.
func (s *Service) apply(c state.Command) state.Result {
	if err := state.Validate(c); err != nil {
		return state.Result{Err: err}
	}
	c, err := state.Decode(state.Encode(c))
	if err != nil {
		return state.Result{Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applyLocked(c)
}

func (s *Service) applyLocked(c state.Command) state.Result {
	s.mu.index++
	r := s.store.Apply(state.Entry{Index: s.mu.index, Command: c})[0]
	if touched := s.store.Touched(); touched != s.mu.seen {
		s.mu.seen = touched
		s.mu.leases.Follow(s.store.View(), time.Now())
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return r
}

// renew gives a session a full TTL.
func (s *Service) renew(id lockservice.SessionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.leases.Renew(id, time.Now()) {
		return nil
	}
	if _, dead := s.store.SessionState(id); dead {
		return base.ErrSessionExpired
	}
	return base.ErrUnavailable
}

// expireLoop ends what the lease table says is due.
func (s *Service) expireLoop() {
	defer s.done.Done()
	for {
		wait := time.Hour
		s.mu.Lock()
		for _, c := range s.mu.leases.Due(time.Now()).Commands() {
			s.applyLocked(c)
		}
		if at, ok := s.mu.leases.Next(); ok {
			wait = time.Until(at)
		}
		s.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.ctx.Done():
		}
		timer.Stop()
		if s.ctx.Err() != nil {
			return
		}
	}
}
