package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/lockservice/server"
)

// real starts replicas on disk and TCP and returns a client of them.
func real(b *testing.B, replicas int) *client.Client {
	b.Helper()
	var members []server.Member
	var endpoints []string
	for i := range replicas {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		endpoints = append(endpoints, l.Addr().String())
		members = append(members, server.Member{ID: fmt.Sprint("r", i), Address: l.Addr().String()})
		l.Close()
	}
	log := slog.New(slog.DiscardHandler)
	var generation atomic.Uint32
	for _, m := range members {
		s, err := server.Open(server.Config{
			ID: m.ID, Address: m.Address, Network: rpc.TCP{}, Dir: b.TempDir(), Logger: log,
			WinGeneration: func(context.Context) (uint32, error) { return generation.Add(1), nil },
		}, server.Options{Bootstrap: members})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
	}
	c, err := client.New(client.Config{Endpoints: endpoints, Network: rpc.TCP{}, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if _, err := c.Txn(b.Context(), lockservice.Txn{Then: []lockservice.Op{lockservice.Put("k", make([]byte, 200))}}); err != nil {
		b.Fatal(err)
	}
	return c
}

// each calls f b.N times from so many callers.
func each(b *testing.B, callers int, f func(i int64) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkTxn: transactions that compare a session-like key and put another,
// 200-byte values, on disk.
func BenchmarkTxn(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("replicas=%d/callers=%d", replicas, callers), func(b *testing.B) {
				c := real(b, replicas)
				value := make([]byte, 200)
				each(b, callers, func(i int64) error {
					_, err := c.Txn(b.Context(), lockservice.Txn{
						If:   []lockservice.Compare{lockservice.Exists("k")},
						Then: []lockservice.Op{lockservice.Put(fmt.Sprintf("t/%08d", i%10000), value)},
					})
					return err
				})
			})
		}
	}
}

// BenchmarkGet: linearizable reads of one key.
func BenchmarkGet(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("replicas=%d/callers=%d", replicas, callers), func(b *testing.B) {
				c := real(b, replicas)
				each(b, callers, func(int64) error {
					_, _, _, err := c.Get(b.Context(), "k", lockservice.ReadOptions{})
					return err
				})
			})
		}
	}
}
