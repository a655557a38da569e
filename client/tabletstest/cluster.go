// Package tabletstest is a cluster of tablet servers small enough for tests of
// what stands in front of them: the router, the gateway, the client. The
// servers keep their rows in memory and implement route.Server in full but for
// filters; the tablets' records are real, in a lock service in memory. A test
// moves, splits, stops and fails tablets by calls instead of a master.
package tabletstest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Cluster is a lock service, tablet servers and their storage.
type Cluster struct {
	Net  *memnet.Net
	LS   lockservice.Client
	Meta *meta.Store

	t       testing.TB
	service *mem.Service

	mu struct {
		sync.Mutex
		servers map[string]*Server
		stores  map[base.TableID]*store
	}
}

// New returns an empty cluster that ends with the test. In a synctest bubble
// call Close before the bubble ends.
func New(t testing.TB) *Cluster {
	s := mem.New(mem.Options{})
	c := &Cluster{Net: memnet.New(), LS: s.Client(), t: t, service: s}
	c.Meta = meta.NewStore(c.LS)
	c.mu.servers = map[string]*Server{}
	c.mu.stores = map[base.TableID]*store{}
	return c
}

// Close stops everything.
func (c *Cluster) Close() {
	for _, s := range c.Servers() {
		s.Stop()
	}
	c.LS.Close()
	c.service.Close()
}

// NewLockService returns another client of the lock service.
func (c *Cluster) NewLockService() lockservice.Client { return c.service.Client() }

// Servers returns the servers that run.
func (c *Cluster) Servers() []*Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*Server
	for _, s := range c.mu.servers {
		out = append(out, s)
	}
	return out
}

// Local returns the server at addr as a router's in-process call needs it.
func (c *Cluster) Local(addr string) route.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.mu.servers[addr]; s != nil {
		return s
	}
	return nil
}

// AddServer starts a tablet server; addr is its name as well. Frontend, if not
// nil, answers calls that are not routed.
func (c *Cluster) AddServer(addr string, frontend route.Frontend, register ...func(*grpc.Server)) *Server {
	c.t.Helper()
	s := &Server{Addr: addr, cluster: c}
	s.mu.tablets = map[base.TabletID]*tablet{}
	lis, err := c.Net.Node(addr).Listen(addr)
	c.must(err)
	s.grpc = rpc.NewServer(slog.New(slog.DiscardHandler), rpc.ServerOptions{More: []grpc.ServerOption{grpc.ForceServerCodecV2(route.Codec()), grpc.WaitForHandlers(true)}})
	route.Register(s.grpc, s, frontend, nil)
	for _, f := range register {
		f(s.grpc)
	}
	s.done.Go(func() { _ = s.grpc.Serve(lis) })
	id, err := c.Meta.NewIDs(c.ctx(), "incarnation", 1)
	c.must(err)
	s.incarnation = base.Incarnation{Generation: 9, Index: id}
	c.put(s.key(), &metapb.ServerRecord{Incarnation: meta.IncarnationProto(s.incarnation), Address: addr})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.servers[addr] = s
	return s
}

func (c *Cluster) ctx() context.Context { return context.Background() }

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) txn(ops ...lockservice.Op) {
	c.t.Helper()
	_, err := c.LS.Txn(c.ctx(), lockservice.Txn{Then: ops})
	c.must(err)
}

func (c *Cluster) put(key string, m proto.Message) {
	c.t.Helper()
	v, err := proto.Marshal(m)
	c.must(err)
	c.txn(lockservice.Put(key, v))
}

// TableName returns the full name of a table of the test's instance.
func TableName(table string) string { return "projects/local/instances/main/tables/" + table }

// CreateTable makes a table of the families "f" and "g" whose tablets are
// served by the servers in turn; without servers they are not served.
func (c *Cluster) CreateTable(name string, splits []string, servers ...*Server) meta.Table {
	c.t.Helper()
	var keys [][]byte
	for _, s := range splits {
		keys = append(keys, []byte(s))
	}
	rec := &metapb.TableRecord{Name: TableName(name), NextFamily: 3,
		Families: []*metapb.Family{{Id: 1, Name: "f"}, {Id: 2, Name: "g"}}}
	t, err := c.Meta.CreateTable(c.ctx(), rec, keys, time.Now())
	c.must(err)
	for i, tb := range c.Tablets(t.ID) {
		if len(servers) > 0 {
			c.Serve(tb, servers[i%len(servers)])
		}
	}
	return t
}

// DropTable deletes the table and its tablets.
func (c *Cluster) DropTable(t meta.Table) {
	c.t.Helper()
	tablets := c.Tablets(t.ID)
	for _, tb := range tablets {
		c.Stop(tb)
	}
	_, err := c.Meta.DeleteTable(c.ctx(), t, time.Now())
	c.must(err)
	t, err = c.Meta.Table(c.ctx(), t.ID)
	c.must(err)
	c.must(c.Meta.DropTablets(c.ctx(), t, c.Tablets(t.ID), true))
}

// Tablets returns the tablets of a table.
func (c *Cluster) Tablets(id base.TableID) []meta.Tablet {
	c.t.Helper()
	tablets, err := c.Meta.Tablets(c.ctx(), id, lockservice.ReadOptions{})
	c.must(err)
	return tablets
}

// TabletOf returns the tablet of a row as it is now.
func (c *Cluster) TabletOf(id base.TableID, row string) meta.Tablet {
	c.t.Helper()
	tablets, err := c.Meta.Locate(c.ctx(), id, []byte(row), 0, lockservice.ReadOptions{})
	c.must(err)
	return tablets[0]
}

// Stop makes the owner stop serving the tablet and its record say so.
func (c *Cluster) Stop(tb meta.Tablet) meta.Tablet {
	c.t.Helper()
	tb = c.TabletOf(tb.Table, string(tb.Start))
	if s, _ := c.Local(tb.OwnerAddress).(*Server); s != nil {
		s.Forget(tb.ID)
	}
	tb.Owner, tb.OwnerAddress, tb.State, tb.Since = base.Incarnation{}, "", meta.Unassigned, time.Now()
	tb.Epoch++
	c.put(tb.Key(), tb.Proto())
	return tb
}

// Assign makes the record say that s loads the tablet.
func (c *Cluster) Assign(tb meta.Tablet, s *Server) meta.Tablet {
	c.t.Helper()
	tb.Owner, tb.OwnerAddress, tb.State, tb.Since = s.incarnation, s.Addr, meta.Assigned, time.Now()
	tb.Epoch++
	c.put(tb.Key(), tb.Proto())
	return tb
}

// Serve makes s serve the tablet and the record say so.
func (c *Cluster) Serve(tb meta.Tablet, s *Server) meta.Tablet {
	c.t.Helper()
	tb = c.Assign(tb, s)
	tb.State = meta.Serving
	s.learn(tb)
	c.put(tb.Key(), tb.Proto())
	return tb
}

// Move moves the tablet to s as it is done in a cluster: stopped, released,
// assigned, loaded.
func (c *Cluster) Move(tb meta.Tablet, s *Server) meta.Tablet { return c.Serve(c.Stop(tb), s) }

// Split cuts the tablet at row; its owner serves both halves.
func (c *Cluster) Split(tb meta.Tablet, row string) (left, right meta.Tablet) {
	c.t.Helper()
	tb = c.TabletOf(tb.Table, string(tb.Start))
	s, _ := c.Local(tb.OwnerAddress).(*Server)
	if s == nil || !tb.Contains([]byte(row)) || bytes.Equal(tb.Start, []byte(row)) {
		c.t.Fatalf("tablet %d at %q cannot be split at %q", tb.ID, tb.OwnerAddress, row)
	}
	first, err := c.Meta.NewIDs(c.ctx(), "tablet", 2)
	c.must(err)
	left, right = tb, tb
	left.ID, left.End = base.TabletID(first), []byte(row)
	right.ID, right.Start = base.TabletID(first+1), []byte(row)
	s.Forget(tb.ID)
	s.learn(left)
	s.learn(right)
	c.replace([]meta.Tablet{tb}, left, right)
	return left, right
}

// Merge joins a tablet with the one to its right, at the owner of the left.
func (c *Cluster) Merge(left, right meta.Tablet) meta.Tablet {
	c.t.Helper()
	left, right = c.TabletOf(left.Table, string(left.Start)), c.TabletOf(right.Table, string(right.Start))
	s := c.Local(left.OwnerAddress).(*Server)
	id, err := c.Meta.NewIDs(c.ctx(), "tablet", 1)
	c.must(err)
	both := left
	both.ID, both.End = base.TabletID(id), right.End
	both.Epoch = max(left.Epoch, right.Epoch) + 1
	s.Forget(left.ID)
	c.Local(right.OwnerAddress).(*Server).Forget(right.ID)
	s.learn(both)
	c.replace([]meta.Tablet{left, right}, both)
	return both
}

// replace writes tablets in the place of others, in one transaction.
func (c *Cluster) replace(old []meta.Tablet, now ...meta.Tablet) {
	c.t.Helper()
	var ops []lockservice.Op
	for _, o := range old {
		ops = append(ops, lockservice.Delete(o.Key()))
	}
	for _, n := range now {
		v, err := proto.Marshal(n.Proto())
		c.must(err)
		ops = append(ops, lockservice.Put(n.Key(), v))
	}
	c.txn(ops...)
}

func (c *Cluster) store(id base.TableID) *store {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.stores[id]
	if s == nil {
		s = newStore()
		c.mu.stores[id] = s
	}
	return s
}

// Key is where the record of the server is.
func (s *Server) key() string { return fmt.Sprintf("%s%v", meta.ServerPrefix, s.incarnation) }
