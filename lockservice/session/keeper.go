// Package session is the client's half of a session: the keep-alive loop, the
// deadline, and what the process may believe of itself (rules R16 and R21). It
// is shared by the remote client and by the in-memory one, which plug in how a
// renewal is sent.
package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// Clock returns the time since some fixed instant. It must count the time that
// the machine is suspended (Boottime does), or a machine that wakes up would
// believe in a lease that is long over.
type Clock func() time.Duration

// Link is how a Keeper speaks to the lock service.
type Link interface {
	// Renew asks for one renewal. nil: the session was renewed at some moment
	// between call and return. base.ErrSessionExpired: the lock service says
	// that the session ended. Any other error: nothing is known.
	Renew(ctx context.Context) error
	// AwaitEnd returns nil once the lock service says that the session ended;
	// an error means nothing.
	AwaitEnd(ctx context.Context) error
	// End ends the session as closed by its own process.
	End(ctx context.Context) error
}

// Config is what a Keeper needs.
type Config struct {
	ID  lockservice.SessionID
	TTL time.Duration
	// Asked is Clock's time before the request that registered the session was
	// first handed over.
	Asked  time.Duration
	Clock  Clock
	Link   Link
	Logger *slog.Logger
	// Closed is called once, when the keeper has stopped.
	Closed func()
}

// Margin is the part of the TTL that a client gives up against the drift of
// clocks: a tenth.
func Margin(ttl time.Duration) time.Duration { return ttl / 10 }

// Keeper implements lockservice.Session.
type Keeper struct {
	cfg      Config
	cancel   context.CancelFunc
	done     sync.WaitGroup
	deadline atomic.Int64 // time of cfg.Clock, as time.Duration
	expired  chan struct{}
	ended    atomic.Bool   // expired is closed
	renewed  chan struct{} // tells the timer of a new deadline

	mu struct {
		sync.Mutex
		changed chan struct{}
	}
}

var _ lockservice.Session = (*Keeper)(nil)

// New starts to keep a session alive, until it ends, or Close or Abandon.
func New(cfg Config) *Keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{cfg: cfg, cancel: cancel, expired: make(chan struct{}), renewed: make(chan struct{}, 1)}
	k.mu.changed = make(chan struct{})
	k.setDeadline(cfg.Asked)
	k.done.Add(3)
	go k.renewLoop(ctx)
	go k.endLoop(ctx)
	go k.jeopardyLoop(ctx)
	go func() {
		k.done.Wait()
		if cfg.Closed != nil {
			cfg.Closed()
		}
	}()
	return k
}

// ID returns the session's id.
func (k *Keeper) ID() lockservice.SessionID { return k.cfg.ID }

// TTL returns the lease's length.
func (k *Keeper) TTL() time.Duration { return k.cfg.TTL }

// State implements lockservice.Session.
func (k *Keeper) State() lockservice.SessionState {
	if k.ended.Load() {
		return lockservice.SessionExpired
	}
	if k.remaining() <= 0 {
		return lockservice.SessionJeopardy
	}
	return lockservice.SessionSafe
}

// Changed implements lockservice.Session.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.changed
}

// Expired implements lockservice.Session.
func (k *Keeper) Expired() <-chan struct{} { return k.expired }

// Close implements lockservice.Session.
func (k *Keeper) Close(ctx context.Context) error {
	k.Abandon()
	if k.ended.Load() {
		return nil
	}
	err := k.cfg.Link.End(ctx)
	if err == nil || errors.Is(err, base.ErrSessionExpired) {
		k.expire()
		return nil
	}
	return err
}

// Abandon implements lockservice.Session. It waits for the keep-alive loop to
// stop.
func (k *Keeper) Abandon() {
	k.cancel()
	k.done.Wait()
}

func (k *Keeper) remaining() time.Duration {
	return time.Duration(k.deadline.Load()) - k.cfg.Clock()
}

// setDeadline counts the lease from the instant before the renewed request was
// handed over, never from the reply (rule R16).
func (k *Keeper) setDeadline(asked time.Duration) {
	d := int64(asked + k.cfg.TTL - Margin(k.cfg.TTL))
	if d > k.deadline.Load() { // only renewLoop and New store
		k.deadline.Store(d)
	}
}

// renewLoop asks for a renewal every third of the TTL, and again soon after a
// failure, until it is told to stop or that the session ended.
func (k *Keeper) renewLoop(ctx context.Context) {
	defer k.done.Done()
	wait := k.cfg.TTL / 3
	for {
		if !k.pause(ctx, wait) {
			return
		}
		asked := k.cfg.Clock()
		attempt, cancel := context.WithTimeout(ctx, k.cfg.TTL)
		err := k.cfg.Link.Renew(attempt)
		cancel()
		switch {
		case err == nil:
			k.renew(asked)
			wait = k.cfg.TTL/3 - (k.cfg.Clock() - asked)
		case errors.Is(err, base.ErrSessionExpired):
			k.expire()
			return
		case ctx.Err() != nil:
			return
		default:
			k.cfg.Logger.DebugContext(ctx, "session renewal failed", slog.String("session", k.cfg.ID.String()), slog.Any("err", err))
			wait = k.cfg.TTL / 20
		}
	}
}

// pause waits for d; it returns false where there is nothing left to renew.
func (k *Keeper) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-k.expired:
	}
	return false
}

// endLoop hears of a revocation at once instead of at the next renewal.
func (k *Keeper) endLoop(ctx context.Context) {
	defer k.done.Done()
	for ctx.Err() == nil {
		if err := k.cfg.Link.AwaitEnd(ctx); err == nil {
			k.expire()
			return
		}
		if !k.pause(ctx, k.cfg.TTL/8) {
			return
		}
	}
}

// jeopardyLoop announces the passing of the deadline. State does not depend on
// it.
func (k *Keeper) jeopardyLoop(ctx context.Context) {
	defer k.done.Done()
	for {
		wait := k.remaining()
		inJeopardy := wait <= 0
		if inJeopardy {
			wait = time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			if !inJeopardy && k.remaining() <= 0 {
				k.cfg.Logger.WarnContext(ctx, "session in jeopardy", slog.String("session", k.cfg.ID.String()))
				k.announce()
			}
		case <-k.renewed:
		case <-ctx.Done():
		case <-k.expired:
		}
		timer.Stop()
		if ctx.Err() != nil || k.ended.Load() {
			return
		}
	}
}

// renew moves the deadline. A session in jeopardy becomes safe again (rule R21).
func (k *Keeper) renew(asked time.Duration) {
	before := k.State()
	k.setDeadline(asked)
	select {
	case k.renewed <- struct{}{}:
	default:
	}
	if before != k.State() {
		k.announce()
	}
}

// expire makes the end known. It is final.
func (k *Keeper) expire() {
	if k.ended.CompareAndSwap(false, true) {
		close(k.expired)
		k.cancel()
		k.announce()
	}
}

func (k *Keeper) announce() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.mu.changed)
	k.mu.changed = make(chan struct{})
}
