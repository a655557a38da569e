package router_test

import (
	"context"
	"fmt"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/internal/route"
)

// idle is a tablet server that does nothing: what is left is the router.
type idle struct{ route.Server }

func (*idle) MutateRow(context.Context, route.Target, []byte) error { return nil }

func (*idle) DropRows(context.Context, route.Target, []byte) error { return nil }

func (*idle) MutateRows(context.Context, route.Target, [][]byte) ([]error, error) { return nil, nil }

func (*idle) ReadRows(_ context.Context, _ route.Target, _ route.Scan, _ []byte, send func(mem.Buffer, route.FrameInfo) error) error {
	return send(mem.SliceBuffer(nil), route.FrameInfo{})
}

func benchRouter(b *testing.B, tablets int) (*router.Router, []byte) {
	c := tabletstest.New(b)
	b.Cleanup(c.Close)
	s := c.AddServer("server0", nil)
	var splits []string
	for i := 1; i < tablets; i++ {
		splits = append(splits, fmt.Sprintf("%05d", i))
	}
	c.CreateTable("t", splits, s)
	local := &idle{}
	r := router.New(router.Config{Meta: c.Meta, Network: c.Net.Node("client"), Local: func(string) route.Server { return local }})
	b.Cleanup(func() { r.Close() })
	return r, []byte(tabletstest.TableName("t"))
}

func BenchmarkMutateRow(b *testing.B) {
	r, name := benchRouter(b, 500)
	req := marshal(b, &bigtablepb.MutateRowRequest{TableName: string(name), RowKey: []byte("00123/row"), Mutations: []*bigtablepb.Mutation{set("q", "value", 1000)}})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		p, err := router.ParseMutateRow(req)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.MutateRow(ctx, p.Table, p.Row, req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadRow(b *testing.B) {
	r, name := benchRouter(b, 500)
	req := marshal(b, &bigtablepb.ReadRowsRequest{TableName: string(name), Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("00123/row")}}, RowsLimit: 1})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		p, err := router.ParseReadRows(req)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.ReadRows(ctx, p.Table, p.Scan, req, func(f mem.Buffer) error { f.Free(); return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMutateRows(b *testing.B) {
	r, name := benchRouter(b, 500)
	var entries [][]byte
	for i := range 100 {
		entries = append(entries, marshal(b, &bigtablepb.MutateRowsRequest_Entry{RowKey: fmt.Appendf(nil, "00123/row%d", i), Mutations: []*bigtablepb.Mutation{set("q", "value", 1000)}}))
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.MutateRows(ctx, name, entries); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(entries)), "ns/row")
}
