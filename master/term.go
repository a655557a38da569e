package master

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/assign"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// term is the active life of a master.
type term struct {
	*Master
	opt     Options
	log     *slog.Logger
	session lockservice.SessionID // of the master; it seals logs in its name
	mirror  *mirror
	ctx     context.Context // the term's lifetime
	wake    chan struct{}
	// rebalance holds a token while decisions about served tablets are to be
	// made soon.
	rebalance chan struct{}
	jobs      sync.WaitGroup // everything the term started
	sealers   chan struct{}  // permits

	mu struct { // taken after the mirror's lock, never before
		sync.Mutex
		running    map[string]int // by name of job: failures in a row
		peers      map[base.Incarnation]*peer
		recoveries map[base.Incarnation]*recovery
		recent     []*recovery
		safe       assign.SafeMode
		servers    int
		settled    time.Time                        // when the first server has waited for others
		account    account                          // of decisions about what is served
		known      map[base.Incarnation]meta.Server // live ones, and dead ones whose fail-over did not begin
		events     []*controlpb.MasterEvent
		kept       map[base.TableID]kept
	}
}

func newTerm(m *Master, s lockservice.Session) *term {
	t := &term{
		Master: m, opt: m.cfg.Options, session: s.ID(), mirror: newMirror(time.Now),
		log:  m.cfg.Logger.With("session", s.ID().String()),
		wake: make(chan struct{}, 1), rebalance: make(chan struct{}, 1),
		sealers: make(chan struct{}, m.cfg.Options.Recoveries),
	}
	t.mu.running = map[string]int{}
	t.mu.kept = map[base.TableID]kept{}
	t.mu.peers = map[base.Incarnation]*peer{}
	t.mu.known = map[base.Incarnation]meta.Server{}
	t.mu.recoveries = map[base.Incarnation]*recovery{}
	t.mu.account.init()
	t.mu.safe.Options = m.cfg.Options.SafeMode
	t.mirror.started, t.mirror.left = t.serverStarted, t.serverLeft
	return t
}

// run reconciles until ctx ends. It calls ready once the mirror is filled.
func (t *term) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	t.ctx = ctx
	defer t.jobs.Wait()
	defer cancel()
	rev, err := t.reload(ctx)
	if err != nil {
		return err
	}
	t.findMissing()
	ready()
	t.jobs.Go(func() { t.watchLoop(ctx, rev) })
	t.jobs.Go(func() { t.verifyLoop(ctx) })
	t.jobs.Go(func() { t.gcLoop(ctx) })
	t.jobs.Go(func() { t.stuckLoop(ctx) })
	t.jobs.Go(func() { t.balanceLoop(ctx) })
	t.jobs.Go(func() { t.bulkLoop(ctx) })
	t.reconcileLoop(ctx)
	return nil
}

// bind returns a context for a request that ends with the term too.
func (t *term) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.ctx, func() { cancel(&base.LeaderError{}) })
	return ctx, func() { stop(); cancel(nil) }
}

// outcome is err, or base.ErrNotLeader where err came of the end of the term and
// nothing was done.
func (t *term) outcome(err error) error {
	if t.ctx.Err() != nil && errors.Is(err, context.Canceled) && !errors.Is(err, base.ErrUndecided) {
		return &base.LeaderError{}
	}
	return err
}

// serverStarted and serverLeft are told by the mirror.
func (t *term) serverStarted(s meta.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.mu.safe.Started(now)
	if t.mu.servers++; t.mu.servers == 1 {
		t.mu.settled = now.Add(t.opt.Settle)
		t.wakeAt(t.opt.Settle)
	}
	t.mu.known[s.Incarnation] = s
	t.eventLocked("%s started at %s", serverName(s.Incarnation, s.Record.GetName()), s.Address)
	t.log.Info("server started", "server", s.Incarnation.String(), "address", s.Address, "name", s.Record.GetName())
}

func (t *term) serverLeft(e base.Incarnation, owned int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.servers--
	now := time.Now()
	if owned > 0 {
		t.mu.safe.Vanished(now)
	} else {
		t.mu.safe.Left(now)
	}
	t.eventLocked("%s left with %d tablets", serverName(e, t.mu.known[e].Record.GetName()), owned)
	if owned == 0 {
		delete(t.mu.known, e)
	}
	t.log.Info("server left", "server", e.String(), "tablets", owned)
}

// findMissing counts the servers that died before the term as vanished now,
// unless others came in their place.
func (t *term) findMissing() {
	dead, fresh := t.mirror.missing()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.safe.Missing(dead, fresh, time.Now())
}

// wakeUp makes the reconciler look again.
func (t *term) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// wakeAt is wakeUp after d.
func (t *term) wakeAt(d time.Duration) {
	t.jobs.Go(func() {
		if t.sleep(t.ctx, d) {
			t.wakeUp()
		}
	})
}

// sleep pauses for d; false: ctx ended.
func (t *term) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// The pauses of a job that failed double from the first to the last.
const (
	jobPause    = 100 * time.Millisecond
	jobPauseMax = 2 * time.Second
)

// start runs a job unless one of its name runs. When the job is over the
// reconciler looks again: at once, or after a pause where it failed.
func (t *term) start(name string, f func(context.Context) error) {
	t.mu.Lock()
	_, running := t.mu.running["+"+name]
	if running || t.ctx.Err() != nil {
		t.mu.Unlock()
		return
	}
	t.mu.running["+"+name] = 0
	t.mu.Unlock()
	t.jobs.Go(func() {
		err := f(t.ctx)
		t.mu.Lock()
		if err == nil {
			delete(t.mu.running, name)
		} else {
			t.mu.running[name]++
		}
		failures := t.mu.running[name]
		t.mu.Unlock()
		if err != nil {
			if t.ctx.Err() == nil && !errors.Is(err, base.ErrAborted) {
				t.log.WarnContext(t.ctx, "job failed", "job", name, "err", err)
				t.metrics.failed()
			}
			t.sleep(t.ctx, assign.Backoff(failures-1, jobPause, jobPauseMax))
		}
		t.mu.Lock()
		delete(t.mu.running, "+"+name)
		t.mu.Unlock()
		t.wakeUp()
	})
}

// coalesce is how long the reconciler lets events gather.
const coalesce = 2 * time.Millisecond

func (t *term) reconcileLoop(ctx context.Context) {
	for {
		changed := t.mirror.watch()
		t.reconcile()
		select {
		case <-changed:
		case <-t.wake:
		case <-ctx.Done():
			t.stopPeers()
			return
		}
		if !t.sleep(ctx, coalesce) {
			t.stopPeers()
			return
		}
	}
}

// reconcile starts a job for whatever is not as it should be.
func (t *term) reconcile() {
	w := t.mirror.work()
	t.syncPeers(w.servers)
	for _, e := range w.dead {
		t.start("recover "+e.String(), func(ctx context.Context) error { return t.recover(ctx, e) })
	}
	for _, e := range w.collectable {
		t.start("collect "+e.String(), func(ctx context.Context) error { return t.collect(ctx, e) })
	}
	for _, e := range w.unindexed {
		t.start("index "+e.String(), func(ctx context.Context) error { return t.index(ctx, e) })
	}
	for _, id := range w.dropped {
		if !t.droppable(id) {
			continue
		}
		t.start("drop "+tableName(id), func(ctx context.Context) error { return t.drop(ctx, id) })
	}
	if w.unassigned > 0 && len(w.servers) > 0 && t.mayAssign() {
		t.start("assign", t.assign)
	}
	t.followRecoveries()
}

// mayAssign reports whether tablets may be assigned now; if not, the reconciler
// is woken when they may.
func (t *term) mayAssign() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.mu.settled) {
		return false
	}
	on, _ := t.mu.safe.On(now)
	if until, ok := t.mu.safe.Until(); on && ok {
		if _, waiting := t.mu.running["safe mode"]; !waiting {
			t.mu.running["safe mode"] = 0
			t.jobs.Go(func() {
				t.sleep(t.ctx, time.Until(until))
				t.mu.Lock()
				delete(t.mu.running, "safe mode")
				t.mu.Unlock()
				t.wakeUp()
			})
		}
	}
	return !on
}
