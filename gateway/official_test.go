package gateway_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/gateway"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// serve starts a gateway at a TCP address, without tablets of its own, and
// points the official clients at it.
func serve(t *testing.T) {
	c := tabletstest.New(t)
	t.Cleanup(c.Close)
	r := router.New(router.Config{Meta: c.Meta, Network: c.Net.Node("gateway")})
	t.Cleanup(func() { r.Close() })
	gw := gateway.New(gateway.Config{Router: r, Meta: c.Meta, Network: c.Net.Node("gateway")})
	t.Cleanup(func() { gw.Close() })
	c.AddServer("server0", nil)
	c.AddServer("server1", nil)
	t.Cleanup(c.AddMaster("master").Stop)
	lis, err := rpc.TCP{}.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewServer(slog.New(slog.DiscardHandler), rpc.ServerOptions{More: []grpc.ServerOption{grpc.ForceServerCodecV2(route.Codec())}})
	route.Register(s, nil, gw, nil)
	gw.Register(s)
	go s.Serve(lis)
	t.Cleanup(s.Stop)
	t.Setenv("BIGTABLE_EMULATOR_HOST", lis.Addr().String())
}

// TestOfficialClient runs Google's own Go client against the gateway.
func TestOfficialClient(t *testing.T) {
	serve(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admin, err := bigtable.NewAdminClient(ctx, "p", "i")
	must(err)
	defer admin.Close()
	must(admin.CreatePresplitTable(ctx, "t", []string{"b", "c"}))
	must(admin.CreateColumnFamily(ctx, "t", "f"))
	must(admin.SetGCPolicy(ctx, "t", "f", bigtable.MaxVersionsPolicy(2)))
	info, err := admin.TableInfo(ctx, "t")
	must(err)
	if len(info.FamilyInfos) != 1 || info.FamilyInfos[0].GCPolicy != "versions() > 2" {
		t.Errorf("%+v", info)
	}
	instances, err := bigtable.NewInstanceAdminClient(ctx, "p")
	must(err)
	defer instances.Close()
	clusters, err := instances.Clusters(ctx, "i")
	must(err)
	if len(clusters) != 1 || clusters[0].ServeNodes != 2 {
		t.Errorf("%+v", clusters)
	}

	client, err := bigtable.NewClient(ctx, "p", "i")
	must(err)
	defer client.Close()
	tbl := client.Open("t")
	for _, k := range []string{"a", "b", "c", "d"} {
		m := bigtable.NewMutation()
		m.Set("f", "q", bigtable.ServerTime, []byte(k))
		must(tbl.Apply(ctx, k, m))
	}
	var rows []string
	var stats *bigtable.FullReadStats
	must(tbl.ReadRows(ctx, bigtable.InfiniteRange(""), func(r bigtable.Row) bool { rows = append(rows, r.Key()); return true },
		bigtable.ReverseScan(), bigtable.WithFullReadStats(func(s *bigtable.FullReadStats) { stats = s })))
	if !slices.Equal(rows, []string{"d", "c", "b", "a"}) || stats == nil || stats.ReadIterationStats.RowsReturnedCount != 4 {
		t.Errorf("%q, %+v", rows, stats)
	}
	good, bad := bigtable.NewMutation(), bigtable.NewMutation()
	good.Set("f", "q", 1000, []byte("v"))
	bad.Set("none", "q", 1000, []byte("v"))
	errs, err := tbl.ApplyBulk(ctx, []string{"a", "z", "bad"}, []*bigtable.Mutation{good, good, bad})
	must(err)
	if len(errs) != 3 || errs[0] != nil || errs[1] != nil || errs[2] == nil {
		t.Errorf("%v", errs)
	}
	rmw := bigtable.NewReadModifyWrite()
	rmw.Increment("f", "n", 3)
	row, err := tbl.ApplyReadModifyWrite(ctx, "a", rmw)
	must(err)
	if len(row["f"]) != 1 || row["f"][0].Value[7] != 3 {
		t.Errorf("%v", row)
	}
	matched := false
	must(tbl.Apply(ctx, "a", bigtable.NewCondMutation(bigtable.PassAllFilter(), good, nil), bigtable.GetCondMutationResult(&matched)))
	keys, err := tbl.SampleRowKeys(ctx)
	must(err)
	if !matched || !slices.Equal(keys, []string{"b", "c"}) {
		t.Errorf("%v, %q", matched, keys)
	}
	must(admin.DropRowRange(ctx, "t", "a"))
	must(admin.DeleteTable(ctx, "t"))
	if err := tbl.Apply(ctx, "a", good); err == nil {
		t.Error("a write to a deleted table")
	}
}
