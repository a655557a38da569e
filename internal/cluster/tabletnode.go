package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/objstore/probe"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver"
)

// TabletNode runs tablet servers, one incarnation after the other, behind one
// endpoint, together with a gateway.
type TabletNode struct {
	env      *Env
	config   tabletserver.Config
	front    *Front
	endpoint *endpoint
	locals   *Locals

	life context.Context
	end  context.CancelFunc
	done sync.WaitGroup
	mu   struct {
		sync.Mutex
		server *tabletserver.Server // nil between two incarnations
	}
}

// TabletConfig is what a TabletNode must be given beside its Env.
type TabletConfig struct {
	Addr, Name, Zone, StatusAddress string
	Options                         tabletserver.Options
	Locals                          *Locals // may be nil
}

// OpenTabletServer starts a tablet server that listens on c.Addr.
func OpenTabletServer(ctx context.Context, e *Env, c TabletConfig) (*TabletNode, error) {
	p, err := listen(e, c.Addr)
	if err != nil {
		return nil, err
	}
	n := &TabletNode{env: e, endpoint: p, locals: c.Locals}
	n.config = tabletserver.Config{
		LockService: e.LockService, Store: e.Bucket.Data, LogStore: e.Bucket.Log, Address: p.addr(), Name: c.Name, Zone: c.Zone,
		Version: e.Version, StatusAddress: c.StatusAddress, Network: e.Network, Logger: e.Logger.With("role", "tabletserver"), Options: c.Options,
	}
	if n.config.Name == "" {
		n.config.Name = p.addr()
	}
	o := c.Options
	o.EnsureDefaults()
	b := membudget.New(o.MemoryBytes)
	gate := route.NewGate(b.Account("requests", tabletserver.Share(o.MemoryBytes, tabletserver.RequestShare)))
	n.config.Memory = b
	e.showMemory("tabletserver", b, gate)
	n.life, n.end = context.WithCancel(context.WithoutCancel(ctx))
	first, err := tabletserver.Open(ctx, n.config)
	if err != nil {
		p.listener.Close()
		return nil, err
	}
	n.mu.server = first
	if e.Registerer != nil {
		if err := e.Registerer.Register(tabletserver.NewMetrics(n.Server)); err != nil {
			e.Logger.Warn("metrics of the tablet server are not there", "err", err)
		}
	}
	if n.locals != nil {
		n.locals.set(p.addr(), n)
	}
	front := *e
	if front.Local == nil { // tablets of this process need no gRPC
		front.Local = func(addr string) route.Server {
			if addr == p.addr() {
				return n
			}
			return nil
		}
	}
	n.front = newFront(&front, b.Account("rows", tabletserver.Share(o.MemoryBytes, tabletserver.RowShare)))
	s := dataServer(e, gate)
	route.Register(s, n, n.front.gateway, gate)
	n.front.gateway.Register(s)
	controlpb.RegisterTabletServerServer(s, &control{n: n})
	p.serve(s)
	n.done.Go(n.supervise)
	return n, nil
}

// Addr is where the node listens.
func (n *TabletNode) Addr() string { return n.endpoint.addr() }

// Name is the node's name, which is stable over restarts.
func (n *TabletNode) Name() string { return n.config.Name }

// Server returns the present incarnation; nil between two.
func (n *TabletNode) Server() *tabletserver.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.server
}

// supervise opens another incarnation when one has stopped by itself.
func (n *TabletNode) supervise() {
	for {
		s := n.Server()
		select {
		case <-n.life.Done():
			return
		case <-s.Done():
		}
		if n.life.Err() != nil {
			return
		}
		n.set(nil)
		n.env.Logger.Warn("tablet server has ended; starting another incarnation", "err", s.Err())
		for delay := 100 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
			err := n.reopen()
			if err == nil {
				break
			}
			n.env.Logger.Warn("tablet server did not start; trying again", "err", err)
			if !await(n.life, delay) {
				return
			}
		}
	}
}

// reopen opens the next incarnation, once the bucket takes a log from here: a
// server that left because it did not would else get tablets again.
func (n *TabletNode) reopen() error {
	if err := probe.Run(n.life, n.config.LogStore, probe.Options{Racers: 2, Rounds: 1}); err != nil {
		return err
	}
	next, err := tabletserver.Open(n.life, n.config)
	if err == nil {
		n.set(next)
	}
	return err
}

func (n *TabletNode) set(s *tabletserver.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.server = s
}

// Memory returns what the parts of the node take.
func (n *TabletNode) Memory() *membudget.Budget { return n.config.Memory }

// RouterStats returns the counters of the node's gateway.
func (n *TabletNode) RouterStats() router.Stats { return n.front.router.Stats() }

// Close gives all tablets up and stops.
func (n *TabletNode) Close(ctx context.Context) error {
	n.end()
	n.done.Wait()
	var err error
	if s := n.Server(); s != nil {
		err = s.Close(ctx)
	}
	n.endpoint.stop()
	return n.closed(err)
}

// Kill stops the node as the death of its process would.
func (n *TabletNode) Kill() {
	n.end()
	n.done.Wait()
	if s := n.Server(); s != nil {
		s.Kill()
	}
	n.endpoint.cut()
	n.closed(nil)
}

func (n *TabletNode) closed(err error) error {
	if n.locals != nil {
		n.locals.set(n.Addr(), nil)
	}
	if cerr := n.front.close(); err == nil {
		err = cerr
	}
	return err
}

// current returns the present incarnation, or why there is none.
func (n *TabletNode) current() (*tabletserver.Server, error) {
	if s := n.Server(); s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("tablet server at %s is between two incarnations: %w", n.Addr(), base.ErrNotServing)
}

// The data plane is the present incarnation's.

// ReadRows implements route.Server.
func (n *TabletNode) ReadRows(ctx context.Context, t route.Target, s route.Scan, req []byte, send func(mem.Buffer, route.FrameInfo) error) error {
	srv, err := n.current()
	if err != nil {
		return err
	}
	return srv.ReadRows(ctx, t, s, req, send)
}

// MutateRow implements route.Server.
func (n *TabletNode) MutateRow(ctx context.Context, t route.Target, req []byte) error {
	srv, err := n.current()
	if err != nil {
		return err
	}
	return srv.MutateRow(ctx, t, req)
}

// MutateRows implements route.Server.
func (n *TabletNode) MutateRows(ctx context.Context, t route.Target, entries [][]byte) ([]error, error) {
	srv, err := n.current()
	if err != nil {
		return nil, err
	}
	return srv.MutateRows(ctx, t, entries)
}

// DropRows implements route.Server.
func (n *TabletNode) DropRows(ctx context.Context, t route.Target, req []byte) error {
	srv, err := n.current()
	if err != nil {
		return err
	}
	return srv.DropRows(ctx, t, req)
}

// CheckAndMutateRow implements route.Server.
func (n *TabletNode) CheckAndMutateRow(ctx context.Context, t route.Target, req []byte) (bool, error) {
	srv, err := n.current()
	if err != nil {
		return false, err
	}
	return srv.CheckAndMutateRow(ctx, t, req)
}

// ReadModifyWriteRow implements route.Server.
func (n *TabletNode) ReadModifyWriteRow(ctx context.Context, t route.Target, req []byte) ([]byte, error) {
	srv, err := n.current()
	if err != nil {
		return nil, err
	}
	return srv.ReadModifyWriteRow(ctx, t, req)
}

// SampleRowKeys implements route.Server.
func (n *TabletNode) SampleRowKeys(ctx context.Context, t route.Target) ([]route.Sample, error) {
	srv, err := n.current()
	if err != nil {
		return nil, err
	}
	return srv.SampleRowKeys(ctx, t)
}

// control passes control calls to the present incarnation. It does not build
// while it lacks one.
type control struct {
	controlpb.UnsafeTabletServerServer
	n *TabletNode
}

func pass[Req, Resp any](ctx context.Context, n *TabletNode, r Req, f func(*tabletserver.Control, context.Context, Req) (Resp, error)) (Resp, error) {
	s, err := n.current()
	if err != nil {
		var none Resp
		return none, err
	}
	return f(s.Control(), ctx, r)
}

func (c *control) Load(ctx context.Context, r *controlpb.LoadRequest) (*controlpb.LoadResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Load)
}

func (c *control) Unload(ctx context.Context, r *controlpb.UnloadRequest) (*controlpb.UnloadResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Unload)
}

func (c *control) Status(ctx context.Context, r *controlpb.StatusRequest) (*controlpb.StatusResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Status)
}

func (c *control) Flush(ctx context.Context, r *controlpb.FlushRequest) (*controlpb.FlushResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Flush)
}

func (c *control) Compact(ctx context.Context, r *controlpb.CompactRequest) (*controlpb.CompactResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Compact)
}

func (c *control) RefreshSchemas(ctx context.Context, r *controlpb.RefreshSchemasRequest) (*controlpb.RefreshSchemasResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).RefreshSchemas)
}

func (c *control) Cut(ctx context.Context, r *controlpb.CutRequest) (*controlpb.CutResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Cut)
}

func (c *control) Files(ctx context.Context, r *controlpb.FilesRequest) (*controlpb.FilesResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Files)
}

func (c *control) Describe(ctx context.Context, r *controlpb.DescribeRequest) (*controlpb.DescribeResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Describe)
}

func (c *control) Split(ctx context.Context, r *controlpb.SplitRequest) (*controlpb.SplitResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Split)
}

func (c *control) Merge(ctx context.Context, r *controlpb.MergeRequest) (*controlpb.MergeResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Merge)
}

func (c *control) Adopt(ctx context.Context, r *controlpb.AdoptRequest) (*controlpb.AdoptResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Adopt)
}

func (c *control) Activity(ctx context.Context, r *controlpb.ActivityRequest) (*controlpb.ActivityResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Activity)
}

func (c *control) Heat(ctx context.Context, r *controlpb.HeatRequest) (*controlpb.HeatResponse, error) {
	return pass(ctx, c.n, r, (*tabletserver.Control).Heat)
}

// Control returns the control service of the node, for the pages of its own
// process.
func (n *TabletNode) Control() controlpb.TabletServerServer { return &control{n: n} }
