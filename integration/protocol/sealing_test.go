package protocol_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// TestH10LoadWaitsForSeal: a tablet is taken from a dead owner and assigned
// before the owner's log is sealed. The zombie goes on to acknowledge writes;
// the new owner must not have read the log by then.
//
// To break: in tablet.Logs.look, answer with bounds up to where the log ends
// now instead of nil while it is not SEALED.
func TestH10LoadWaitsForSeal(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a")
		s[0].Deafen()
		b.Expire(b.ctx, tb.Owner)
		bumped := b.Assign(b.ctx, b.Bump(b.ctx, tb), s[1])
		b.Tell(b.ctx, bumped, s[1])
		for i := range 10 {
			b.pause(300 * time.Millisecond)
			if rec := b.Record(b.ctx, tb); rec.State == meta.Serving {
				t.Fatal("the new owner serves while the old one can acknowledge writes")
			}
			b.set(s[0], tb, fmt.Sprintf("b%d", i))
		}
		b.Seal(b.ctx, tb.Owner)
		now := b.AwaitServing(b.ctx, bumped)
		want := []string{"a"}
		for i := range 10 {
			want = append(want, fmt.Sprintf("b%d", i))
		}
		b.wantRows(s[1], now, want...)
		b.want(s[0].Set(b.ctx, tb, "late", "cf", "q", 1000, "x"), base.ErrFenced)
		b.wantRows(s[1], now, want...)
	})
}

// TestH11StopAndAppend: writers go on while a tablet is moved to and fro, over
// a log that is slow. What was acknowledged is there afterwards, at every hand
// over, and what was refused is not.
//
// To break: in tablet.Release, do not wait for the batch.
func TestH11StopAndAppend(t *testing.T) {
	history(t, func(b *bubble) {
		slow := faulty.New(b.Store, faulty.Options{Seed: 11, Rules: []faulty.Rule{
			{Ops: faulty.Writes, Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow, Delay: time.Millisecond, Jitter: 9 * time.Millisecond}},
		}})
		defer slow.Close()
		b.LogStore = slow
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		var acked []string
		for round := range 6 {
			from, to := s[round%2], s[(round+1)%2]
			if round == 3 {
				to = from // A -> A
				s[0], s[1] = s[1], s[0]
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := 0; ; i++ {
						row := fmt.Sprintf("%d-%d-%03d", round, w, i)
						err := from.Set(b.ctx, tb, row, "cf", "q", 1000, "v"+row)
						if err != nil {
							b.want(err, base.ErrNotServing)
							return
						}
						mu.Lock()
						acked = append(acked, row)
						mu.Unlock()
					}
				})
			}
			b.pause(50 * time.Millisecond)
			tb = b.Move(b.ctx, tb, from, to)
			wg.Wait()
			slices.Sort(acked)
			b.wantRows(to, tb, acked...)
		}
	})
}

// TestH11AppendAfterStop: an increment has passed the check that the tablet is
// served and reads what it adds to, slowly; meanwhile the tablet is given up.
// Then it must not be appended any more: it would stand behind the end of the
// tablet's entry.
//
// To break: drop the checks of the state in tablet.appendTimed and of the
// stream in commitlog's Append.
func TestH11AppendAfterStop(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		_, err := s[0].Increment(b.ctx, tb, "r", "cf", "n", 1)
		b.Must(err)
		b.Must(s[0].Flush(b.ctx, tb))
		release := s[0].Store.Hang(tabletservertest.Get, base.SSTablePrefix)
		old := tb
		late := b.background(func() error { _, err := s[0].Increment(b.ctx, old, "r", "cf", "n", 10); return err })
		b.running("the increment", late)
		tb = b.Move(b.ctx, tb, s[0], s[1])
		release()
		b.want(<-late, base.ErrNotServing)
		n, err := s[1].Increment(b.ctx, tb, "r", "cf", "n", 100)
		b.Must(err)
		if n != 101 {
			t.Errorf("counter is %d, want 101", n)
		}
	})
}

// TestH12TwoEntriesOfOneLog: a tablet that is moved to the server it was on, or
// comes back to it, has two entries of one log; both are replayed.
//
// To break: in meta.Register, keep no other entry of the owner's log.
func TestH12TwoEntriesOfOneLog(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(map[bool]string{false: "to itself", true: "there and back"}[back], func(t *testing.T) {
			history(t, func(b *bubble) {
				s := b.servers(3)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.writeDuringFlush(s[0], tb, "1")
				b.set(s[0], tb, "0")
				b.Must(s[0].Unload(b.ctx, tb))
				tb = b.Record(b.ctx, tb)
				want := 2
				if back {
					tb = b.Serve(b.ctx, tb, s[1])
					b.writeDuringFlush(s[1], tb, "3")
					b.set(s[1], tb, "2")
					b.Must(s[1].Unload(b.ctx, tb))
					tb = b.Record(b.ctx, tb)
				}
				defer b.noFlushes(s[0])()
				tb = b.Serve(b.ctx, tb, s[0])
				b.set(s[0], tb, "4")
				if n := len(tb.Logs); n != want {
					t.Fatalf("entries %+v, want %d", tb.Logs, want)
				}
				s[0].Kill()
				tb = b.FailOver(b.ctx, tb, s[2])
				if back {
					b.wantRows(s[2], tb, "0", "1", "2", "3", "4")
				} else {
					b.wantRows(s[2], tb, "0", "1", "4")
				}
				b.set(s[2], tb, "5")
				b.Must(s[2].Flush(b.ctx, tb))
				if rec := b.Record(b.ctx, tb); len(rec.Logs) != 1 {
					t.Errorf("entries %+v after the flush, want one", rec.Logs)
				}
			})
		})
	}
}
