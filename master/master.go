package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// Master is one candidate: the active master or a standby. Its methods may be
// called concurrently.
type Master struct {
	controlpb.UnsafeMasterServer

	cfg     Config
	store   *meta.Store
	metrics *metrics
	cancel  context.CancelFunc
	done    sync.WaitGroup
	term    atomic.Pointer[term] // nil: standby
}

// Open starts a candidate, which campaigns until Close.
func Open(cfg Config) (*Master, error) {
	cfg.Options.EnsureDefaults()
	switch {
	case cfg.LockService == nil, cfg.Store == nil, cfg.Network == nil, cfg.Logger == nil:
		return nil, fmt.Errorf("%w: a master needs a lock service, a store, a network and a logger", base.ErrInvalid)
	case cfg.Options.Batch < 1 || cfg.Options.Recoveries < 1 || cfg.Options.FullStatusEvery < 1:
		return nil, fmt.Errorf("%w: batch, recoveries and full status interval must be positive", base.ErrInvalid)
	}
	m := &Master{cfg: cfg, store: meta.NewStore(cfg.LockService)}
	var err error
	if m.metrics, err = newMetrics(cfg.Registerer, m); err != nil {
		return nil, fmt.Errorf("register the metrics of the master: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.done.Go(func() { m.campaign(ctx) })
	return m, nil
}

// Close stops the candidate, hands the lock over, and returns when nothing of
// it runs any more.
func (m *Master) Close() error {
	m.cancel()
	m.done.Wait()
	m.metrics.unregister()
	return nil
}

// Register registers the master's service on s. Standbys answer with
// base.LeaderError.
func (m *Master) Register(s grpc.ServiceRegistrar) { controlpb.RegisterMasterServer(s, m) }

// Active reports whether this is the active master.
func (m *Master) Active() bool { return m.term.Load() != nil }

// campaignPause is the pause after a candidacy that failed.
const campaignPause = time.Second

func (m *Master) campaign(ctx context.Context) {
	for ctx.Err() == nil {
		if err := m.candidacy(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Logger.WarnContext(ctx, "candidacy ended", "err", err)
			select {
			case <-time.After(campaignPause):
			case <-ctx.Done():
			}
		}
	}
}

// candidacy is one session: waiting for the lock, then a term.
func (m *Master) candidacy(ctx context.Context) error {
	s, err := m.cfg.LockService.OpenSession(ctx, "master "+m.cfg.Address, m.cfg.Options.TTL)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	defer m.endSession(ctx, s)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.Expired():
			cancel(base.ErrSessionExpired)
		case <-ctx.Done():
		}
	}()
	m.cfg.Logger.InfoContext(ctx, "standby", "session", s.ID().String())
	if _, err := m.cfg.LockService.Lock(ctx, s, meta.MasterLock, lockservice.LockOptions{Data: []byte(m.cfg.Address)}); err != nil {
		return errors.Join(fmt.Errorf("wait for the lock: %w", err), context.Cause(ctx))
	}
	return m.lead(ctx, s)
}

// endSession gives the lock back at once where the lock service answers.
func (m *Master) endSession(ctx context.Context, s lockservice.Session) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		m.cfg.Logger.WarnContext(ctx, "session was not closed; it will expire", "session", s.ID().String(), "err", err)
		s.Abandon()
	}
}

// lead is one term: from winning the lock to the end of ctx.
func (m *Master) lead(ctx context.Context, s lockservice.Session) error {
	t := newTerm(m, s)
	defer m.cfg.Logger.InfoContext(ctx, "term ended", "session", s.ID().String())
	t.event("became the active master, at %s", m.cfg.Address)
	m.cfg.Logger.InfoContext(ctx, "active", "session", s.ID().String())
	err := t.run(ctx, func() { m.term.Store(t) })
	m.term.CompareAndSwap(t, nil)
	return errors.Join(err, context.Cause(ctx))
}

// leader returns the running term, or the error that names the active master.
func (m *Master) leader(ctx context.Context) (*term, error) {
	if t := m.term.Load(); t != nil && t.ctx.Err() == nil {
		return t, nil
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	locks, _, err := m.cfg.LockService.Locks(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the active master: %w", err)
	}
	for _, l := range locks {
		if l.Name == meta.MasterLock && len(l.Holders) > 0 && string(l.Data) != m.cfg.Address {
			return nil, &base.LeaderError{Leader: string(l.Data)}
		}
	}
	return nil, &base.LeaderError{}
}
