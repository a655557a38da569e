package protocol_test

import (
	"context"
	"slices"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/gateway"
	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
)

// office is a gateway, and tabletadm, with one connection to the lock service,
// and a client of it.
type office struct {
	lock    *lockmem.Client
	tables  adminpb.BigtableTableAdminClient
	service *snapshot.Service
	close   func()
}

// office opens an office under a name of its own. The servers of the fixture
// answer gRPC. The caller closes it.
func (b *bubble) office(name string) *office {
	b.t.Helper()
	o := &office{lock: b.Lock.Client()}
	network, store := b.Net.Node(name), meta.NewStore(o.lock)
	r := router.New(router.Config{Meta: store, Network: network})
	g := gateway.New(gateway.Config{Router: r, Meta: store, Network: network})
	o.service = snapshot.New(store, network)
	l, err := network.Listen(name + ":1")
	b.Must(err)
	s := rpc.NewServer(b.Logger(), rpc.ServerOptions{})
	g.Register(s)
	go s.Serve(l)
	cc, err := rpc.Dial(b.Net.Node("client"), name+":1")
	b.Must(err)
	o.tables = adminpb.NewBigtableTableAdminClient(cc)
	o.close = func() {
		cc.Close()
		s.Stop()
		g.Close()
		r.Close()
		o.lock.Close()
	}
	return o
}

// serveClones does for all tables but one what a master would, until ctx ends:
// their tablets are served where at says.
func (b *bubble) serveClones(ctx context.Context, but meta.Table, at func() string) (done <-chan error) {
	return b.background(func() error {
		for ctx.Err() == nil {
			list, _, err := b.Meta.All(ctx, lockservice.ReadOptions{})
			if err != nil {
				return nil
			}
			for _, tb := range list {
				i := slices.IndexFunc(b.all, func(s *server) bool { return s.Addr == at() })
				if tb.Table == but.ID || tb.State != meta.Unassigned || i < 0 {
					continue
				}
				b.Tell(ctx, b.Assign(ctx, tb, b.all[i]), b.all[i])
			}
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	})
}

// contents returns all rows of a table, once all of its tablets are served.
func (b *bubble) contents(t meta.Table) []string {
	b.t.Helper()
	var rows []string
	for _, tb := range b.Tablets(b.ctx, t) {
		tb = b.AwaitServing(b.ctx, tb)
		rows = append(rows, b.Server(tb.Owner).All(b.ctx, tb)...)
	}
	return rows
}
