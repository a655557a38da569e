package router

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
)

// Config is what a Router needs.
type Config struct {
	// Meta reads the records of tables and tablets. The router only reads.
	Meta *meta.Store
	// Network is how tablet servers are dialled.
	Network rpc.Network
	// Local, if not nil, returns the tablet server at an address where it runs
	// in this process, else nil. Its calls skip gRPC.
	Local func(addr string) route.Server
	// Whole, if not nil, returns what serves all rows of a table: a gateway
	// elsewhere. Meta, Network and Local are not used then, and targets are
	// zero.
	Whole func(table string) route.Server
	// Logger; nil discards.
	Logger *slog.Logger

	Options Options
}

// Options qualify a Router. The zero value is valid.
type Options struct {
	// Connections per remote tablet server; 0 means 1.
	Connections int
	// Dial is appended to the options of each connection.
	Dial []grpc.DialOption
	// Deadline of requests whose context has none; 0 means 60 s.
	Deadline time.Duration
	// Prefetch is how many tablets that follow are read with one that is
	// looked up; 0 means 100.
	Prefetch int
	// Budget limits retries of requests that reached a server.
	Budget Budget
}

func (o Options) withDefaults() Options {
	if o.Connections <= 0 {
		o.Connections = 1
	}
	if o.Deadline <= 0 {
		o.Deadline = 60 * time.Second
	}
	if o.Prefetch <= 0 {
		o.Prefetch = 100
	}
	o.Budget = o.Budget.withDefaults()
	return o
}

// reapEvery is how often connections to servers that are gone are closed.
const reapEvery = 30 * time.Second

// Router routes requests. Its methods may be called concurrently.
type Router struct {
	meta    *meta.Store
	network rpc.Network
	local   func(addr string) route.Server
	whole   func(table string) route.Server
	log     *slog.Logger
	options Options
	budget  budget
	stats   stats
	ids     ids

	ctx    context.Context // the router's lifetime
	cancel context.CancelFunc
	done   sync.WaitGroup

	life struct { // a leaf: no other lock is taken under it
		sync.Mutex
		closed bool
	}

	tables atomic.Pointer[map[string]*table] // copied on write, under mu

	names flights // look-ups of tables

	mu struct {
		sync.Mutex
		servers map[string]*server
	}
}

// New returns a Router. Close it.
func New(c Config) *Router {
	r := &Router{meta: c.Meta, network: c.Network, local: c.Local, log: c.Logger, options: c.Options.withDefaults()}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.local == nil {
		r.local = func(string) route.Server { return nil }
	}
	r.budget.init(r.options.Budget)
	r.ids.init()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.tables.Store(&map[string]*table{})
	r.mu.servers = map[string]*server{}
	if c.Whole != nil {
		r.whole = c.Whole
		return r
	}
	r.done.Add(1)
	go r.reapLoop()
	return r
}

// Close ends everything the router does in the background and closes its
// connections; requests in flight fail. Meta is the caller's.
func (r *Router) Close() error {
	r.life.Lock()
	r.life.closed = true
	r.life.Unlock()
	r.cancel()
	r.done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for addr, s := range r.mu.servers {
		s.close()
		delete(r.mu.servers, addr)
	}
	return nil
}

// spawn runs f in the background unless the router is closed.
func (r *Router) spawn(f func()) bool {
	r.life.Lock()
	defer r.life.Unlock()
	if r.life.closed {
		return false
	}
	r.done.Add(1)
	go func() {
		defer r.done.Done()
		f()
	}()
	return true
}

// Stats counts what a Router did since it was made.
type Stats struct {
	Requests  uint64 // that were answered, one for each tablet they went to
	Retries   uint64 // attempts after the first
	Redirects uint64 // answers that a tablet is not served there
	Holds     uint64 // waits for a tablet to be served
	Lookups   uint64 // reads of meta
	Denied    uint64 // retries that the budget forbade
	Tables    int    // in the cache
	Tablets   int    // in the cache
	Servers   int    // to which there are connections
}

type stats struct {
	retries, redirects, holds, lookups, denied atomic.Uint64
}

// Stats returns the counters and the sizes of the caches.
func (r *Router) Stats() Stats {
	s := Stats{
		Requests: r.budget.earned.Load(), Retries: r.stats.retries.Load(), Redirects: r.stats.redirects.Load(),
		Holds: r.stats.holds.Load(), Lookups: r.stats.lookups.Load(), Denied: r.stats.denied.Load(),
	}
	tables := *r.tables.Load()
	s.Tables = len(tables)
	for _, t := range tables {
		s.Tablets += len(*t.list.Load())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Servers = len(r.mu.servers)
	return s
}
