package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lockclient "github.com/tabletdb/tabletdb/lockservice/client"
	lockserver "github.com/tabletdb/tabletdb/lockservice/server"
	"github.com/tabletdb/tabletdb/lockservice/session"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/cluster"
	storemem "github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
)

// Config describes a whole cluster in one process.
type Config struct {
	// Dir holds everything durable: the lock service's state, and the bucket
	// where Store does not say otherwise. "" keeps both in memory.
	Dir string
	// StoreURL is the bucket; "" means Dir/store. Store, if not nil, is taken
	// instead, for tests.
	StoreURL     string
	StoreOptions openstore.Options
	Store        objstore.Store
	// Cache is the page cache of the process, which all its nodes share.
	Cache CacheConfig

	// LockServers, Masters and TabletServers are how many of each there are;
	// 1, 1 and 2.
	LockServers, Masters, TabletServers int
	// Compactors is how many workers compact for the tablet servers; 0: these
	// do it themselves.
	Compactors int
	// LockAddr is where the first lock server listens (the others on ports of
	// their own), GatewayAddr where the Bigtable endpoint is. "" is any port
	// of the loopback interface; GatewayAddr "none" leaves it out.
	LockAddr, GatewayAddr string

	// LogStore, if not nil, returns the store for the log of a node, for tests
	// in which the bucket fails for one of them.
	LogStore func(name string) objstore.Store

	// Node returns the network as a node sees it; nil: TCP for all.
	Node func(name string) rpc.Network
	// Host is the host part of addresses; "" means 127.0.0.1.
	Host   string
	Clock  session.Clock
	Logger *slog.Logger
	// Registerer takes the metrics of the bucket and the master; nil: none.
	Registerer prometheus.Registerer
	Version    string
	// StatusAddress is where the status pages of the process are; "": nowhere.
	StatusAddress string
	Strict        bool // see Env
	// Zones are given to tablet servers in turn; none: they have none.
	Zones []string

	// GatewayMemory is about what the gateway may take, in bytes; 0:
	// tabletserver.DefaultMemory.
	GatewayMemory int64

	Lock      lockserver.Options
	Master    master.Options
	Tablet    tabletserver.Options
	Compactor offload.WorkerOptions
}

func (c *Config) ensureDefaults() {
	for _, n := range []*int{&c.LockServers, &c.Masters} {
		*n = max(*n, 1)
	}
	if c.TabletServers == 0 {
		c.TabletServers = 2
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Node == nil {
		c.Node = func(string) rpc.Network { return rpc.TCP{} }
	}
	if c.Tablet.SessionTTL == 0 {
		c.Tablet.SessionTTL = SessionTTL
	}
	if c.Master.TTL == 0 {
		c.Master.TTL = SessionTTL
	}
	if c.Compactor.SessionTTL == 0 {
		c.Compactor.SessionTTL = SessionTTL
	}
}

// SessionTTL is the default TTL of the sessions of tablet servers and masters:
// after a server falls silent its tablets are served elsewhere within it and
// the time of a recovery.
const SessionTTL = 5 * time.Second

// Cluster is a whole cluster in one process. Its methods may be called
// concurrently.
type Cluster struct {
	cfg    Config
	lock   *os.File // held while the cluster runs on a directory
	bucket *Bucket
	id     cluster.ID
	locals *Locals
	admin  lockservice.Client

	mu struct {
		sync.Mutex
		locks   []*lockserver.Server
		members []lockserver.Member
		masters []*role[*MasterNode]
		tablets []*role[*TabletNode]
		gateway *GatewayNode
		clients []lockservice.Client
		started int // tablet servers ever started

		compactors        []*CompactorNode
		compactorsStarted int
	}
}

// role is a node with its own client of the lock service.
type role[T any] struct {
	name string
	node T
	ls   lockservice.Client
}

// Open starts a cluster and returns when its lock service has a leader and its
// tablet servers are registered.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg.ensureDefaults()
	c := &Cluster{cfg: cfg, locals: NewLocals()}
	if err := c.open(ctx); err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) open(ctx context.Context) (err error) {
	if err := c.claimDir(); err != nil {
		return err
	}
	if c.bucket, err = c.openBucket(ctx); err != nil {
		return err
	}
	if err := c.openLockService(ctx); err != nil {
		return err
	}
	if c.admin, err = c.client("admin"); err != nil {
		return err
	}
	if c.id, err = Join(ctx, c.admin, c.bucket); err != nil {
		return err
	}
	if err := c.bucket.Cache(c.cfg.Cache, c.id, c.cfg.Registerer, c.cfg.Logger); err != nil {
		return err
	}
	if err := c.buryTheDead(ctx); err != nil {
		return err
	}
	for range c.cfg.Masters {
		if err := c.StartMaster(); err != nil {
			return err
		}
	}
	for range c.cfg.TabletServers {
		if _, err := c.StartTabletServer(ctx); err != nil {
			return err
		}
	}
	for range c.cfg.Compactors {
		if _, err := c.StartCompactor(ctx); err != nil {
			return err
		}
	}
	return c.openGateway()
}

// claimDir makes sure that one process at a time runs a cluster on the
// directory.
func (c *Cluster) claimDir() error {
	if c.cfg.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(c.cfg.Dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("data directory %s is used by another process: %w", c.cfg.Dir, err)
	}
	c.lock = f
	return nil
}

func (c *Cluster) openBucket(ctx context.Context) (*Bucket, error) {
	switch {
	case c.cfg.Store != nil:
		return NewBucket(c.cfg.Store, "test:", c.cfg.Registerer)
	case c.cfg.StoreURL != "":
		return OpenBucket(ctx, c.cfg.StoreURL, c.cfg.StoreOptions, c.cfg.Registerer, c.cfg.Logger)
	case c.cfg.Dir == "":
		return NewBucket(storemem.New(), "mem:", c.cfg.Registerer)
	}
	dir, err := filepath.Abs(filepath.Join(c.cfg.Dir, "store"))
	if err != nil {
		return nil, err
	}
	return OpenBucket(ctx, "file://"+dir, c.cfg.StoreOptions, c.cfg.Registerer, c.cfg.Logger)
}

// addr returns an address for a node: the wanted one, or any port.
func (c *Cluster) addr(want string) string {
	if want != "" {
		return want
	}
	return c.cfg.Host + ":0"
}

func (c *Cluster) openLockService(ctx context.Context) error {
	for i := range c.cfg.LockServers {
		want := ""
		if i == 0 {
			want = c.cfg.LockAddr
		}
		name := fmt.Sprintf("lock%d", i+1)
		// Members must know each other's ports before they start.
		l, err := c.cfg.Node(name).Listen(c.addr(want))
		if err != nil {
			return fmt.Errorf("lock service: %w", err)
		}
		l.Close()
		c.mu.members = append(c.mu.members, lockserver.Member{ID: name, Address: l.Addr().String()})
	}
	c.mu.locks = make([]*lockserver.Server, c.cfg.LockServers)
	for i := range c.mu.locks {
		if err := c.StartLockServer(i); err != nil {
			return err
		}
	}
	return nil
}

// StartLockServer starts lock server i, which does not run.
func (c *Cluster) StartLockServer(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.mu.members[i]
	o := c.cfg.Lock
	o.Bootstrap = c.mu.members
	dir := ""
	if c.cfg.Dir != "" {
		dir = filepath.Join(c.cfg.Dir, m.ID)
	}
	s, err := lockserver.Open(lockserver.Config{
		ID: m.ID, Address: m.Address, Network: c.cfg.Node(m.ID), Dir: dir, StatusAddress: c.cfg.StatusAddress,
		WinGeneration: func(ctx context.Context) (uint32, error) { return cluster.WinGeneration(ctx, c.bucket.Data, 1) },
		Logger:        c.cfg.Logger.With("role", "lockservice", "id", m.ID),
	}, o)
	if err != nil {
		return fmt.Errorf("lock service: %w", err)
	}
	c.mu.locks[i] = s
	return nil
}

// StopLockServer stops lock server i without warning.
func (c *Cluster) StopLockServer(i int) error {
	c.mu.Lock()
	s := c.mu.locks[i]
	c.mu.locks[i] = nil
	c.mu.Unlock()
	return s.Close()
}

// LockEndpoints returns the addresses of the lock service.
func (c *Cluster) LockEndpoints() []string {
	var list []string
	for _, m := range c.mu.members {
		list = append(list, m.Address)
	}
	return list
}

// client returns a new client of the lock service for the named node.
func (c *Cluster) client(name string) (lockservice.Client, error) {
	ls, err := lockclient.New(lockclient.Config{
		Endpoints: c.LockEndpoints(), Network: c.cfg.Node(name), Logger: c.cfg.Logger, Clock: c.cfg.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("client of the lock service: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.clients = append(c.mu.clients, ls)
	return ls, nil
}

// buryTheDead ends the sessions that an earlier process on this directory has
// left behind. It holds the directory's lock, which proves that process dead;
// so nobody needs to wait for their leases (R15).
func (c *Cluster) buryTheDead(ctx context.Context) error {
	if c.lock == nil {
		return nil
	}
	sessions, _, err := c.admin.Sessions(ctx)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	for _, s := range sessions {
		if err := c.admin.Revoke(ctx, s.ID, true); err != nil {
			return fmt.Errorf("end session %v of an earlier process: %w", s.ID, err)
		}
	}
	return nil
}

func (c *Cluster) env(name string) (*Env, error) {
	ls, err := c.client(name)
	if err != nil {
		return nil, err
	}
	bucket := *c.bucket
	if c.cfg.LogStore != nil {
		bucket.Log = c.cfg.LogStore(name)
	}
	return &Env{
		Network: c.cfg.Node(name), LockService: ls, Bucket: &bucket, ClusterID: c.id.String(),
		Logger: c.cfg.Logger, Version: c.cfg.Version, Strict: c.cfg.Strict, Local: c.locals.Find, StatusAddress: c.cfg.StatusAddress,
	}, nil
}

// StartMaster adds a master.
func (c *Cluster) StartMaster() error {
	c.mu.Lock()
	name := fmt.Sprintf("master%d", len(c.mu.masters)+1)
	c.mu.Unlock()
	e, err := c.env(name)
	if err != nil {
		return err
	}
	if name == "master1" {
		e.Registerer = c.cfg.Registerer
	}
	n, err := OpenMaster(e, c.addr(""), c.cfg.Master)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.masters = append(c.mu.masters, &role[*MasterNode]{name, n, e.LockService})
	return nil
}

// Masters returns the masters.
func (c *Cluster) Masters() []*MasterNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*MasterNode
	for _, r := range c.mu.masters {
		list = append(list, r.node)
	}
	return list
}

// StartTabletServer adds a tablet server.
func (c *Cluster) StartTabletServer(ctx context.Context) (*TabletNode, error) {
	c.mu.Lock()
	c.mu.started++
	name, zone := fmt.Sprintf("tablet%d", c.mu.started), ""
	if n := len(c.cfg.Zones); n > 0 {
		zone = c.cfg.Zones[(c.mu.started-1)%n]
	}
	c.mu.Unlock()
	e, err := c.env(name)
	if err != nil {
		return nil, err
	}
	if c.cfg.Registerer != nil { // several servers share the process's registry
		e.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"node": name}, c.cfg.Registerer)
	}
	n, err := OpenTabletServer(ctx, e, TabletConfig{Addr: c.addr(""), Name: name, Zone: zone, StatusAddress: c.cfg.StatusAddress, Options: c.cfg.Tablet, Locals: c.locals})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.tablets = append(c.mu.tablets, &role[*TabletNode]{name, n, e.LockService})
	return n, nil
}

// TabletServers returns the tablet servers that run.
func (c *Cluster) TabletServers() []*TabletNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*TabletNode
	for _, r := range c.mu.tablets {
		list = append(list, r.node)
	}
	return list
}

// KillTabletServer stops a tablet server as the death of its process would;
// nobody is told.
func (c *Cluster) KillTabletServer(n *TabletNode) {
	c.removeTablet(n)
	n.Kill()
}

// StopTabletServer stops a tablet server in an orderly way.
func (c *Cluster) StopTabletServer(ctx context.Context, n *TabletNode) error {
	c.removeTablet(n)
	return n.Close(ctx)
}

func (c *Cluster) removeTablet(n *TabletNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range c.mu.tablets {
		if r.node == n {
			c.mu.tablets = append(c.mu.tablets[:i:i], c.mu.tablets[i+1:]...)
			return
		}
	}
}

// GatewayName is the name of the gateway's node, as Config.Node is told it.
const GatewayName = "gateway"

func (c *Cluster) openGateway() error {
	if c.cfg.GatewayAddr == "none" {
		return nil
	}
	e, err := c.env(GatewayName)
	if err != nil {
		return err
	}
	n, err := OpenGateway(e, c.addr(c.cfg.GatewayAddr), c.cfg.GatewayMemory)
	if err != nil {
		return err
	}
	c.mu.gateway = n
	return nil
}

// Gateway returns the address of the Bigtable endpoint.
func (c *Cluster) Gateway() string { return c.mu.gateway.Addr() }

// RouterStats returns the counters of the Bigtable endpoint.
func (c *Cluster) RouterStats() router.Stats {
	if c.mu.gateway == nil {
		return router.Stats{}
	}
	return c.mu.gateway.RouterStats()
}

// Memory returns the budgets of all nodes that have one, by name.
func (c *Cluster) Memory() map[string]*membudget.Budget {
	m := map[string]*membudget.Budget{}
	for _, n := range c.TabletServers() {
		m[n.Name()] = n.Memory()
	}
	if c.mu.gateway != nil {
		m["gateway"] = c.mu.gateway.Memory()
	}
	return m
}

// Env returns an environment for tools that run beside the cluster.
func (c *Cluster) Env(name string) (*Env, error) { return c.env(name) }

// Bucket returns the bucket.
func (c *Cluster) Bucket() *Bucket { return c.bucket }

// ID returns the id of the cluster.
func (c *Cluster) ID() string { return c.id.String() }

// Close stops the cluster in an orderly way: what is in memory is flushed, so
// that the next start has nothing to recover.
func (c *Cluster) Close(ctx context.Context) error {
	var errs []error
	if c.mu.gateway != nil {
		errs = append(errs, c.mu.gateway.Close())
	}
	for _, n := range c.Masters() {
		errs = append(errs, n.Close())
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, n := range c.TabletServers() {
		wg.Go(func() {
			err := n.Close(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	for _, n := range c.Compactors() {
		errs = append(errs, n.Close(ctx))
	}
	return errors.Join(append(errs, c.closeBase())...)
}

// Kill stops the cluster as the death of its process would.
func (c *Cluster) Kill() {
	if c.mu.gateway != nil {
		c.mu.gateway.endpoint.cut()
		c.mu.gateway.front.close()
	}
	for _, n := range c.TabletServers() {
		n.Kill()
	}
	for _, n := range c.Compactors() {
		n.Kill()
	}
	for _, n := range c.Masters() {
		n.Close()
	}
	c.closeBase()
}

// closeBase stops what the roles stand on.
func (c *Cluster) closeBase() error {
	var errs []error
	for _, ls := range c.mu.clients {
		errs = append(errs, ls.Close())
	}
	for _, s := range c.mu.locks {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if c.bucket != nil {
		errs = append(errs, c.bucket.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	return errors.Join(errs...)
}
