package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// TestH23LogStalls: the bucket does not take the log's objects for minutes.
// Reads go on; writes are held and then refused, not lost: what was held is
// acknowledged when the bucket is back, and what timed out says that its
// outcome is unknown.
//
// To break: in tablet.visible, return what was applied; or in Budget.Admit,
// never refuse.
func TestH23LogStalls(t *testing.T) {
	history(t, func(b *bubble) {
		b.Options.MemtableBytes = 1 << 20
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "!")
		release := s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
		held := b.pending(s[0], tb, "held1", "held2", "held3")
		value := strings.Repeat("x", 10_000)
		var mu sync.Mutex
		refused, unknown := 0, 0
		var wg sync.WaitGroup
		for i := range 200 {
			if i%20 == 0 {
				synctest.Wait() // not all of them find the memory empty
			}
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
				defer cancel()
				err := s[0].Set(ctx, tb, fmt.Sprintf("much%03d", i), "cf", "q", 1000, value)
				mu.Lock()
				defer mu.Unlock()
				var overload *base.OverloadError
				switch {
				case errors.As(err, &overload) && overload.After > 0:
					refused++
				case errors.Is(err, base.ErrUnknownOutcome):
					unknown++
				default:
					b.t.Errorf("write of a stalled log: %v", err)
				}
			})
		}
		for range 10 {
			b.pause(10 * time.Second)
			b.wantRows(s[0], tb, "!")
		}
		wg.Wait()
		if refused == 0 || unknown == 0 || unknown > 110 {
			t.Errorf("%d writes refused, %d unknown; want some of each, and about a memory full of the latter", refused, unknown)
		}
		for _, w := range held {
			b.running("a write that was held", w)
		}
		release()
		for _, w := range held {
			b.Must(<-w)
		}
		b.pause(time.Second)
		want := s[0].All(b.ctx, tb)
		if len(want) != 1+len(held)+unknown {
			t.Errorf("%d rows, want %d: nothing is lost, and nothing refused is there", len(want), 1+len(held)+unknown)
		}
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		if got := s[1].All(b.ctx, tb); !slices.Equal(got, want) {
			t.Errorf("%d rows after the fail-over, want %d", len(got), len(want))
		}
	})
}

// TestH23MoveWhileStalled: a graceful move cannot end while the log stalls,
// and it does not begin to lose anything: writes are refused by then, and
// everything is there when the bucket is back.
//
// To break: in tablet.flush, do not wait for the newest batch.
func TestH23MoveWhileStalled(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		release := s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
		write := b.pending(s[0], tb, "w")[0]
		moved := b.background(func() error { return s[0].Unload(b.ctx, tb) })
		b.pause(time.Minute)
		b.running("the release", moved)
		if rec := b.Record(b.ctx, tb); rec.ManifestVersion != 0 || rec.Owner != tb.Owner {
			t.Fatalf("the record changed: %+v", rec)
		}
		release()
		b.Must(<-write)
		b.Must(<-moved)
		tb = b.Serve(b.ctx, b.Record(b.ctx, tb), s[1])
		b.wantRows(s[1], tb, "w")
	})
}
