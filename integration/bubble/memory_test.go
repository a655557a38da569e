package bubble

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/api/option"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/objstore/limit"
)

// TestOverload: Google's Go client loads many times what the servers have memory
// for, faster than they can flush, beside a scan all the while and a reader that
// takes nothing. Every batch succeeds in the end, everything is there, and the
// servers never take more than they may.
func TestOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred MiB")
	}
	const (
		memory  = 32 << 20
		workers = 24
		batches = 50
		perCall = 100
		value   = 1 << 10
	)
	adjust := func(c *cluster.Config) {
		c.TabletServers = 2
		c.Tablet.MemoryBytes, c.GatewayMemory = memory, memory
		c.Store = limit.New(c.Store, limit.Options{Foreground: limit.Limits{BytesPerSecond: 3 << 20}, Background: limit.Limits{BytesPerSecond: 3 << 20}})
	}
	inWorldWith(t, adjust, func(w *world) {
		ctx, cancel := context.WithTimeout(w.ctx, time.Hour)
		defer cancel()
		cl, err := bigtable.NewClientWithConfig(ctx, "p", "i", bigtable.ClientConfig{MetricsProvider: bigtable.NoopMetricsProvider{}}, option.WithGRPCConn(w.cc))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		tbl := cl.Open("t")
		rng := seedtest.New(t)
		noise := make([]byte, 4<<20) // does not compress
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		var wg sync.WaitGroup
		var failed atomic.Int64
		began := time.Now()
		for k := range workers {
			wg.Go(func() {
				for b := range batches {
					var rows []string
					var muts []*bigtable.Mutation
					for i := range perCall {
						m := bigtable.NewMutation()
						m.Set("cf", "q", 1000, noise[((k*batches+b)*perCall+i)*7919%(len(noise)-value):][:value])
						rows, muts = append(rows, fmt.Sprintf("%c%02d-%04d-%03d", 'a'+i%6, k, b, i)), append(muts, m)
					}
					errs, err := tbl.ApplyBulk(ctx, rows, muts)
					for _, e := range errs {
						if err == nil {
							err = e
						}
					}
					if err != nil && failed.Add(1) < 5 {
						t.Errorf("after %v: %v", time.Since(began), err)
					}
				}
			})
		}
		over := make(chan struct{})
		reads := 0
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				start := time.Now()
				if _, err := tbl.ReadRow(ctx, "a00-0000-000"); err != nil {
					t.Errorf("read beside the load: %v", err)
				}
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("a read beside the load took %v", d)
				}
				reads++
				time.Sleep(50 * time.Millisecond)
			}
		})
		wg.Wait()
		close(over)
		reading.Wait()
		t.Logf("%d MiB in %v, %d reads meanwhile", workers*batches*perCall*value>>20, time.Since(began), reads)
		n := 0
		if err := tbl.ReadRows(ctx, bigtable.InfiniteRange(""), func(r bigtable.Row) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		if n != workers*batches*perCall {
			t.Errorf("%d rows of %d", n, workers*batches*perCall)
		}
		for name, b := range w.c.Memory() {
			var sum int64
			for _, u := range b.Usage() {
				t.Logf("%s %-10s peak %6d KiB of %6d", name, u.Name, u.Peak>>10, u.Limit>>10)
				sum += u.Peak
				if u.Peak > 2*u.Limit {
					t.Errorf("%s: %s took %d KiB of %d", name, u.Name, u.Peak>>10, u.Limit>>10)
				}
			}
			if sum > b.Limit() {
				t.Errorf("%s took %d KiB of %d", name, sum>>10, b.Limit()>>10)
			}
		}
	})
}
