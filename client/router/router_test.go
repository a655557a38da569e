package router_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/meta"
)

// fixture is a cluster, a router and a table "t".
type fixture struct {
	*testing.T
	*tabletstest.Cluster
	servers []*tabletstest.Server
	r       *router.Router
	table   meta.Table
	name    []byte
}

// inBubble runs f on a table with the splits, over that many servers, called
// over gRPC.
func inBubble(t *testing.T, servers int, splits []string, f func(*fixture)) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, Cluster: tabletstest.New(t), name: []byte(tabletstest.TableName("t"))}
		defer x.Cluster.Close()
		for i := range servers {
			x.servers = append(x.servers, x.AddServer(fmt.Sprintf("server%d", i), nil))
		}
		x.table = x.CreateTable("t", splits, x.servers...)
		x.r = router.New(router.Config{Meta: x.Meta, Network: x.Net.Node("client")})
		defer x.r.Close()
		f(x)
	})
}

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func set(qualifier, value string, ts int64) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: "f", ColumnQualifier: []byte(qualifier), TimestampMicros: ts, Value: []byte(value),
	}}}
}

func (x *fixture) write(ctx context.Context, row string, ms ...*bigtablepb.Mutation) error {
	if ms == nil {
		ms = []*bigtablepb.Mutation{set("q", row, 1000)}
	}
	return x.r.MutateRow(ctx, x.name, []byte(row),
		marshal(x, &bigtablepb.MutateRowRequest{TableName: string(x.name), RowKey: []byte(row), Mutations: ms}))
}

func (x *fixture) fill(rows ...string) {
	x.Helper()
	for _, r := range rows {
		if err := x.write(within(time.Minute), r); err != nil {
			x.Fatal(err)
		}
	}
}

// read returns the keys of the rows and what the client saw of resets.
func (x *fixture) read(ctx context.Context, req *bigtablepb.ReadRowsRequest) (rows []string, resets int, stats *bigtablepb.RequestStats, err error) {
	raw := marshal(x, req)
	p, err := router.ParseReadRows(raw)
	if err != nil {
		return nil, 0, nil, err
	}
	cur := ""
	err = x.r.ReadRows(ctx, x.name, p.Scan, raw, func(b mem.Buffer) error {
		defer b.Free()
		var resp bigtablepb.ReadRowsResponse
		if err := proto.Unmarshal(b.ReadOnlyData(), &resp); err != nil {
			return err
		}
		if stats != nil {
			return errors.New("frame after the statistics")
		}
		stats = resp.RequestStats
		for _, c := range resp.Chunks {
			if len(c.RowKey) > 0 {
				if cur != "" {
					return fmt.Errorf("row %q began within row %q", c.RowKey, cur)
				}
				cur = string(c.RowKey)
			}
			switch {
			case c.GetResetRow():
				resets++
				cur = ""
			case c.GetCommitRow():
				rows = append(rows, cur)
				cur = ""
			}
		}
		return nil
	})
	return rows, resets, stats, err
}

func (x *fixture) expect(req *bigtablepb.ReadRowsRequest, want ...string) {
	x.Helper()
	got, _, _, err := x.read(within(time.Minute), req)
	if err != nil || !slices.Equal(got, want) {
		x.Fatalf("%v: read %q, %v; want %q", req, got, err, want)
	}
}

func TestFollowsMovesAndSplits(t *testing.T) {
	inBubble(t, 2, []string{"m"}, func(x *fixture) {
		x.fill("a", "k", "p", "z")
		left := x.TabletOf(x.table.ID, "a")
		x.Move(left, x.servers[1])
		x.fill("b")
		a, _ := x.Split(left, "h")
		x.fill("c", "i")
		x.Move(a, x.servers[0])
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "b", "c", "i", "k", "p", "z")
		x.Merge(x.TabletOf(x.table.ID, "h"), x.TabletOf(x.table.ID, "z"))
		x.expect(&bigtablepb.ReadRowsRequest{Reversed: true}, "z", "p", "k", "i", "c", "b", "a")
		x.fill("n")
		if s := x.r.Stats(); s.Redirects == 0 || s.Tablets != 2 {
			x.Errorf("%+v", s)
		}
	})
}
