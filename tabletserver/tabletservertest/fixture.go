// Package tabletservertest runs tablet servers without a master: tests give
// and take tablets themselves, step by step, by the transactions of package
// meta.
package tabletservertest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	storemem "github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/wal"
)

// Fixture is a lock service, a bucket and the servers that a test opens. It is
// meant for synctest bubbles.
type Fixture struct {
	T     testing.TB
	Lock  *lockmem.Service
	Store objstore.Store
	Meta  *meta.Store // of the test, which plays the master
	// Options are given to every server that is opened.
	Options tabletserver.Options
	// LogStore, if set, is the store for the logs that servers write.
	LogStore objstore.Store
	// Over, if set, is put over the store of each server, such as a cache.
	Over func(objstore.Store) objstore.Store
	// Net, if set, is where the servers that are opened answer gRPC, at their
	// addresses, data and control, and how they reach workers. Each server is a
	// node of its name, ts1 and so on, and each worker of its own.
	Net *memnet.Net

	servers []*Server
	workers []*Worker
	names   int
}

// Server is a tablet server of a fixture. What it works with is its own, so
// that a test can make it fail for this server alone.
type Server struct {
	*tabletserver.Server
	F        *Fixture
	Lock     *lockmem.Client
	Store    *Spy
	LogStore *Spy
	Name     string
	Addr     string

	client *client
	grpc   *grpc.Server // nil: it answers no gRPC
}

// TTL of the sessions of servers.
const TTL = 5 * time.Second

// New returns a fixture over memory. Its Close, which the test need not call,
// kills all servers.
func New(t testing.TB) *Fixture { return NewWith(t, lockmem.Options{}) }

// NewWith is New with a lock service of the test's choice.
func NewWith(t testing.TB, o lockmem.Options) *Fixture {
	f := &Fixture{T: t, Lock: lockmem.New(o), Store: storemem.New()}
	f.Meta = meta.NewStore(f.Lock.Client())
	f.Options = tabletserver.Options{SessionTTL: TTL, MemtableBytes: 64 << 20, CacheBytes: 1 << 20}
	return f
}

// Close kills the servers that still run and stops the lock service.
func (f *Fixture) Close() {
	for _, s := range f.servers {
		s.Kill()
		if s.grpc != nil {
			s.grpc.Stop()
		}
	}
	for _, w := range f.workers {
		w.Kill()
	}
	f.Lock.Close()
}

// Must fails the test at an error.
func (f *Fixture) Must(err error) {
	f.T.Helper()
	if err != nil {
		f.T.Fatal(err)
	}
}

// Open opens a server.
func (f *Fixture) Open(ctx context.Context) *Server {
	f.T.Helper()
	f.names++
	log := f.Store
	if f.LogStore != nil {
		log = f.LogStore
	}
	x := &Server{F: f, Lock: f.Lock.Client(), Store: NewSpy(f.Store), LogStore: NewSpy(log)}
	x.client = &client{Client: x.Lock}
	var store objstore.Store = x.Store
	if f.Over != nil {
		store = f.Over(store)
	}
	name := fmt.Sprintf("ts%d", f.names)
	x.Name = name
	var err error
	x.Addr = name + ":1"
	x.Server, err = tabletserver.Open(ctx, tabletserver.Config{
		LockService: x.client, Store: store, LogStore: x.LogStore, Address: x.Addr, Name: name,
		Logger: f.Logger(), Options: f.Options, Network: f.network(name),
	})
	f.Must(err)
	if f.Net != nil {
		f.listen(x, name)
	}
	f.servers = append(f.servers, x)
	return x
}

// listen makes a server answer gRPC.
func (f *Fixture) listen(x *Server, node string) {
	l, err := f.Net.Node(node).Listen(x.Addr)
	f.Must(err)
	x.grpc = rpc.NewServer(f.Logger(), rpc.ServerOptions{More: []grpc.ServerOption{grpc.ForceServerCodecV2(route.Codec())}})
	route.Register(x.grpc, x.Server, nil, nil)
	controlpb.RegisterTabletServerServer(x.grpc, x.Control())
	go x.grpc.Serve(l) // until Close
}

// network is the network of a server; nil: it has none.
func (f *Fixture) network(name string) rpc.Network {
	if f.Net == nil {
		return nil
	}
	return f.Net.Node(name)
}

// Server returns the server of an incarnation, if it still runs; else nil.
func (f *Fixture) Server(e base.Incarnation) *Server {
	for _, s := range f.servers {
		select {
		case <-s.Done():
		default:
			if s.Incarnation() == e {
				return s
			}
		}
	}
	return nil
}

// Logger returns a logger that discards everything.
func (f *Fixture) Logger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Deafen makes the server a process that does not notice what happens to its
// session: it believes it safe until Hear. All else goes on, so that what
// fences it is the transactions and the log alone.
func (s *Server) Deafen() { s.setDeaf(true) }

// Hear lets the server notice what it missed.
func (s *Server) Hear() { s.setDeaf(false) }

func (s *Server) setDeaf(on bool) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	for _, x := range s.client.sessions {
		x.setDeaf(on)
	}
}

// AfterGet calls f once, after the server has read the next key with the prefix
// from the lock service and before it gets to see it.
func (s *Server) AfterGet(prefix string, f func()) {
	s.setAfterGet(func(key string) {
		if strings.HasPrefix(key, prefix) {
			s.setAfterGet(nil)
			f()
		}
	})
}

func (s *Server) setAfterGet(f func(string)) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.client.afterGet = f
}

// HoldWatches stops the server's watches, until the function that is returned
// is called: its cache of schemas grows old.
func (s *Server) HoldWatches() (release func()) {
	gate := make(chan struct{})
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.client.watching = gate
	return func() {
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		s.client.watching = nil
		close(gate)
	}
}

// CreateTable stores a table with the families cf (all versions) and v1 (one
// version), and the initial splits.
func (f *Fixture) CreateTable(ctx context.Context, splits ...string) meta.Table {
	f.T.Helper()
	var keys [][]byte
	for _, s := range splits {
		keys = append(keys, []byte(s))
	}
	f.names++
	t, err := f.Meta.CreateTable(ctx, &metapb.TableRecord{
		Name: fmt.Sprintf("projects/p/instances/i/tables/t%d", f.names),
		Families: []*metapb.Family{
			{Id: 1, Name: "cf"},
			{Id: 2, Name: "v1", GcRule: &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: 1}}},
		},
		NextFamily: 3,
	}, keys, time.Now())
	f.Must(err)
	return t
}

// Tablets returns the tablets of a table in order.
func (f *Fixture) Tablets(ctx context.Context, t meta.Table) []meta.Tablet {
	f.T.Helper()
	list, err := f.Meta.Tablets(ctx, t.ID, lockservice.ReadOptions{})
	f.Must(err)
	return list
}

// Assign gives a tablet to a server in meta, without telling the server.
func (f *Fixture) Assign(ctx context.Context, t meta.Tablet, s *Server) meta.Tablet {
	f.T.Helper()
	done, err := f.Meta.Commit(ctx, meta.Assign(t, meta.Server{Incarnation: s.Incarnation(), Address: s.Addr}, time.Now()))
	f.Must(err)
	return done[0]
}

// Tell sends the hint that makes a server load a tablet.
func (f *Fixture) Tell(ctx context.Context, t meta.Tablet, s *Server) {
	f.T.Helper()
	_, err := s.Control().Load(ctx, &controlpb.LoadRequest{Tablets: []*controlpb.TabletID{{
		Table: uint64(t.Table), Tablet: uint64(t.ID), End: t.End, Tepoch: uint64(t.Epoch),
	}}})
	f.Must(err)
}

// Serve assigns a tablet to a server and waits until it is served.
func (f *Fixture) Serve(ctx context.Context, t meta.Tablet, s *Server) meta.Tablet {
	f.T.Helper()
	t = f.Assign(ctx, t, s)
	f.Tell(ctx, t, s)
	return f.AwaitServing(ctx, t)
}

// AwaitServing waits until the record says that the tablet is served.
func (f *Fixture) AwaitServing(ctx context.Context, t meta.Tablet) meta.Tablet {
	f.T.Helper()
	for range 1000 {
		now, err := f.Meta.Tablet(ctx, t.Table, t.End, t.ID)
		f.Must(err)
		if now.State == meta.Serving && now.Epoch >= t.Epoch {
			return now
		}
		time.Sleep(10 * time.Millisecond) // fake time
	}
	f.T.Fatalf("tablet %d is not served", t.ID)
	return t
}

// Seal takes the dead server's log through SEALING to SEALED.
func (f *Fixture) Seal(ctx context.Context, e base.Incarnation) {
	f.T.Helper()
	l, err := f.Meta.BeginSeal(ctx, e)
	f.Must(err)
	end, err := wal.Seal(ctx, f.Store, e, l.Low, e)
	f.Must(err)
	l, err = f.Meta.EndSeal(ctx, e, end)
	f.Must(err)
	f.Must(wal.WriteIndex(ctx, f.Store, e, l.Low, l.End))
}

// Bump takes a tablet from its dead owner.
func (f *Fixture) Bump(ctx context.Context, t meta.Tablet) meta.Tablet {
	f.T.Helper()
	t, err := f.Meta.Tablet(ctx, t.Table, t.End, t.ID)
	f.Must(err)
	done, err := f.Meta.Commit(ctx, meta.Bump(t, time.Now()))
	f.Must(err)
	return done[0]
}

// Expire makes the lock service end the session of e, as if its TTL were over.
func (f *Fixture) Expire(ctx context.Context, e base.Incarnation) {
	f.T.Helper()
	f.Must(f.Lock.Client().Revoke(ctx, e, true))
}

// Record reads the record of a tablet.
func (f *Fixture) Record(ctx context.Context, t meta.Tablet) meta.Tablet {
	f.T.Helper()
	t, err := f.Meta.Tablet(ctx, t.Table, t.End, t.ID)
	f.Must(err)
	return t
}

// records reads the records that a server answered with.
func (f *Fixture) records(ctx context.Context, table base.TableID, ids ...*controlpb.TabletID) ([]meta.Tablet, error) {
	var list []meta.Tablet
	for _, x := range ids {
		t, err := f.Meta.Tablet(ctx, table, x.End, base.TabletID(x.Tablet))
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// Move releases a tablet at its server and serves it at to.
func (f *Fixture) Move(ctx context.Context, t meta.Tablet, from, to *Server) meta.Tablet {
	f.T.Helper()
	f.Must(from.Unload(ctx, t))
	return f.Serve(ctx, f.Record(ctx, t), to)
}

// FailOver ends the session of the tablet's owner and serves it elsewhere.
func (f *Fixture) FailOver(ctx context.Context, t meta.Tablet, to *Server) meta.Tablet {
	f.T.Helper()
	f.Expire(ctx, t.Owner)
	dead := t.Owner
	t = f.Bump(ctx, t)
	f.Seal(ctx, dead)
	return f.Serve(ctx, t, to)
}
