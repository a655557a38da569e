package tabletserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/heatmap"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
	"github.com/tabletdb/tabletdb/tabletserver/pace"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// Config is what a server must be given.
type Config struct {
	LockService lockservice.Client
	// Store holds SSTables, manifests and the logs of others; it may retry.
	Store objstore.Store
	// LogStore holds the own log; it must not retry puts (commitlog.Config).
	LogStore objstore.Store
	// Address is where others reach the gRPC services of this process.
	Address string
	// Name is stable over restarts: a host or pod name. Zone and Version are
	// for placement and people.
	Name, Zone, Version string
	// StatusAddress is where /metrics is; for people.
	StatusAddress string
	// Network is how other tablet servers are asked whether the bucket answers
	// them, and compactors to compact; nil: they are not asked, a log that
	// stalls is waited for, and compactions are done in this process.
	Network rpc.Network
	// Memory takes the accounts of the server, beside those of what stands before
	// it; nil: one of its own.
	Memory  *membudget.Budget
	Logger  *slog.Logger
	Options Options
}

// Options are the knobs; zero values mean the defaults.
type Options struct {
	// SessionTTL is how long the server may be silent before its tablets go
	// to others; 0: the lock service's default.
	SessionTTL time.Duration
	// MemoryBytes is all the memory that the server may take; DefaultMemory. What
	// follows is a share of it where it is not set.
	MemoryBytes int64
	// MemtableBytes is the memory for all memtables.
	MemtableBytes int64
	// CacheBytes is the memory for unpacked blocks. Negative: none.
	CacheBytes int64
	// InMemoryBytes is the part of CacheBytes that locality groups may take which
	// are to be kept in memory, with their filters and indexes; half of it.
	// Negative: none. What they do not take is the cache's.
	InMemoryBytes int64
	// MetadataBytes is the memory for filters and indexes of files, which
	// blocks do not push out.
	MetadataBytes int64
	// Tablet are the knobs of each tablet.
	Tablet tablet.Options
	// Linger and MaxInFlight are the log's; see commitlog.Config.
	Linger      time.Duration
	MaxInFlight int
	// MaxLogBytes and MaxLogObjects are how much log may be needed before
	// those who need it are flushed; 256 MiB and 8,192.
	MaxLogBytes   int64
	MaxLogObjects int64
	// TruncateInterval is how often the log is truncated; 2 s.
	TruncateInterval time.Duration
	// MinTruncate is how many objects must be free to go before a transaction
	// is made of it; 32.
	MinTruncate int64
	// Loaders, Flushers and Compactors are how many of a kind run at once; 64,
	// 4, or fewer where there is little memory, and 2.
	Loaders, Flushers, Compactors int
	// AgeInterval is how often it is looked for tablets whose contents have
	// become garbage or old; 1 min.
	AgeInterval time.Duration
	// NoCompaction leaves merging to those who ask for it.
	NoCompaction bool
	// NoOffload keeps all compactions in this process, also where there are
	// workers.
	NoOffload bool
	// OffloadBytes is from which size of its input on a compaction is given to
	// a worker; 4 MiB.
	OffloadBytes int64
	// OffloadPatience is how long a compaction that can wait does so for a
	// worker, while all are busy; 2 s.
	OffloadPatience time.Duration
	// Heat says how requests are counted by row and time.
	Heat heatmap.Options
}

// EnsureDefaults fills in the defaults.
func (o *Options) EnsureDefaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def64 := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	o.divide()
	def64(&o.MaxLogBytes, 256<<20)
	def64(&o.MaxLogObjects, 8192)
	def64(&o.MinTruncate, 32)
	def(&o.Loaders, 64)
	def(&o.Compactors, 2)
	def64(&o.OffloadBytes, 4<<20)
	if o.OffloadPatience == 0 {
		o.OffloadPatience = 2 * time.Second
	}
	if o.TruncateInterval == 0 {
		o.TruncateInterval = 2 * time.Second
	}
	if o.AgeInterval == 0 {
		o.AgeInterval = time.Minute
	}
}

// validate reports every knob that is out of its range, so that none is found
// out by the first flush.
func (o *Options) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: tablet server: %s", base.ErrInvalid, what))
		}
	}
	t := &o.Tablet
	need(o.MemoryBytes >= 1<<20, "memory must be at least 1 MiB")
	need(o.SessionTTL >= 0 && o.TruncateInterval > 0 && o.OffloadPatience >= 0, "times must not be negative")
	need(t.MemtableBytes >= 1<<10, "memory for memtables must be at least 4 KiB, and a quarter of that for each")
	need(o.MetadataBytes >= 0, "memory for metadata must not be negative")
	need(t.FileBytes >= 1<<10, "files must be at least 1 KiB")
	need(t.BlockBytes >= sstable.MinBlockSize && t.BlockBytes <= sstable.MaxBlockSize, "blocks must be 4 to 256 KiB")
	need(t.Readahead >= t.BlockBytes, "what scans fetch at once must be at least a block")
	need(o.MaxLogBytes > 0 && o.MaxLogObjects > 0 && o.MinTruncate > 0, "limits of the log must be positive")
	need(o.Loaders > 0 && o.Flushers > 0 && o.Compactors > 0, "numbers of workers must be positive")
	return errors.Join(errs...)
}

// Server is one incarnation. Its methods may be called concurrently.
type Server struct {
	cfg     Config
	log     *slog.Logger
	session lockservice.Session
	wal     *commitlog.Log
	meta    *meta.Store
	cache   *sstable.Cache
	env     *tablet.Env
	record  *metapb.ServerRecord
	memory  memory
	started time.Time

	tablets  sync.Map // base.TabletID -> *tablet.Tablet
	loading  chan struct{}
	adopting chan struct{} // permits for adoptions of bulk loads
	flushes  *queue
	compacts *compactions
	pool     *offload.Pool // nil: nobody else compacts
	rates    rates
	heat     *heatmap.Recorder
	pace     *pace.Bucket
	requests atomic.Int64 // that were asked of tablets here
	acked    atomic.Int64 // time of the last acknowledgement, in nanoseconds since started; 0: none

	life    context.Context // ends when the server does
	end     context.CancelFunc
	workers sync.WaitGroup
	done    chan struct{} // closed when it has ended
	mu      struct {
		sync.Mutex
		closing bool
		err     error
		low     base.Position // of the log, as committed
	}
}

// Open registers a server and starts it. It owns no tablets yet.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	cfg.Options.EnsureDefaults()
	if err := cfg.Options.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, meta: meta.NewStore(cfg.LockService), started: time.Now(),
		cache: sstable.NewCache(cfg.Options.CacheBytes), done: make(chan struct{}),
		loading: make(chan struct{}, cfg.Options.Loaders), adopting: make(chan struct{}, cfg.Options.Flushers),
		flushes: newQueue(), compacts: newCompactions(), heat: heatmap.NewRecorder(cfg.Options.Heat, time.Now()), pace: pace.NewBucket(),
	}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		s.end()
		if s.env != nil && s.env.Schemas != nil {
			s.env.Schemas.Close()
		}
		if s.wal != nil {
			s.wal.Abandon()
		}
		if s.session != nil {
			s.session.Close(ctx)
		}
		return nil, fmt.Errorf("open tablet server: %w", err)
	}
	s.start()
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	o := &s.cfg.Options
	if s.session, err = s.cfg.LockService.OpenSession(ctx, "tabletserver "+s.cfg.Address, o.SessionTTL); err != nil {
		return err
	}
	self := s.session.ID()
	s.log = s.cfg.Logger.With("server", self.String())
	logCfg := commitlog.Config{
		Store: s.cfg.LogStore, Incarnation: self, Logger: s.log,
		Linger: o.Linger, MaxInFlight: o.MaxInFlight, MaxPendingBytes: o.pendingBytes(),
		OnFenced: func(err error) { s.die(fmt.Errorf("commit log: %w", err)) },
		Events:   commitlog.Events{Acked: func(int, time.Duration) { s.acked.Store(int64(time.Since(s.started))) }},
	}
	if _, err := rand.Read(logCfg.Nonce[:]); err != nil {
		return err
	}
	if s.wal, err = commitlog.Open(logCfg); err != nil {
		return err
	}
	files := tablet.NewFiles(s.cfg.Store, s.cache, o.MetadataBytes, self)
	files.LimitInMemory(o.InMemoryBytes)
	s.memory = s.newMemory(s.cfg.Memory, files)
	s.env = &tablet.Env{
		Store: s.cfg.Store, Meta: s.meta, Commits: meta.NewGroup(s.life, s.meta), Log: s.wal, Session: s.session,
		Files: files, Logs: tablet.NewLogs(s.cfg.Store, s.meta),
		Budget: s.memory.memtables, Reads: s.memory.reads, FileMemory: s.memory.files, Rows: tablet.NewRowLocks(), Logger: s.log, Options: o.Tablet,
		Pace: s.pace.Take, WantFlush: s.flushes.add, WantCompact: s.wantCompact,
	}
	if s.env.Schemas, err = schema.Open(ctx, s.meta, s.log); err != nil {
		return err
	}
	s.record = &metapb.ServerRecord{
		Incarnation: meta.IncarnationProto(self), Address: s.cfg.Address, Name: s.cfg.Name, Zone: s.cfg.Zone,
		Version: s.cfg.Version, StartedUs: s.started.UnixMicro(), StatusAddress: s.cfg.StatusAddress,
	}
	if err := s.meta.RegisterServer(ctx, s.record); err != nil {
		return err
	}
	if s.cfg.Network != nil && !o.NoOffload {
		s.pool = offload.OpenPool(offload.PoolConfig{
			Meta: s.meta, Network: s.cfg.Network, Name: s.cfg.Name, Zone: s.cfg.Zone, MinBytes: o.OffloadBytes, Logger: s.log,
		})
	}
	return nil
}

func (s *Server) wantCompact(t *tablet.Tablet) {
	if !s.cfg.Options.NoCompaction {
		s.compacts.add(t)
	}
}

// start starts the workers.
func (s *Server) start() {
	o := &s.cfg.Options
	run := func(f func()) { s.workers.Go(f) }
	for range o.Flushers {
		run(func() { s.flushes.work(s.life, s.flushOne) })
	}
	for range o.Compactors {
		run(s.compactHere)
	}
	if s.pool != nil {
		run(s.compactAway)
	}
	run(s.truncateLoop)
	run(s.memoryLoop)
	run(s.ageLoop)
	run(s.paceLoop)
	run(s.heatLoop)
	run(s.inMemoryLoop)
	if s.cfg.Network != nil {
		run(s.stallLoop)
	}
	run(func() {
		select {
		case <-s.session.Expired():
			s.die(base.ErrSessionExpired)
		case <-s.life.Done():
		}
	})
	go func() { // whatever ended it, this is how it ends
		<-s.life.Done()
		s.workers.Wait()
		s.tablets.Range(func(_, v any) bool { v.(*tablet.Tablet).Abandon(); return true })
		s.wal.Abandon()
		s.wal.Close(context.WithoutCancel(s.life))
		s.env.Schemas.Close()
		s.pool.Close()
		if errors.Is(s.Err(), errStalled) { // reads have stopped: nobody need wait for the lease
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), 10*time.Second)
			s.session.Close(ctx)
			cancel()
		}
		close(s.done)
	}()
}

// Incarnation returns which incarnation this is.
func (s *Server) Incarnation() base.Incarnation { return s.session.ID() }

// Files tells which of the server's files are in flight and which files it has
// pinned; garbage collection asks for it (R12).
func (s *Server) Files() *tablet.Files { return s.env.Files }

// Done is closed when the server has stopped for good; Err says why.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns why the server stopped by itself; nil after Close or Kill.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

// die stops the server because it must not serve any more.
func (s *Server) die(err error) {
	s.mu.Lock()
	first := s.mu.err == nil && s.life.Err() == nil
	if first {
		s.mu.err = err
	}
	s.mu.Unlock()
	if first {
		s.log.Error("tablet server stops serving", "err", err)
		if !errors.Is(err, errStalled) {
			s.session.Abandon()
		}
		s.end()
	}
}

// Kill stops the server as the death of its process would: nothing is flushed,
// nothing released, the session is left to expire.
func (s *Server) Kill() {
	s.session.Abandon()
	s.end()
	<-s.done
}

// Close gives all tablets up, so that others serve them at once, and ends the
// session. Where ctx ends before that is done, the rest is left as by Kill,
// and the error says so.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.mu.closing = true
	s.mu.Unlock()
	err := s.releaseAll(ctx)
	if err == nil {
		err = s.wal.Close(ctx)
	}
	s.end()
	<-s.done // reads and writes have stopped
	if err != nil {
		s.session.Abandon()
		return fmt.Errorf("close tablet server: %w", err)
	}
	if err := s.session.Close(ctx); err != nil {
		return fmt.Errorf("close tablet server: %w", err)
	}
	return nil
}

// releaseAll releases all tablets, also those that a split or merge under way
// makes meanwhile.
func (s *Server) releaseAll(ctx context.Context) error {
	for {
		if err := s.releaseEach(ctx); err != nil {
			return err
		}
		if !slices.ContainsFunc(s.all(), func(t *tablet.Tablet) bool { return t.State() == tablet.Serving }) {
			return nil
		}
	}
}

// releaseEach releases all tablets, some at a time.
func (s *Server) releaseEach(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	slots := make(chan struct{}, s.cfg.Options.Loaders)
	s.tablets.Range(func(_, v any) bool {
		t := v.(*tablet.Tablet)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.release(ctx, t, meta.Server{}, ""); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
		return true
	})
	wg.Wait()
	return first
}

// release gives one tablet up. One that still loads is left to the master,
// which takes back what did not register; it stays in the list until its load
// has ended, so that no second one begins beside it.
func (s *Server) release(ctx context.Context, t *tablet.Tablet, to meta.Server, why string) error {
	if t.State() == tablet.Loading {
		t.Abandon()
	} else if err := t.Release(ctx, to, why); err != nil {
		return err
	}
	if t.Loaded() {
		s.tablets.CompareAndDelete(t.ID(), t)
	}
	return nil
}

// tablet returns a tablet that this server has.
func (s *Server) tablet(id base.TabletID) (*tablet.Tablet, bool) {
	v, ok := s.tablets.Load(id)
	if !ok {
		return nil, false
	}
	return v.(*tablet.Tablet), true
}

// all returns all tablets.
func (s *Server) all() []*tablet.Tablet {
	var list []*tablet.Tablet
	s.tablets.Range(func(_, v any) bool { list = append(list, v.(*tablet.Tablet)); return true })
	return list
}
