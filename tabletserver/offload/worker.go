package offload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// WorkerConfig is what a worker must be given.
type WorkerConfig struct {
	LockService lockservice.Client
	Store       objstore.Store // it may retry
	// Address is where tablet servers reach the gRPC service.
	Address string
	// Name is stable over restarts. Zone is for placement: a server prefers
	// the workers of its own. Version and StatusAddress are for people.
	Name, Zone, Version, StatusAddress string
	Logger                             *slog.Logger
	Options                            WorkerOptions
}

// WorkerOptions are the knobs; zero values mean the defaults.
type WorkerOptions struct {
	// SessionTTL is how long the worker may be silent before it is not asked
	// any more; 0: the lock service's default.
	SessionTTL time.Duration
	// Slots is how many jobs run at once; by default as many as there are
	// processors. A job takes up to about twice the size of a file, and what
	// is read ahead of each run.
	Slots int
	// Readahead is the most that is read at once of a run, in bytes; 4 MiB.
	Readahead int
}

func (o *WorkerOptions) ensureDefaults() {
	if o.Slots == 0 {
		o.Slots = runtime.GOMAXPROCS(0)
	}
	if o.Readahead == 0 {
		o.Readahead = 4 << 20
	}
}

func (o *WorkerOptions) validate() error {
	if o.Slots < 0 || o.Readahead < 0 || o.SessionTTL < 0 {
		return fmt.Errorf("%w: compactor: %d slots, %d bytes read ahead, sessions of %v; they must not be negative", base.ErrInvalid, o.Slots, o.Readahead, o.SessionTTL)
	}
	return nil
}

// Worker does merges for tablet servers. Its session makes it known, and says
// nothing of its work: where it expires, the worker opens another and the jobs
// go on. Its methods may be called concurrently.
type Worker struct {
	compactorpb.UnsafeCompactorServer
	cfg     WorkerConfig
	log     *slog.Logger
	meta    *meta.Store
	started time.Time

	life   context.Context // ends when the worker does
	end    context.CancelCauseFunc
	keeper sync.WaitGroup // what keeps the session
	jobs   sync.WaitGroup // begun under mu while not closing
	mu     struct {
		sync.Mutex
		session lockservice.Session
		record  *compactorpb.Record
		closing bool
		running map[*work]struct{}
		recent  []*compactorpb.Work // oldest first
		totals  totals
	}
}

// totals count since the worker was opened.
type totals struct {
	done, failed, refused   uint64
	readBytes, writtenBytes uint64 // of jobs that have ended
}

// errClosed ends the jobs of a worker that stops.
var errClosed = fmt.Errorf("%w: the compactor shuts down", base.ErrUnavailable)

// OpenWorker registers a worker. Its service is to be served by the caller, at
// the address that it was given.
func OpenWorker(ctx context.Context, cfg WorkerConfig) (*Worker, error) {
	if err := cfg.Options.validate(); err != nil {
		return nil, err
	}
	cfg.Options.ensureDefaults()
	w := &Worker{cfg: cfg, log: cfg.Logger, meta: meta.NewStore(cfg.LockService), started: time.Now()}
	w.mu.running = map[*work]struct{}{}
	w.life, w.end = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := w.register(ctx); err != nil {
		w.end(errClosed)
		return nil, err
	}
	w.keeper.Go(w.stayRegistered)
	return w, nil
}

// register opens a session and stores the worker's record under it.
func (w *Worker) register(ctx context.Context) error {
	s, err := w.cfg.LockService.OpenSession(ctx, "compactor "+w.cfg.Address, w.cfg.Options.SessionTTL)
	if err != nil {
		return err
	}
	rec := &compactorpb.Record{
		Incarnation: meta.IncarnationProto(s.ID()), Address: w.cfg.Address, Name: w.cfg.Name, Zone: w.cfg.Zone,
		StartedUs: w.started.UnixMicro(), Version: w.cfg.Version, StatusAddress: w.cfg.StatusAddress, Slots: uint32(w.cfg.Options.Slots),
	}
	if err := w.meta.RegisterCompactor(ctx, rec); err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	if !w.adopt(s, rec) { // it came too late
		return errors.Join(errClosed, s.Close(context.WithoutCancel(ctx)))
	}
	return nil
}

// adopt makes s the session, unless the worker shuts down.
func (w *Worker) adopt(s lockservice.Session, rec *compactorpb.Record) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closing {
		return false
	}
	w.mu.session, w.mu.record = s, rec
	return true
}

func (w *Worker) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.closing
}

// stayRegistered opens another session when one has expired.
func (w *Worker) stayRegistered() {
	for {
		w.mu.Lock()
		s := w.mu.session
		w.mu.Unlock()
		select {
		case <-s.Expired():
		case <-w.life.Done():
			return
		}
		if w.isClosing() { // that is why
			return
		}
		w.log.Warn("session of the compactor has expired; opening another", "server", s.ID().String())
		for delay := 100 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
			err := w.register(w.life)
			if err == nil {
				break
			}
			if errors.Is(err, errClosed) {
				return
			}
			w.log.Warn("compactor was not registered; trying again", "err", err)
			select {
			case <-time.After(delay):
			case <-w.life.Done():
				return
			}
		}
	}
}

// Address is where the worker is reached.
func (w *Worker) Address() string { return w.cfg.Address }

// Name is the worker's name, which is stable over restarts.
func (w *Worker) Name() string { return w.cfg.Name }

// Close takes the worker off the list, lets its jobs end for as long as ctx
// allows, and stops.
func (w *Worker) Close(ctx context.Context) error {
	err := w.closing().Close(ctx)
	idle := make(chan struct{})
	go func() { w.jobs.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	w.end(errClosed)
	<-idle
	w.keeper.Wait()
	if err != nil && !errors.Is(err, base.ErrSessionExpired) {
		return fmt.Errorf("close compactor: %w", err)
	}
	return nil
}

// Abandon ends the worker's jobs and leaves the session to expire, as the death
// of its process would. Kill waits for that to be done.
func (w *Worker) Abandon() {
	w.closing().Abandon()
	w.end(errClosed)
}

// Kill is Abandon, and waits until nothing of the worker runs any more.
func (w *Worker) Kill() {
	w.Abandon()
	w.jobs.Wait()
	w.keeper.Wait()
}

// closing lets no more jobs begin, and returns the session.
func (w *Worker) closing() lockservice.Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.closing = true
	return w.mu.session
}
