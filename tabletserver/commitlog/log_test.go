package commitlog

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/wal"
)

// openTest opens a log whose store takes 10 ms for a put.
func openTest(t *testing.T, store objstore.Store, change func(*Config)) *Log {
	t.Helper()
	cfg := Config{Store: slow{store, 10 * time.Millisecond}, Incarnation: me, Nonce: [16]byte{1}, Logger: quiet()}
	if change != nil {
		change(&cfg)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t *testing.T, s *Stream, seq base.Seq, body string) *Batch {
	t.Helper()
	b, err := s.Append(seq, seq, []byte(body))
	if err != nil {
		t.Fatalf("Append %d: %v", seq, err)
	}
	return b
}

func TestLoneWriterWritesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, mem.New(), nil)
		var acked []base.Seq
		s := l.NewStream(1, 1, func(last base.Seq, pos base.Position) { acked = append(acked, last) })
		for seq := base.Seq(1); seq <= 3; seq++ {
			if p := l.NextPosition(); p != base.Position(seq-1) {
				t.Errorf("NextPosition = %d", p)
			}
			start := time.Now()
			b := mustAppend(t, s, seq, "x")
			if b.Err() != nil {
				t.Errorf("Err of a pending batch = %v", b.Err())
			}
			if err := b.Wait(t.Context()); err != nil || time.Since(start) != 10*time.Millisecond {
				t.Errorf("Wait = %v after %v", err, time.Since(start))
			}
			if len(acked) != int(seq) || b.Position() != base.Position(seq-1) || l.Unacknowledged() != base.Position(seq) {
				t.Errorf("acked %v, position %d, unacknowledged %d", acked, b.Position(), l.Unacknowledged())
			}
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.Append(9, 9); !errors.Is(err, ErrClosed) {
			t.Errorf("Append after Close: %v", err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	_, err := Open(Config{MaxBatchBytes: 5})
	for _, want := range []string{"Store", "Logger", "Incarnation", "Nonce", "MaxBatchBytes"} {
		if !errors.Is(err, base.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open without %s: %v", want, err)
		}
	}
}

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, mem.New(), func(c *Config) { c.MaxPendingBytes = 5000 })
		s := l.NewStream(1, 1, nil)
		seq := base.Seq(1)
		for ; seq <= 6; seq++ {
			if _, err := s.Append(seq, seq, make([]byte, 1000)); err != nil {
				break
			}
		}
		if _, err := s.Append(seq, seq, nil); seq != 6 || !errors.Is(err, base.ErrOverloaded) {
			t.Errorf("after %d records: %v", seq, err)
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		mustAppend(t, s, seq, "y") // the number that was refused was not used
		if st := l.Stats(); st.Records != 6 || st.PendingBytes == 0 || st.Err != nil {
			t.Errorf("Stats = %+v", st)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestLargeRecords: records that are larger than a batch stand alone, in order.
func TestLargeRecords(t *testing.T) {
	for _, c := range []wal.Compression{wal.NoCompression, wal.Snappy} {
		synctest.Test(t, func(t *testing.T) {
			store := mem.New()
			l := openTest(t, store, func(c2 *Config) { c2.MaxBatchBytes, c2.Compression = 64<<10, c })
			a, b := l.NewStream(1, 1, nil), l.NewStream(2, 5, nil)
			want := map[base.Seq]string{}
			for seq, n := range []int{10, 20 << 10, 5 << 20, 0, 64 << 10, 64<<10 + 1, 64<<10 - 40, 64<<10 - 10, 100} {
				seq := base.Seq(seq + 1)
				want[seq] = strings.Repeat(string(rune('a'+seq)), n)
				mustAppend(t, a, seq, want[seq])
				mustAppend(t, b, seq, "small")
			}
			if _, err := a.Append(100, 100, make([]byte, wal.MaxBodyLen), []byte("x")); !errors.Is(err, base.ErrInvalid) {
				t.Errorf("record past the limit: %v", err)
			}
			if err := l.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			end, err := wal.Seal(t.Context(), store, me, 0, me)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range wal.Check(t.Context(), store, me, 0, end) {
				t.Error(bad)
			}
			n := base.Seq(0)
			err = wal.Replay(t.Context(), store, wal.Entry{Log: me, Tablet: 1, Epoch: 1}, wal.Bounds{End: end}, nil,
				func(_ base.Position, r wal.Record) error {
					if n++; r.First != n || string(r.Body) != want[n] {
						t.Errorf("record %d is [%d, %d] of %d bytes", n, r.First, r.Last, len(r.Body))
					}
					return nil
				})
			if err != nil || int(n) != len(want) {
				t.Errorf("%d records, %v", n, err)
			}
		})
	}
}

func TestStreamsOfOneTablet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		l := openTest(t, store, nil)
		old := l.NewStream(1, 1, nil)
		mustAppend(t, old, 1, "a")
		next := l.NewStream(1, 1, nil) // in the middle of a batch
		if _, err := old.Append(2, 2); !errors.Is(err, ErrClosed) {
			t.Errorf("append to the replaced stream: %v", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a sequence number was used twice")
				}
			}()
			next.Append(1, 1)
		}()
		mustAppend(t, next, 2, "b")
		other := l.NewStream(1, 4, nil)
		mustAppend(t, other, 1, "other epoch")
		other.Close()
		other.Close()
		if _, err := other.Append(2, 2); !errors.Is(err, ErrClosed) {
			t.Errorf("append to a closed stream: %v", err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, bad := range wal.Check(t.Context(), store, me, 0, l.Unacknowledged()) {
			t.Error(bad)
		}
	})
}

// TestClosedStreamsAreForgotten: the log keeps nothing of a tablet that left.
func TestClosedStreamsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, mem.New(), nil)
		for id := range base.TabletID(10) {
			s := l.NewStream(id, 1, nil)
			mustAppend(t, s, 1, "x")
			s.Close()
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		if n := len(l.mu.streams); n != 0 {
			t.Errorf("%d streams left", n)
		}
		l.mu.Unlock()
		l.Close(t.Context())
	})
}

// TestFencedBySeal: what was not acknowledged fails; for what stands at or past
// the seal it is certain that it was not applied.
func TestFencedBySeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		var fencedBy []error
		l := openTest(t, store, func(c *Config) {
			c.OnFenced = func(err error) { fencedBy = append(fencedBy, err) }
		})
		s := l.NewStream(1, 1, func(last base.Seq, _ base.Position) {
			if last > 1 {
				t.Errorf("acknowledged %d", last)
			}
		})
		if err := mustAppend(t, s, 1, "x").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if end, err := wal.Seal(t.Context(), store, me, 0, base.Incarnation{Generation: 1, Index: 9}); err != nil || end != 1 {
			t.Fatalf("Seal = %d, %v", end, err)
		}
		b := mustAppend(t, s, 2, "y")
		if err := b.Wait(t.Context()); !errors.Is(err, base.ErrFenced) || errors.Is(err, base.ErrUnknownOutcome) {
			t.Errorf("Wait = %v", err)
		}
		synctest.Wait()
		if len(fencedBy) != 1 || !strings.Contains(fencedBy[0].Error(), "0000000000000001 holds a seal") {
			t.Errorf("OnFenced(%v)", fencedBy)
		}
		if _, err := s.Append(3, 3); !errors.Is(err, base.ErrFenced) {
			t.Errorf("Append = %v", err)
		}
		if st := l.Stats(); !errors.Is(st.Err, base.ErrFenced) {
			t.Errorf("Stats = %+v", st)
		}
		l.Close(t.Context())
	})
}

// TestTwoProcessesOfOneName: the nonce tells them apart, so that both never
// acknowledge the same position.
func TestTwoProcessesOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		var errs [2]error
		var wg sync.WaitGroup
		for i := range errs {
			l := openTest(t, store, func(c *Config) { c.Nonce[1] = byte(i) })
			wg.Go(func() {
				b, err := l.NewStream(1, 1, nil).Append(1, 1, []byte("same"))
				if err == nil {
					err = b.Wait(t.Context())
				}
				errs[i] = err
				l.Close(t.Context())
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), base.ErrFenced) || !errors.Is(errors.Join(errs[:]...), base.ErrUnknownOutcome) {
			t.Errorf("outcomes %v", errs)
		}
	})
}

// TestStall: a bucket that does not answer stalls the log, which shows since
// when and loses nothing (rule R20).
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.New(mem.New(), faulty.Options{})
		l := openTest(t, f, nil)
		s := l.NewStream(1, 1, nil)
		if st := l.Stats(); !st.StalledSince.IsZero() {
			t.Errorf("idle log is stalled since %v", st.StalledSince)
		}
		f.SetRules(faulty.Rule{Probability: 1, Fault: faulty.Fault{Kind: faulty.FailBefore}})
		start := time.Now()
		b := mustAppend(t, s, 1, "x")
		time.Sleep(time.Minute)
		mustAppend(t, s, 2, "y")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := b.Wait(ctx); !errors.Is(err, base.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v", err)
		}
		cancel()
		if st := l.Stats(); !st.StalledSince.Equal(start) || st.Failures < 30 {
			t.Errorf("Stats = %+v", st)
		}
		f.SetRules()
		if err := l.Flush(t.Context()); err != nil || l.Unacknowledged() != 2 {
			t.Errorf("Flush = %v, unacknowledged %d", err, l.Unacknowledged())
		}
		if st := l.Stats(); !st.StalledSince.IsZero() {
			t.Errorf("log is stalled since %v", st.StalledSince)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestAbandon: like a crash; what was sent has an unknown outcome, what was not
// is certain to be lost.
func TestAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, mem.New(), func(c *Config) { c.MaxInFlight = 1 })
		s := l.NewStream(1, 1, nil)
		sent := mustAppend(t, s, 1, "x")
		time.Sleep(time.Millisecond)
		kept := mustAppend(t, s, 2, "y")
		l.Abandon()
		if err := sent.Err(); !errors.Is(err, ErrClosed) || !errors.Is(err, base.ErrUnknownOutcome) {
			t.Errorf("batch that was sent: %v", err)
		}
		if err := kept.Err(); !errors.Is(err, ErrClosed) || errors.Is(err, base.ErrUnknownOutcome) {
			t.Errorf("batch that was not sent: %v", err)
		}
		l.Close(t.Context())
	})
}

// TestCloseGivesUp: a log that stalls does not hold Close past its deadline.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.New(mem.New(), faulty.Options{Rules: []faulty.Rule{{Probability: 1, Fault: faulty.Fault{Kind: faulty.Hang}}}})
		l := openTest(t, f, nil)
		mustAppend(t, l.NewStream(1, 1, nil), 1, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := l.Close(ctx); !errors.Is(err, base.ErrUnknownOutcome) || time.Since(start) > 2*time.Second {
			t.Errorf("Close = %v after %v", err, time.Since(start))
		}
	})
}

// TestHedge: an upload that hangs is sent again, once, and costs 20 ms instead
// of its timeout.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.New(mem.New(), faulty.Options{})
		l := openTest(t, f, func(c *Config) { c.HedgeAfter = 20 * time.Millisecond })
		s := l.NewStream(1, 1, nil)
		f.FailNext(faulty.PutIfAbsent, "", faulty.Fault{Kind: faulty.Hang})
		start := time.Now()
		if err := mustAppend(t, s, 1, "x").Wait(t.Context()); err != nil || time.Since(start) != 30*time.Millisecond {
			t.Errorf("Wait = %v after %v", err, time.Since(start))
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if st := l.Stats(); st.Hedges != 1 {
			t.Errorf("Stats = %+v", st)
		}
	})
}

func TestTruncate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		f := faulty.New(store, faulty.Options{})
		l := openTest(t, f, nil)
		s := l.NewStream(1, 1, nil)
		for seq := base.Seq(1); seq <= 10; seq++ {
			if err := mustAppend(t, s, seq, "x").Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Truncate(t.Context(), 11); !errors.Is(err, base.ErrPrecondition) {
			t.Errorf("Truncate past what is acknowledged: %v", err)
		}
		f.FailNext(faulty.Delete, "", faulty.Fault{Kind: faulty.Torn})
		if err := l.Truncate(t.Context(), 7); err == nil || l.Stats().Low != 0 {
			t.Errorf("Truncate = %v, low %d", err, l.Stats().Low)
		}
		for _, low := range []base.Position{7, 3} { // a lower one does nothing
			if err := l.Truncate(t.Context(), low); err != nil || l.Stats().Low != 7 {
				t.Errorf("Truncate(%d) = %v, low %d", low, err, l.Stats().Low)
			}
		}
		if n, _ := store.Size(); n != 3 {
			t.Errorf("%d objects left", n)
		}
		if end, err := wal.Seal(t.Context(), store, me, 7, me); err != nil || end != 10 {
			t.Errorf("Seal = %d, %v", end, err)
		}
		l.Close(t.Context())
	})
}

// TestBodiesAreCopied: the caller may reuse its slices at once; and appends of
// all sizes from many goroutines arrive as they were.
func TestBodiesAreCopied(t *testing.T) {
	store := mem.New()
	l, err := Open(Config{Store: store, Incarnation: me, Nonce: [16]byte{1}, Logger: quiet(), MaxBatchBytes: 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for id := range base.TabletID(8) {
		wg.Go(func() {
			s := l.NewStream(id, 1, nil)
			buf := make([]byte, 40<<10)
			for seq := base.Seq(1); seq <= 200; seq++ {
				n := int(seq*seq) % len(buf)
				for i := range n {
					buf[i] = byte(id) ^ byte(seq)
				}
				if _, err := s.Append(seq, seq, buf[:n/3], buf[n/3:n]); err != nil {
					t.Error(err)
					return
				}
				clear(buf)
			}
		})
	}
	wg.Wait()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range wal.Check(t.Context(), store, me, 0, l.Unacknowledged()) {
		t.Error(bad)
	}
	for id := range base.TabletID(8) {
		seq := base.Seq(0)
		err := wal.Replay(t.Context(), store, wal.Entry{Log: me, Tablet: id, Epoch: 1}, wal.Bounds{End: l.Unacknowledged()}, nil,
			func(_ base.Position, r wal.Record) error {
				seq++
				want := bytes.Repeat([]byte{byte(id) ^ byte(seq)}, int(seq*seq)%(40<<10))
				if r.First != seq || !bytes.Equal(r.Body, want) {
					t.Errorf("tablet %d record %d is [%d, %d] of %d bytes", id, seq, r.First, r.Last, len(r.Body))
				}
				return nil
			})
		if err != nil || seq != 200 {
			t.Errorf("tablet %d: %d records, %v", id, seq, err)
		}
	}
}
