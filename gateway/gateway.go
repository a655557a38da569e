// Package gateway answers plain Bigtable clients: google.bigtable.v2 by way of
// the router, google.bigtable.admin.v2 by way of meta and the active master.
// It runs inside every tablet server and as a process of its own.
//
// What the admin API knows besides tables is kept by package adminstore, so
// that all gateways show the same. Instances and clusters are names and
// settings: the tables of all of them are served by the same tablet servers.
//
// The hot calls pass as wire bytes: of a request only the fields are read that
// say where it goes, and the same bytes are forwarded; the tablet validates the
// rest.
package gateway

import (
	"context"
	"log/slog"
	"sync"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/client/masterclient"
	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// Config is what a Gateway needs.
type Config struct {
	// Router carries the data calls. It is the caller's.
	Router *router.Router
	// Meta is read for tables and servers.
	Meta *meta.Store
	// Network is how the active master is dialled.
	Network rpc.Network
	// Strict: instances and clusters exist only where they were created.
	// Otherwise every name is an instance, as emulators have it.
	Strict bool
	// RowMemory is what rows take that are put together for clients which want
	// each in one piece; nil: no limit.
	RowMemory *membudget.Account
	// Logger; nil discards.
	Logger *slog.Logger
}

// Gateway is the front of a cluster. Its methods may be called concurrently.
// Close it.
type Gateway struct {
	data
	router    *router.Router
	meta      *meta.Store
	network   rpc.Network
	master    *masterclient.Client
	ops       *operations
	tables    *tableAdmin
	instances *instanceAdmin
	queries   *sql.Service
	log       *slog.Logger

	stop    context.CancelFunc
	running sync.WaitGroup
}

var _ route.Frontend = (*Gateway)(nil)

// New returns a Gateway. It starts nothing.
func New(c Config) *Gateway {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cat := newCatalog(c.Meta, c.Network, c.Strict)
	g := &Gateway{
		data:   data{router: c.Router, catalog: cat, views: newViews(cat), profiles: newProfiles(cat), rowMemory: c.RowMemory},
		router: c.Router, meta: c.Meta, network: c.Network, log: c.Logger,
		master: masterclient.New(c.Meta.LockService(), c.Network), ops: &operations{c: cat},
	}
	g.tables = &tableAdmin{catalog: cat, g: g}
	g.instances = &instanceAdmin{catalog: cat, g: g}
	g.queries = sql.New(sql.Config{Backend: newQueryBackend(cat, c.Router)})
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	g.running.Go(func() { g.automate(ctx) })
	return g
}

// Register registers the admin services on s. The data service is registered
// by route.Register, with the Gateway as the frontend.
func (g *Gateway) Register(s *grpc.Server) {
	adminpb.RegisterBigtableTableAdminServer(s, g.tables)
	adminpb.RegisterBigtableInstanceAdminServer(s, g.instances)
	longrunningpb.RegisterOperationsServer(s, g.ops)
	controlpb.RegisterTableStorageServer(s, &tableStorage{g: g})
}

// Close ends what the gateway does on its own, and closes the connection to the
// master.
func (g *Gateway) Close() error {
	g.stop()
	g.running.Wait()
	return g.master.Close()
}
