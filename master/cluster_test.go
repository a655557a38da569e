package master_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	lsmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	osmem "github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

const (
	ttl     = 10 * time.Second // the lock service's default
	parent  = "projects/p/instances/i"
	tblName = parent + "/tables/t"
)

// cluster is a lock service, a bucket, a network, servers and masters, all in
// one bubble.
type cluster struct {
	t       *testing.T
	ctx     context.Context
	log     *slog.Logger
	logged  *syncBuffer
	service *lsmem.Service
	ls      *lsmem.Client
	meta    *meta.Store
	store   objstore.Store
	net     *memnet.Net
	servers []*server
	masters []*candidate

	mu struct {
		sync.Mutex
		acked     map[base.TabletID]map[base.Seq]bool
		manifests map[base.FileNumber]map[base.Seq]bool
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newCluster returns an empty cluster; the caller closes it within the bubble.
func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, ctx: t.Context(), logged: &syncBuffer{}, service: lsmem.New(lsmem.Options{}), store: osmem.New(), net: memnet.New()}
	c.log = slog.New(slog.NewTextHandler(c.logged, nil))
	c.ls = c.service.Client()
	c.meta = meta.NewStore(c.ls)
	c.mu.acked = map[base.TabletID]map[base.Seq]bool{}
	c.mu.manifests = map[base.FileNumber]map[base.Seq]bool{}
	return c
}

func (c *cluster) close() {
	for _, m := range c.masters {
		m.close()
	}
	for _, s := range c.servers {
		s.stop()
		s.ls.Close()
	}
	c.ls.Close()
	c.service.Close()
	for _, bad := range []string{"mirror differed", "panicked", "corrupt"} {
		if strings.Contains(c.logged.String(), bad) {
			c.t.Errorf("logged: %s", bad)
		}
	}
	if c.t.Failed() {
		c.t.Logf("log:\n%s", c.logged.String())
	}
}

// candidate is a master process.
type candidate struct {
	*master.Master
	c      *cluster
	name   string
	ls     *lsmem.Client
	grpc   *grpc.Server
	conn   *grpc.ClientConn
	client controlpb.MasterClient
	once   sync.Once
}

// master starts a master process; adjust, if not nil, changes its configuration.
func (c *cluster) master(name string, adjust func(*master.Config)) *candidate {
	c.t.Helper()
	m := &candidate{c: c, name: name, ls: c.service.Client()}
	cfg := master.Config{
		LockService: m.ls, Store: c.store, Network: c.net.Node(name), Address: name + ":1", ClusterID: "test",
		Logger: c.log.With("master", name), Options: master.Options{KeepDeleted: -1},
	}
	if adjust != nil {
		adjust(&cfg)
	}
	var err error
	if m.Master, err = master.Open(cfg); err != nil {
		c.t.Fatal(err)
	}
	l, err := c.net.Node(name).Listen(name + ":1")
	if err != nil {
		c.t.Fatal(err)
	}
	m.grpc = rpc.NewServer(cfg.Logger, rpc.ServerOptions{})
	m.Register(m.grpc)
	go m.grpc.Serve(l)
	if m.conn, err = rpc.Dial(c.net.Node("client"), name+":1"); err != nil {
		c.t.Fatal(err)
	}
	m.client = controlpb.NewMasterClient(m.conn)
	c.masters = append(c.masters, m)
	return m
}

func (m *candidate) close() {
	m.once.Do(func() {
		m.grpc.Stop()
		m.Close()
		m.ls.Close()
		m.conn.Close()
	})
}

// crash is the death of a master process: nothing is handed over.
func (m *candidate) crash() {
	m.ls.Close() // abandons its session
	m.close()
}

func (c *cluster) manifest(f base.FileNumber) map[base.Seq]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rows := c.mu.manifests[f]; rows != nil {
		return maps.Clone(rows)
	}
	return map[base.Seq]bool{}
}

func (c *cluster) setManifest(f base.FileNumber, rows map[base.Seq]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.manifests[f] = rows
}

func (c *cluster) acknowledge(id base.TabletID, seq base.Seq) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.acked[id] == nil {
		c.mu.acked[id] = map[base.Seq]bool{}
	}
	if c.mu.acked[id][seq] {
		c.t.Errorf("sequence %d of tablet %d was acknowledged twice", seq, id)
	}
	c.mu.acked[id][seq] = true
}

// check fails where a server that answers reads does not show an acknowledged
// write: lost, or stale because another acknowledged it.
func (c *cluster) check() {
	c.t.Helper()
	c.mu.Lock()
	acked := maps.Clone(c.mu.acked)
	c.mu.Unlock()
	for _, s := range c.servers {
		for id, seqs := range acked {
			rows, ok := s.read(id)
			if !ok {
				continue
			}
			c.mu.Lock()
			for seq := range seqs {
				if !rows[seq] {
					c.t.Errorf("%s does not show sequence %d of tablet %d at %v", s.name, seq, id, time.Now())
				}
			}
			c.mu.Unlock()
		}
	}
}

// await waits, in fake time, until cond holds, checking all the while, and
// returns how long it took.
func (c *cluster) await(what string, limit time.Duration, cond func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > limit {
			c.t.Fatalf("not within %v: %s\n%s", limit, what, c.logged.String())
		}
		time.Sleep(20 * time.Millisecond)
		c.check()
	}
	return time.Since(start)
}

func (c *cluster) tablets() []meta.Tablet {
	c.t.Helper()
	all, _, err := c.meta.All(c.ctx, lockservice.ReadOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// owners counts the tablets each incarnation serves.
func (c *cluster) owners() map[base.Incarnation]int {
	n := map[base.Incarnation]int{}
	for _, tb := range c.tablets() {
		if tb.State == meta.Serving {
			n[tb.Owner]++
		}
	}
	return n
}

// allServed reports whether every tablet is served by a live server that knows
// it.
func (c *cluster) allServed() bool {
	for _, tb := range c.tablets() {
		if tb.State != meta.Serving {
			return false
		}
		ok := false
		for _, s := range c.servers {
			if s.e() == tb.Owner {
				_, ok = s.read(tb.ID)
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

func createRequest(splits int) *adminpb.CreateTableRequest {
	req := &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{
		ColumnFamilies: map[string]*adminpb.ColumnFamily{"f": {}},
	}}
	for i := range splits {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: fmt.Appendf(nil, "%05d", i)})
	}
	return req
}

// create makes a table of n tablets through m.
func (c *cluster) create(m *candidate, n int) {
	c.t.Helper()
	c.await("active master", time.Minute, m.Active)
	ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
	defer cancel()
	if _, err := m.client.CreateTable(ctx, createRequest(n-1)); err != nil {
		c.t.Fatal(err)
	}
	for _, tb := range c.tablets() {
		if tb.State != meta.Serving {
			c.t.Fatal("CreateTable returned before the tablets were served")
		}
	}
	c.await("servers ready", time.Second, c.allServed)
}

// writeAll writes a record to every tablet that somebody serves.
func (c *cluster) writeAll() {
	for _, s := range c.servers {
		for _, id := range s.serving() {
			s.write(id)
		}
	}
}

func (c *cluster) status(m *candidate) *controlpb.ClusterStatusResponse {
	c.t.Helper()
	r, err := m.client.ClusterStatus(c.ctx, &controlpb.ClusterStatusRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}
