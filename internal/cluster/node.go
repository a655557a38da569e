package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/gateway"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Env is what the nodes of one process share.
type Env struct {
	Network rpc.Network
	// LockService is the process's client. Whoever made Env closes it.
	LockService lockservice.Client
	Bucket      *Bucket
	// ClusterID is what Join returned.
	ClusterID  string
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Version    string
	// StatusAddress is where the status pages of this process are; "": nowhere.
	StatusAddress string
	// Strict gateways know only instances and clusters that were created; others
	// let them appear when they are first used.
	Strict bool
	// Local returns the tablet server of this process at an address, else nil.
	Local func(addr string) route.Server
}

// grace is how long calls in flight may take when a node stops.
const grace = 5 * time.Second

// endpoint is a gRPC server on a listener.
type endpoint struct {
	server   *grpc.Server
	health   *health.Server
	listener net.Listener
	served   chan struct{} // closed when Serve has returned
}

// listen opens a listener. The address that a node advertises is the
// listener's, which knows the port where the wanted one was 0.
func listen(e *Env, addr string) (*endpoint, error) {
	l, err := e.Network.Listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return &endpoint{listener: l, health: health.NewServer(), served: make(chan struct{})}, nil
}

func (p *endpoint) addr() string { return p.listener.Addr().String() }

// serve registers what every node has beside its own services, and serves.
func (p *endpoint) serve(s *grpc.Server) {
	p.server = s
	healthpb.RegisterHealthServer(s, p.health)
	reflection.Register(s)
	go func() {
		defer close(p.served)
		s.Serve(p.listener) // ends with the listener: stop, or cut
	}()
}

// stop lets calls in flight end.
func (p *endpoint) stop() {
	p.health.Shutdown()
	rpc.Stop(p.server, grace)
	<-p.served
}

// cut ends everything at once.
func (p *endpoint) cut() {
	p.server.Stop()
	<-p.served
}

// MasterNode is a master with its endpoint.
type MasterNode struct {
	*master.Master
	endpoint *endpoint
}

// OpenMaster starts a master that listens on addr.
func OpenMaster(e *Env, addr string, o master.Options) (*MasterNode, error) {
	p, err := listen(e, addr)
	if err != nil {
		return nil, err
	}
	m, err := master.Open(master.Config{
		LockService: e.LockService, Store: e.Bucket.Data, Network: e.Network, Address: p.addr(),
		Manifest:  manifest.Files(e.Bucket.Data),
		ClusterID: e.ClusterID, StatusAddress: e.StatusAddress, Logger: e.Logger.With("role", "master"), Registerer: e.Registerer, Options: o,
	})
	if err != nil {
		p.listener.Close()
		return nil, err
	}
	s := rpc.NewServer(e.Logger, rpc.ServerOptions{})
	m.Register(s)
	p.serve(s)
	return &MasterNode{m, p}, nil
}

// Addr is where the master listens.
func (n *MasterNode) Addr() string { return n.endpoint.addr() }

// Close stops the master; a standby takes over at once.
func (n *MasterNode) Close() error {
	err := n.Master.Close()
	n.endpoint.stop()
	return err
}

// Front is a gateway with the router under it.
type Front struct {
	router  *router.Router
	gateway *gateway.Gateway
}

func newFront(e *Env, rows *membudget.Account) *Front {
	store := meta.NewStore(e.LockService)
	r := router.New(router.Config{Meta: store, Network: e.Network, Local: e.Local, Logger: e.Logger,
		Options: router.Options{Dial: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.ForceCodecV2(route.Codec()))}}})
	return &Front{router: r, gateway: gateway.New(gateway.Config{Router: r, Meta: store, Network: e.Network, Logger: e.Logger, Strict: e.Strict, RowMemory: rows})}
}

func (f *Front) close() error { return errors.Join(f.gateway.Close(), f.router.Close()) }

// streamWorkers is how many goroutines are kept for calls of the Bigtable
// service; when all are busy a call gets one of its own. Their stacks have grown
// already: single reads are an eighth faster.
const streamWorkers = 64

// dataServer returns a gRPC server for the Bigtable service.
func dataServer(e *Env, gate *route.Gate) *grpc.Server {
	return rpc.NewServer(e.Logger, rpc.ServerOptions{
		StreamWorkers: streamWorkers,
		More:          []grpc.ServerOption{grpc.ForceServerCodecV2(route.Codec()), grpc.InTapHandle(gate.Tap)},
	})
}

// GatewayNode is a gateway of its own.
type GatewayNode struct {
	front    *Front
	endpoint *endpoint
	memory   *membudget.Budget
}

// Shares of a gateway's memory, in percent. What is left is for what is not
// counted.
const (
	gatewayRequestShare = 30
	gatewayRowShare     = 30
)

// OpenGateway starts a gateway that listens on addr and takes about memory bytes;
// 0: tabletserver.DefaultMemory.
func OpenGateway(e *Env, addr string, memory int64) (*GatewayNode, error) {
	if memory == 0 {
		memory = tabletserver.DefaultMemory
	}
	p, err := listen(e, addr)
	if err != nil {
		return nil, err
	}
	b := membudget.New(memory)
	gate := route.NewGate(b.Account("requests", tabletserver.Share(memory, gatewayRequestShare)))
	n := &GatewayNode{front: newFront(e, b.Account("rows", tabletserver.Share(memory, gatewayRowShare))), endpoint: p, memory: b}
	e.showMemory("gateway", b, gate)
	s := dataServer(e, gate)
	route.Register(s, nil, n.front.gateway, gate)
	n.front.gateway.Register(s)
	p.serve(s)
	return n, nil
}

// Addr is where the gateway listens.
func (n *GatewayNode) Addr() string { return n.endpoint.addr() }

// Memory returns what the parts of the gateway take.
func (n *GatewayNode) Memory() *membudget.Budget { return n.memory }

// RouterStats returns the counters of the gateway.
func (n *GatewayNode) RouterStats() router.Stats { return n.front.router.Stats() }

// Close stops the gateway.
func (n *GatewayNode) Close() error {
	n.endpoint.stop()
	return n.front.close()
}

// Locals finds the tablet servers of a process by their address.
type Locals struct {
	mu    sync.RWMutex
	nodes map[string]route.Server
}

// NewLocals returns an empty Locals.
func NewLocals() *Locals { return &Locals{nodes: map[string]route.Server{}} }

// Find implements Env.Local.
func (l *Locals) Find(addr string) route.Server {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.nodes[addr]
}

func (l *Locals) set(addr string, s route.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == nil {
		delete(l.nodes, addr)
	} else {
		l.nodes[addr] = s
	}
}

// await waits until ctx ends or the channel is closed.
func await(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
