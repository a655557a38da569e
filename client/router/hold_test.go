package router_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
)

func TestHeldUntilServed(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		tb := x.Stop(x.TabletOf(x.table.ID, "a"))
		errs := make(chan error)
		for i := range 100 {
			go func() { errs <- x.write(within(20*time.Second), fmt.Sprint("r", i)) }()
		}
		time.Sleep(7 * time.Second)
		lookups := x.r.Stats().Lookups
		if lookups > 60 {
			x.Errorf("%d look-ups for 100 requests that wait for 7 s", lookups)
		}
		tb = x.Assign(tb, x.servers[0])
		time.Sleep(3 * time.Second)
		began := time.Now()
		x.Serve(tb, x.servers[0])
		for range 100 {
			if err := <-errs; err != nil {
				x.Fatal(err)
			}
		}
		if d := time.Since(began); d > 50*time.Millisecond {
			x.Errorf("noticed %v after the tablet was served", d)
		}
	})
}

func TestHeldWithoutAWatch(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		// The record says that it is served, the server does not know yet: no
		// event will tell.
		tb := x.TabletOf(x.table.ID, "a")
		x.servers[0].Forget(tb.ID)
		done := make(chan error)
		go func() { done <- x.write(within(20*time.Second), "b") }()
		time.Sleep(3 * time.Second)
		began := time.Now()
		tb.Epoch--
		x.Serve(tb, x.servers[0])
		if err := <-done; err != nil || time.Since(began) > 300*time.Millisecond {
			x.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDeadlineNamesTheTablet(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		tb := x.Assign(x.Stop(x.TabletOf(x.table.ID, "a")), x.servers[0])
		time.Sleep(time.Second)
		began := time.Now()
		err := x.write(within(3*time.Second), "b")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			x.Fatalf("%v after %v", err, time.Since(began))
		}
		for _, part := range []string{fmt.Sprint("tablet ", tb.ID), "loading", "server0", "for 4s now"} {
			if !strings.Contains(err.Error(), part) {
				x.Errorf("%q is missing in %q", part, err)
			}
		}
	})
}

func TestDefaultDeadline(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.Stop(x.TabletOf(x.table.ID, "a"))
		began := time.Now()
		if err := x.write(context.Background(), "b"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			x.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

func TestNotServingHidesFromEveryKindOfWrite(t *testing.T) {
	inBubble(t, 2, nil, func(x *fixture) {
		x.fill("a")
		for i, do := range []func(context.Context) error{
			func(ctx context.Context) error { return x.write(ctx, "a", set("q", "v", -1)) },
			func(ctx context.Context) error {
				_, err := x.r.CheckAndMutateRow(ctx, x.name, []byte("a"), marshal(x, &bigtablepb.CheckAndMutateRowRequest{
					RowKey: []byte("a"), TrueMutations: []*bigtablepb.Mutation{set("q", "v", -1)}}))
				return err
			},
			func(ctx context.Context) error {
				_, err := x.r.ReadModifyWriteRow(ctx, x.name, []byte("a"), marshal(x, &bigtablepb.ReadModifyWriteRowRequest{
					RowKey: []byte("a"), Rules: []*bigtablepb.ReadModifyWriteRule{{FamilyName: "f", Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("x")}}}}))
				return err
			},
		} {
			tb := x.Stop(x.TabletOf(x.table.ID, "a"))
			time.AfterFunc(2*time.Second, func() { x.Serve(tb, x.servers[i%2]) })
			if err := do(within(10 * time.Second)); err != nil {
				x.Error(err)
			}
		}
	})
}

func TestServerCrash(t *testing.T) {
	inBubble(t, 2, []string{"m"}, func(x *fixture) {
		x.fill("a", "z")
		tb := x.TabletOf(x.table.ID, "a")
		x.servers[0].Stop()
		time.AfterFunc(5*time.Second, func() { x.Move(tb, x.servers[1]) })
		// Nothing was sent to a server that refuses connections, so even this
		// write is safe to hold.
		if err := x.write(within(20*time.Second), "a", set("q", "v", -1)); err != nil {
			x.Fatal(err)
		}
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "z")
		time.Sleep(3 * time.Minute)
		if s := x.r.Stats(); s.Servers != 1 {
			x.Errorf("connections to %d servers, of which 1 runs", s.Servers)
		}
	})
}

func TestPartition(t *testing.T) {
	inBubble(t, 2, nil, func(x *fixture) {
		x.fill("a")
		x.Net.Partition("client", "server0")
		tb := x.TabletOf(x.table.ID, "a")
		type result struct {
			err error
			at  time.Duration
		}
		began := time.Now()
		try := func(f func() error) chan result {
			ch := make(chan result, 1)
			go func() { err := f(); ch <- result{err, time.Since(began)} }()
			return ch
		}
		read := try(func() error {
			_, _, _, err := x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{})
			return err
		})
		write := try(func() error { return x.write(within(time.Minute), "b") })
		once := try(func() error { return x.write(within(20*time.Second), "b", set("q", "v", -1)) })
		time.Sleep(5 * time.Second)
		x.Move(tb, x.servers[1])
		time.Sleep(2 * time.Second)
		if err := x.write(within(time.Second), "c", set("q", "v", -1)); err != nil {
			x.Errorf("a new write: %v", err)
		}
		for name, ch := range map[string]chan result{"read": read, "idempotent write": write, "a write with an id": once} {
			if r := <-ch; r.err != nil || r.at > 8*time.Second {
				x.Errorf("%s: %v after %v", name, r.err, r.at)
			}
		}
		x.Net.Join("client", "server0")
	})
}

func TestManyTabletsFailOver(t *testing.T) {
	var splits []string
	for i := 1; i < 500; i++ {
		splits = append(splits, fmt.Sprintf("%03d", i))
	}
	inBubble(t, 2, splits, func(x *fixture) {
		write := func(d time.Duration) {
			x.Helper()
			errs := make(chan error)
			for i := range 500 {
				go func() { errs <- x.write(within(d), fmt.Sprintf("%03d", i*7919%500)) }()
			}
			for range 500 {
				if err := <-errs; err != nil {
					x.Fatal(err)
				}
			}
		}
		write(time.Second)
		if s := x.r.Stats(); s.Lookups > 200 || s.Tablets != 500 {
			x.Errorf("cold: %+v", s)
		}
		before := x.r.Stats().Lookups
		// Half of the tablets lose their server, and come up elsewhere over
		// five seconds.
		x.servers[0].Stop()
		go func() {
			time.Sleep(10 * time.Second)
			for _, tb := range x.Tablets(x.table.ID) {
				if tb.OwnerAddress == "server0" {
					time.Sleep(20 * time.Millisecond)
					x.Serve(x.Stop(tb), x.servers[1])
				}
			}
		}()
		began := time.Now()
		write(20 * time.Second)
		if d := time.Since(began); d > 15500*time.Millisecond {
			x.Errorf("took %v", d)
		}
		x.Logf("%d look-ups in %v", x.r.Stats().Lookups-before, time.Since(began))
		if n := x.r.Stats().Lookups - before; n > 200 {
			x.Errorf("%d look-ups", n)
		}
	})
}
func TestLockServiceAway(t *testing.T) {
	inBubble(t, 1, []string{"m"}, func(x *fixture) {
		x.fill("a")
		x.LS.(interface{ Partition(bool) }).Partition(true)
		// Both tablets were read with the first look-up.
		x.fill("b", "z")
		x.LS.(interface{ Partition(bool) }).Partition(false)
	})
}
