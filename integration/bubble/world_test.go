package bubble

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	storemem "github.com/tabletdb/tabletdb/objstore/mem"
)

const (
	parent = "projects/p/instances/i"
	table  = parent + "/tables/t"
)

// world is a cluster, its network and bucket, and a Bigtable client.
type world struct {
	t       *testing.T
	ctx     context.Context
	net     *memnet.Net
	store   *faulty.Store            // all share it
	logs    map[string]*faulty.Store // over it, one for the log of each tablet server
	c       *cluster.Cluster
	cc      *grpc.ClientConn
	data    bigtablepb.BigtableClient
	meta    *meta.Store
	written map[string]string // acknowledged: row -> value
}

// inWorld runs f on a fresh cluster in a bubble: 3 lock servers, 2 masters, 3
// tablet servers, one table of 6 tablets.
func inWorld(t *testing.T, f func(w *world)) { inWorldAt(t, "", f) }

// inWorldAt is inWorld with lock servers that keep their state in a directory.
func inWorldAt(t *testing.T, dir string, f func(w *world)) {
	inWorldWith(t, func(c *cluster.Config) { c.Dir = dir }, f)
}

// inWorldWith is inWorld with a configuration that is changed.
func inWorldWith(t *testing.T, adjust func(*cluster.Config), f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, ctx: t.Context(), net: memnet.New(), written: map[string]string{}}
		w.store = faulty.New(storemem.New(), faulty.Options{Seed: 1})
		w.logs = map[string]*faulty.Store{}
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		if os.Getenv("BUBBLE_LOG") != "" {
			log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		}
		node := func(name string) rpc.Network { return w.net.Node(name) }
		start := time.Now()
		cfg := cluster.Config{
			Store: w.store, LockServers: 3, Masters: 2, TabletServers: 3, Node: node, Host: "mem",
			LogStore: func(name string) objstore.Store {
				w.logs[name] = faulty.New(w.store, faulty.Options{Seed: 2})
				return w.logs[name]
			},
			Clock: func() time.Duration { return time.Since(start) }, Logger: log,
		}
		adjust(&cfg)
		c, err := cluster.Open(w.ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.c = c
		defer func() {
			for _, l := range w.logs {
				l.Close()
			}
			w.store.Close()
			c.Kill()
		}()
		if w.cc, err = rpc.Dial(w.net.Node("user"), c.Gateway()); err != nil {
			t.Fatal(err)
		}
		defer w.cc.Close()
		w.data = bigtablepb.NewBigtableClient(w.cc)
		e, err := c.Env("user")
		if err != nil {
			t.Fatal(err)
		}
		w.meta = meta.NewStore(e.LockService)
		w.createTable()
		f(w)
	})
}

func (w *world) createTable() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	req := &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{"cf": {}}}}
	for _, s := range []string{"b", "c", "d", "e", "f"} {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(s)})
	}
	if _, err := adminpb.NewBigtableTableAdminClient(w.cc).CreateTable(ctx, req); err != nil {
		w.t.Fatal(err)
	}
}

// put writes a cell; the caller says how long it may take.
func (w *world) put(within time.Duration, row, value string) error {
	ctx, cancel := context.WithTimeout(w.ctx, within)
	defer cancel()
	_, err := w.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte(row), Mutations: []*bigtablepb.Mutation{{
		Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{FamilyName: "cf", ColumnQualifier: []byte("q"), TimestampMicros: 1000, Value: []byte(value)}},
	}}})
	if err == nil {
		w.written[row] = value
	}
	return err
}

// rows reads everything.
func (w *world) rows(within time.Duration) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(w.ctx, within)
	defer cancel()
	st, err := w.data.ReadRows(ctx, &bigtablepb.ReadRowsRequest{TableName: table})
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	var d chunk.Decoder
	for {
		m, err := st.Recv()
		if err == io.EOF {
			return got, d.Close()
		}
		if err != nil {
			return nil, err
		}
		if err := d.DecodeProto(m, func(r *chunk.Row) error { got[string(r.Key)] = string(r.Cells[0].Value); return nil }); err != nil {
			return nil, err
		}
	}
}

// fill writes one row into each tablet.
func (w *world) fill(value string) {
	w.t.Helper()
	for _, p := range "abcdef" {
		if err := w.put(time.Minute, string(p)+value, value); err != nil {
			w.t.Fatalf("write to tablet %c: %v", p, err)
		}
	}
}

// verify checks that every acknowledged write is there, and the tiling.
func (w *world) verify() {
	w.t.Helper()
	got, err := w.rows(time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	for row, v := range w.written {
		if got[row] != v {
			w.t.Errorf("row %s = %q, acknowledged %q", row, got[row], v)
		}
	}
	tablets, _, err := w.meta.All(w.ctx, lockservice.ReadOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if wrong := meta.CheckTiling(tablets); wrong != nil {
		w.t.Error(wrong)
	}
}

// within fails the test where f took longer, in fake time.
func (w *world) within(d time.Duration, what string, f func()) {
	w.t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > d {
		w.t.Errorf("%s took %v, more than %v", what, took, d)
	} else {
		w.t.Logf("%s took %v", what, took)
	}
}

// owner returns a tablet server that serves some tablet.
func (w *world) owner() (n *cluster.TabletNode, tablets int) {
	w.t.Helper()
	list, _, err := w.meta.All(w.ctx, lockservice.ReadOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range w.c.TabletServers() {
		mine := slices.DeleteFunc(slices.Clone(list), func(t meta.Tablet) bool { return t.Owner != n.Server().Incarnation() })
		if len(mine) > 0 {
			return n, len(mine)
		}
	}
	w.t.Fatal("nobody serves anything")
	return nil, 0
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func name(i int) string { return fmt.Sprintf("%06d", i) }
