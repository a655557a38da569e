package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// idle is a tablet server that does nothing: what is left is the client, the
// connection and gRPC.
type idle struct{ route.Server }

func (*idle) MutateRow(context.Context, route.Target, []byte) error { return nil }

func (*idle) MutateRows(context.Context, route.Target, [][]byte) ([]error, error) { return nil, nil }

func benchTable(b *testing.B, o client.Options) *client.Table {
	c := tabletstest.New(b)
	b.Cleanup(c.Close)
	lis, err := rpc.TCP{}.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := rpc.NewServer(slog.New(slog.DiscardHandler), rpc.ServerOptions{More: []grpc.ServerOption{grpc.ForceServerCodecV2(route.Codec())}})
	route.Register(s, &idle{}, nil, nil)
	go s.Serve(lis)
	b.Cleanup(s.Stop)
	c.CreateTable("t", nil, c.AddServer(lis.Addr().String(), nil))
	cl, err := client.Open(context.Background(), client.Config{Cell: c.LS, Options: o})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cl.Close() })
	return cl.Open("t")
}

// BenchmarkApply measures single writes of many callers over TCP, with 1000
// bytes each.
func BenchmarkApply(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		for _, alone := range []bool{false, true} {
			name := fmt.Sprintf("callers=%d/coalesced", callers)
			if alone {
				name = fmt.Sprintf("callers=%d/alone", callers)
			}
			b.Run(name, func(b *testing.B) {
				t := benchTable(b, client.Options{NoCoalescing: alone})
				value := make([]byte, 1000)
				var n atomic.Int64
				b.SetParallelism(max(1, callers/2)) // times GOMAXPROCS, here 2
				b.ReportAllocs()
				b.RunParallel(func(p *testing.PB) {
					m := client.NewMutation()
					for p.Next() {
						m.Reset()
						m.Set("f", "q", 1000, value)
						if err := t.Apply(context.Background(), fmt.Sprint("row", n.Add(1)), m); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			})
		}
	}
}

// BenchmarkBulkWriter measures a BulkWriter fed by one goroutine.
func BenchmarkBulkWriter(b *testing.B) {
	t := benchTable(b, client.Options{})
	w := t.NewBulkWriter(client.BulkOptions{})
	m := client.NewMutation()
	value := make([]byte, 1000)
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Reset()
		m.Set("f", "q", 1000, value)
		if err := w.Add(ctx, fmt.Sprint("row", i), m); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
