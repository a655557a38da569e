package faulty_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		f := faulty.New(mem.New(), faulty.Options{Rules: []faulty.Rule{
			{Probability: 0.1, Fault: faulty.Fault{Kind: faulty.Slow, Jitter: time.Microsecond}},
			{Ops: faulty.List, Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow}},
		}})
		t.Cleanup(func() { f.Close() })
		return f
	})
}

// bubble runs test in a synctest bubble, which fails it if a goroutine is left.
func bubble(t *testing.T, test func(t *testing.T, f *faulty.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := faulty.New(mem.New(), faulty.Options{Seed: 7, PageSize: 10})
		defer f.Close()
		test(t, f)
	})
}

func content(t *testing.T, f *faulty.Store, key string) string {
	t.Helper()
	data, err := f.Get(t.Context(), key)
	if errors.Is(err, objstore.ErrNotFound) {
		return "absent"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func wantInjected(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, faulty.ErrInjected) {
		t.Errorf("error %v, want an injected one", err)
	}
}

// TestWrites: what each kind does to the write that it strikes.
func TestWrites(t *testing.T) {
	for _, c := range []struct {
		kind      faulty.Kind
		fails     bool
		now, then string // content after the call, and a minute later
	}{
		{faulty.FailBefore, true, "absent", "absent"},
		{faulty.FailAfter, true, "v", "v"},
		{faulty.LandLate, true, "absent", "v"},
		{faulty.LandTwice, false, "v", "v"},
		{faulty.Torn, true, "absent", "absent"},
		{faulty.Throttle, true, "absent", "absent"},
		{faulty.Slow, false, "v", "v"},
	} {
		for op, write := range map[faulty.Op]func(context.Context, *faulty.Store) error{
			faulty.Put:         func(ctx context.Context, f *faulty.Store) error { return f.Put(ctx, "k", []byte("v")) },
			faulty.PutIfAbsent: func(ctx context.Context, f *faulty.Store) error { return f.PutIfAbsent(ctx, "k", []byte("v")) },
			faulty.Upload: func(ctx context.Context, f *faulty.Store) error {
				return f.Upload(ctx, "k", bytes.NewReader([]byte("v")), 1)
			},
		} {
			bubble(t, func(t *testing.T, f *faulty.Store) {
				f.FailNext(op, "k", faulty.Fault{Kind: c.kind, Delay: 10 * time.Second})
				err := write(t.Context(), f)
				if (err != nil) != c.fails || err != nil && !errors.Is(err, faulty.ErrInjected) {
					t.Errorf("%v of %v: error %v", c.kind, op, err)
				}
				if (c.kind == faulty.Throttle) != errors.Is(err, objstore.ErrThrottled) {
					t.Errorf("%v of %v: error %v", c.kind, op, err)
				}
				if got := content(t, f, "k"); got != c.now {
					t.Errorf("%v of %v: content %s, want %s", c.kind, op, got, c.now)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := content(t, f, "k"); got != c.then {
					t.Errorf("%v of %v: later content %s, want %s", c.kind, op, got, c.then)
				}
			})
		}
	}
}

// TestLateLandsAfterCallerIsGone: neither the caller's context nor its buffer
// matter any more.
func TestLateLandsAfterCallerIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		f.FailNext(faulty.PutIfAbsent, "wal/", faulty.Fault{Kind: faulty.LandLate, Delay: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		buf := []byte("acknowledged?")
		wantInjected(t, f.PutIfAbsent(ctx, "wal/1", buf))
		cancel()
		clear(buf)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := content(t, f, "wal/1"); got != "acknowledged?" {
			t.Errorf("content %q", got)
		}
		events := f.Events()
		if len(events) != 2 || events[0].Landed || !events[1].Landed || events[1].Err != nil {
			t.Errorf("events %+v", events)
		}
	})
}

// TestLateLosesTheRace: a late create-if-absent does not replace what is there.
func TestLateLosesTheRace(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		f.FailNext(faulty.PutIfAbsent, "", faulty.Fault{Kind: faulty.LandLate, Calls: 3})
		wantInjected(t, f.PutIfAbsent(t.Context(), "k", []byte("zombie")))
		if err := f.PutIfAbsent(t.Context(), "k", []byte("seal")); err != nil {
			t.Error(err)
		}
		if f.Pending() != 1 {
			t.Errorf("%d pending", f.Pending())
		}
		_ = content(t, f, "k")
		_ = content(t, f, "k") // the third call
		if got := content(t, f, "k"); got != "seal" || f.Pending() != 0 {
			t.Errorf("content %q, %d pending", got, f.Pending())
		}
		if e := f.Events(); !errors.Is(e[len(e)-1].Err, objstore.ErrExists) {
			t.Errorf("events %+v", e)
		}
	})
}

// TestTwiceResurrects: a repeated request brings back what was deleted.
func TestTwiceResurrects(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		f.FailNext(faulty.PutIfAbsent, "", faulty.Fault{Kind: faulty.LandTwice, Delay: time.Hour})
		if err := f.PutIfAbsent(t.Context(), "k", []byte("v")); err != nil {
			t.Error(err)
		}
		if err := f.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		f.Drain()
		if got := content(t, f, "k"); got != "v" {
			t.Errorf("content %q", got)
		}
	})
}

func TestDeletes(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		keys := []string{"a", "b", "c", "d"}
		for _, key := range keys {
			if err := f.Put(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
		f.FailNext(faulty.Delete, "d", faulty.Fault{Kind: faulty.Torn}) // any of the keys
		wantInjected(t, f.Delete(t.Context(), keys...))
		if got := listing(t, f); !slices.Equal(got, []string{"c", "d"}) {
			t.Errorf("half a delete leaves %q", got)
		}
		f.FailNext(faulty.Delete, "", faulty.Fault{Kind: faulty.LandLate, Delay: time.Second})
		wantInjected(t, f.Delete(t.Context(), keys...))
		if err := f.Put(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		f.Drain()
		if got := listing(t, f); len(got) != 0 {
			t.Errorf("a late delete leaves %q", got)
		}
	})
}

func listing(t *testing.T, s objstore.Store) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// TestCloseDrops: what has not landed by then never does.
func TestCloseDrops(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		f.SetRules(faulty.Rule{Ops: faulty.Put, Probability: 1, Fault: faulty.Fault{Kind: faulty.LandLate, Delay: time.Second, Jitter: time.Hour}})
		for i := range 100 {
			wantInjected(t, f.Put(t.Context(), fmt.Sprint("k", i), nil))
		}
		f.SetRules()
		time.Sleep(30 * time.Minute)
		f.Close()
		before := len(listing(t, f))
		time.Sleep(2 * time.Hour)
		if after := len(listing(t, f)); before != after || before < 20 || before > 80 {
			t.Errorf("%d objects at Close, %d later", before, after)
		}
	})
}

func TestReads(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	bubble(t, func(t *testing.T, f *faulty.Store) {
		ctx := t.Context()
		if err := f.Put(ctx, "k", data); err != nil {
			t.Fatal(err)
		}
		reads := map[faulty.Op]func() ([]byte, error){
			faulty.Get:      func() ([]byte, error) { return f.Get(ctx, "k") },
			faulty.GetRange: func() ([]byte, error) { return f.GetRange(ctx, "k", 0, 1<<20) },
			faulty.Download: func() ([]byte, error) {
				body, err := f.Download(ctx, "k", 0, -1)
				if err != nil {
					return nil, err
				}
				defer body.Close()
				return io.ReadAll(body)
			},
		}
		for op, read := range reads {
			f.FailNext(op, "k", faulty.Fault{Kind: faulty.Truncate})
			_, err := read()
			wantInjected(t, err)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("truncated %v: %v", op, err)
			}
			f.FailNext(op, "k", faulty.Fault{Kind: faulty.Flip})
			got, err := read()
			if err != nil || len(got) != len(data) || flipped(got, data) != 1 {
				t.Errorf("flipped %v: %d bytes, %d bits differ, error %v", op, len(got), flipped(got, data), err)
			}
			start := time.Now()
			f.FailNext(op, "k", faulty.Fault{Kind: faulty.Slow, Delay: time.Second})
			got, err = read()
			if err != nil || !bytes.Equal(got, data) || time.Since(start) != time.Second {
				t.Errorf("slow %v: error %v after %v", op, err, time.Since(start))
			}
			hung, cancel := context.WithTimeout(ctx, time.Minute)
			ctx, hung = hung, ctx
			f.FailNext(op, "k", faulty.Fault{Kind: faulty.Hang})
			if _, err = read(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("hung %v: %v", op, err)
			}
			ctx = hung
			cancel()
		}
	})
}

func flipped(a, b []byte) (n int) {
	for i := range min(len(a), len(b)) {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return n
}

func TestSlowList(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		for i := range 35 {
			if err := f.Put(t.Context(), fmt.Sprintf("%02d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		f.FailNext(faulty.List, "", faulty.Fault{Kind: faulty.Slow, Delay: time.Second})
		if n := len(listing(t, f)); n != 35 || time.Since(start) != 4*time.Second {
			t.Errorf("slow listing of 4 pages: %d objects in %v", n, time.Since(start))
		}
		f.FailNext(faulty.List, "", faulty.Fault{Kind: faulty.Truncate})
		var err error
		for _, err = range f.List(t.Context(), "", "") {
		}
		wantInjected(t, err)
	})
}

// TestScript: faults wait for their calls, and strike once each, in order.
func TestScript(t *testing.T) {
	bubble(t, func(t *testing.T, f *faulty.Store) {
		ctx := t.Context()
		f.FailNext(faulty.PutIfAbsent, "wal/", faulty.Fault{Kind: faulty.FailBefore})
		f.FailNext(faulty.PutIfAbsent, "wal/", faulty.Fault{Kind: faulty.FailAfter})
		if err := errors.Join(f.PutIfAbsent(ctx, "sst/1", nil), f.Put(ctx, "wal/0", nil)); err != nil {
			t.Error(err)
		}
		wantInjected(t, f.PutIfAbsent(ctx, "wal/1", nil))
		wantInjected(t, f.PutIfAbsent(ctx, "wal/1", nil))
		if f.Unmet() != 0 {
			t.Errorf("%d unmet", f.Unmet())
		}
		if err := f.PutIfAbsent(ctx, "wal/1", nil); !errors.Is(err, objstore.ErrExists) {
			t.Error(err)
		}
	})
}

// TestSeed: one seed, one history.
func TestSeed(t *testing.T) {
	history := func(seed uint64) (kinds []faulty.Kind) {
		f := faulty.New(mem.New(), faulty.Options{Seed: seed, Rules: []faulty.Rule{
			{Probability: 0.3, Fault: faulty.Fault{Kind: faulty.FailBefore}},
			{Ops: faulty.Put, Probability: 0.3, Fault: faulty.Fault{Kind: faulty.FailAfter}},
		}})
		for i := range 200 {
			_ = f.Put(t.Context(), fmt.Sprint(i), nil)
		}
		for _, e := range f.Events() {
			kinds = append(kinds, e.Kind)
		}
		return kinds
	}
	if a, b := history(3), history(3); !slices.Equal(a, b) || len(a) < 60 {
		t.Errorf("one seed, two histories, of %d and %d events", len(a), len(b))
	}
	if slices.Equal(history(3), history(4)) {
		t.Error("two seeds, one history")
	}
}
