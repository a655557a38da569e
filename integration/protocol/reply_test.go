package protocol_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// noBranch is a CheckAndMutate whose branch for rows that exist changes
// nothing: its reply is a read.
func (b *bubble) noBranch(ctx context.Context, s *tabletservertest.Server, t meta.Tablet, row string) (bool, error) {
	other := []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "q", 1000, "made")}
	return s.CheckAndMutate(ctx, t, row, nil, other)
}

// TestH14ReplyRevealsPending: a CheckAndMutate sees a write that is not
// acknowledged yet and takes a branch without mutations. It must not answer
// before the write is durable; here it never is.
//
// To break: drop awaitVisible in tablet.readable.
func TestH14ReplyRevealsPending(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "old")
		if matched, err := b.noBranch(b.ctx, s[0], tb, "old"); err != nil || !matched {
			t.Errorf("matched %v, %v", matched, err)
		}
		s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
		write := b.pending(s[0], tb, "new")[0]
		reply := b.background(func() error { _, err := b.noBranch(b.ctx, s[0], tb, "new"); return err })
		b.running("the reply that saw a pending write", reply)
		s[0].Kill()
		if err := <-write; err == nil {
			t.Error("the write was acknowledged")
		}
		if err := <-reply; err == nil {
			t.Error("the reply went out")
		}
		tb = b.FailOver(b.ctx, tb, s[1])
		b.wantRows(s[1], tb, "old")
	})
}

// TestH14ReplyOfZombie: a reply that logs nothing is fenced by no log, so that
// it checks the lease as a read does.
//
// To break: drop awaitSafe in tablet.readable (and, for the read, in scan.run).
func TestH14ReplyOfZombie(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "w")
		s[0].Lock.Partition(true)
		b.pause(tabletservertest.TTL - 10*time.Millisecond) // past its deadline
		ctx, cancel := context.WithTimeout(b.ctx, time.Hour)
		defer cancel()
		reply := b.background(func() error { _, err := b.noBranch(ctx, s[0], tb, "w"); return err })
		read := b.background(func() error { _, err := s[0].Read(ctx, tb, &bigtablepb.ReadRowsRequest{}); return err })
		b.set(s[0], tb, "x") // the log would fence it, but did not yet
		b.pause(tabletservertest.TTL)
		b.running("the reply in jeopardy", reply)
		b.running("the read in jeopardy", read)
		dead := tb.Owner
		tb = b.Bump(b.ctx, tb)
		b.Seal(b.ctx, dead)
		tb = b.Serve(b.ctx, tb, s[1])
		b.Must(s[1].Set(b.ctx, tb, "w", "cf", "q", 1000, "newer"))
		s[0].Lock.Partition(false)
		if err := <-reply; err == nil {
			t.Error("a zombie answered a CheckAndMutate")
		}
		if err := <-read; err == nil {
			t.Error("a zombie answered a read")
		}
	})
}

// TestH14JeopardyPasses: a server that hears again in time answers what it held.
func TestH14JeopardyPasses(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		b.set(a, tb, "w")
		// A renewal at the last moment: the lock service does not expire it.
		a.Lock.Partition(true)
		b.pause(tabletservertest.TTL - 100*time.Millisecond)
		read := b.background(func() error { _, err := a.Read(b.ctx, tb, &bigtablepb.ReadRowsRequest{}); return err })
		select {
		case err := <-read:
			t.Logf("not yet in jeopardy: %v", err)
		default:
			a.Lock.Partition(false)
			b.Must(<-read)
		}
		a.Lock.Partition(false)
		b.pause(time.Minute)
		b.wantRows(a, tb, "w")
	})
}

// TestH14HeldReadEndsWithServer: a read that is held in jeopardy does not
// outlive the server.
//
// To break: in tablet.awaitSafe, do not look at the tablet's state.
func TestH14HeldReadEndsWithServer(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		a.Lock.Partition(true)
		b.pause(2 * tabletservertest.TTL)
		read := b.background(func() error { _, err := a.Read(b.ctx, tb, &bigtablepb.ReadRowsRequest{}); return err })
		b.running("the read in jeopardy", read)
		a.Kill()
		if err := <-read; err == nil {
			t.Error("the read was answered")
		}
	})
}

// TestH22UnknownOutcome: what was pending when the server is fenced, below the
// seal, has an outcome that the server does not know, and it says so: here it
// was durable. What stood at or past the seal was certainly not applied.
//
// To break: in commitlog's fail, use err for all batches (the first error), or
// both for all (the second).
func TestH22UnknownOutcome(t *testing.T) {
	history(t, func(b *bubble) {
		f := faulty.New(b.Store, faulty.Options{})
		defer f.Close()
		b.LogStore = f
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		_, err := s[0].Increment(b.ctx, tb, "r", "v1", "n", 1)
		b.Must(err)
		one, two := base.LogObject(tb.Owner, 1), base.LogObject(tb.Owner, 2)
		f.FailNext(faulty.PutIfAbsent, one, faulty.Fault{Kind: faulty.FailAfter})
		tries := 0
		sealed := make(chan struct{})
		s[0].LogStore.Before(func(ctx context.Context, c tabletservertest.Call) error {
			if c.Key == one {
				if tries++; tries > 1 {
					<-ctx.Done()
				}
			} else if c.Key == two {
				<-sealed
			}
			return ctx.Err()
		})
		increment := func(n int64) <-chan error {
			return b.background(func() error { _, err := s[0].Increment(b.ctx, tb, "r", "v1", "n", n); return err })
		}
		durable, lost := increment(10), increment(100)
		b.pause(100 * time.Millisecond)
		s[0].Deafen()
		dead := tb.Owner
		b.Expire(b.ctx, dead)
		tb = b.Bump(b.ctx, tb)
		b.Seal(b.ctx, dead)
		close(sealed)
		err = <-durable
		b.want(err, base.ErrUnknownOutcome)
		b.want(err, base.ErrFenced)
		err = <-lost
		b.want(err, base.ErrFenced)
		if errors.Is(err, base.ErrUnknownOutcome) {
			t.Errorf("%v: it stood behind the seal", err)
		}
		tb = b.Serve(b.ctx, tb, s[1])
		n, err := s[1].Increment(b.ctx, tb, "r", "v1", "n", 1000)
		b.Must(err)
		if n != 1011 {
			t.Errorf("counter is %d, want 1011", n)
		}
	})
}

// TestH22NotSent: a write whose batch was never sent was certainly not applied
// when its server ends; the caller may send it elsewhere.
//
// To break: in tablet.Await, return what the batch says.
func TestH22NotSent(t *testing.T) {
	history(t, func(b *bubble) {
		b.Options.MaxInFlight = 1
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		a.LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
		writes := b.pending(a, tb, "sent", "waiting")
		bulk := b.background(func() error {
			entry, err := proto.Marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("r"), Mutations: []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "q", 1000, "v")}})
			b.Must(err)
			errs, err := a.MutateRows(b.ctx, route.Target{Tablet: tb.ID, Epoch: tb.Epoch}, [][]byte{entry})
			b.Must(err)
			return errs[0]
		})
		a.Kill()
		b.want(<-writes[0], base.ErrUnknownOutcome)
		for _, done := range []<-chan error{writes[1], bulk} {
			err := <-done
			b.want(err, base.ErrNotServing)
			if errors.Is(err, base.ErrUnknownOutcome) {
				t.Errorf("%v: it was never sent", err)
			}
		}
	})
}
