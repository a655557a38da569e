package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
	"github.com/tabletdb/tabletdb/objstore/retry"
)

// TestConformance: with a third of all calls failing cleanly, nobody notices.
func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		f := faulty.New(mem.New(), faulty.Options{Seed: 1, PageSize: 20, Rules: []faulty.Rule{
			{Probability: 0.1, Fault: faulty.Fault{Kind: faulty.FailBefore}},
			{Probability: 0.1, Fault: faulty.Fault{Kind: faulty.Throttle}},
			{Probability: 0.1, Fault: faulty.Fault{Kind: faulty.Truncate}},
			{Ops: faulty.Writes, Probability: 0.1, Fault: faulty.Fault{Kind: faulty.Torn}},
			{Ops: faulty.Put | faulty.Delete, Probability: 0.1, Fault: faulty.Fault{Kind: faulty.FailAfter}},
		}})
		return retry.New(f, retry.Options{
			Attempts: 50, Budget: -1,
			BaseDelay: time.Microsecond, ThrottledDelay: time.Microsecond, MaxDelay: time.Microsecond,
		})
	})
}

// bubble runs test in a synctest bubble, with retries over faults over memory.
func bubble(t *testing.T, opts retry.Options, test func(t *testing.T, r *retry.Store, f *faulty.Store)) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.New(mem.New(), faulty.Options{PageSize: 4})
		defer f.Close()
		test(t, retry.New(f, opts), f)
	})
}

func TestDelays(t *testing.T) {
	for _, c := range []struct {
		kind     faulty.Kind
		min, max time.Duration // for four retries
	}{
		{faulty.FailBefore, 375 * time.Millisecond, 750 * time.Millisecond}, // 50+100+200+400
		{faulty.Throttle, 3750 * time.Millisecond, 7500 * time.Millisecond},
	} {
		bubble(t, retry.Options{Attempts: 5}, func(t *testing.T, r *retry.Store, f *faulty.Store) {
			start := time.Now()
			for range 4 {
				f.FailNext(faulty.Put, "k", faulty.Fault{Kind: c.kind})
			}
			if err := r.Put(t.Context(), "k", nil); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took < c.min || took > c.max {
				t.Errorf("%v: retries took %v, want %v to %v", c.kind, took, c.min, c.max)
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	var events []retry.Event
	opts := retry.Options{Attempts: 3, OnRetry: func(e retry.Event) { events = append(events, e) }}
	bubble(t, opts, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		f.SetRules(faulty.Rule{Probability: 1, Fault: faulty.Fault{Kind: faulty.FailBefore}})
		_, err := r.Get(t.Context(), "k")
		if !errors.Is(err, faulty.ErrInjected) || !strings.Contains(err.Error(), "after 3 attempts") {
			t.Errorf("error %v", err)
		}
		if len(events) != 2 || events[1].Attempt != 2 || events[1].Op != "Get" || events[1].Key != "k" {
			t.Errorf("events %+v", events)
		}
	})
}

func TestPermanentErrors(t *testing.T) {
	opts := retry.Options{OnRetry: func(e retry.Event) { t.Errorf("retried: %+v", e) }}
	bubble(t, opts, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		ctx := t.Context()
		if _, err := r.Get(ctx, "k"); !errors.Is(err, objstore.ErrNotFound) {
			t.Error(err)
		}
		if err := r.Put(ctx, "", nil); !errors.Is(err, base.ErrInvalid) {
			t.Error(err)
		}
		if err := r.Put(ctx, "k", nil); err != nil {
			t.Error(err)
		}
		if err := r.PutIfAbsent(ctx, "k", nil); !errors.Is(err, objstore.ErrExists) {
			t.Error(err)
		}
	})
}

// TestLostReply: the caller's own object looks like a stranger's.
func TestLostReply(t *testing.T) {
	bubble(t, retry.Options{}, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		f.FailNext(faulty.PutIfAbsent, "k", faulty.Fault{Kind: faulty.FailAfter})
		if err := r.PutIfAbsent(t.Context(), "k", []byte("mine")); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("error %v, want ErrExists", err)
		}
		if data, err := r.Get(t.Context(), "k"); err != nil || string(data) != "mine" {
			t.Errorf("object %q, %v", data, err)
		}
	})
}

func TestAttemptTimeout(t *testing.T) {
	bubble(t, retry.Options{AttemptTimeout: 2 * time.Second, Attempts: 2}, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		start := time.Now()
		f.FailNext(faulty.Put, "k", faulty.Fault{Kind: faulty.Hang})
		if err := r.Put(t.Context(), "k", []byte("v")); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		f.FailNext(faulty.Get, "k", faulty.Fault{Kind: faulty.Hang})
		f.FailNext(faulty.Get, "k", faulty.Fault{Kind: faulty.Hang})
		_, err := r.Get(t.Context(), "k")
		if !errors.Is(err, base.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want ErrUnavailable that is not taken for the caller's deadline", err)
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	bubble(t, retry.Options{BaseDelay: time.Minute, MaxDelay: time.Minute}, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f.FailNext(faulty.Put, "k", faulty.Fault{Kind: faulty.FailBefore})
		start := time.Now()
		err := r.Put(ctx, "k", nil)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, faulty.ErrInjected) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestBudget: a store that is down gets the budget's retries, not five per call.
func TestBudget(t *testing.T) {
	retries := 0
	opts := retry.Options{
		Budget: 10, BudgetPerSecond: 0.001, BaseDelay: time.Millisecond, MaxDelay: time.Millisecond,
		OnRetry: func(retry.Event) { retries++ },
	}
	bubble(t, opts, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		f.SetRules(faulty.Rule{Probability: 1, Fault: faulty.Fault{Kind: faulty.FailBefore}})
		for range 100 {
			if err := r.Put(t.Context(), "k", nil); !errors.Is(err, faulty.ErrInjected) {
				t.Error(err)
			}
		}
		if retries != 10 {
			t.Errorf("%d retries on a store that is down, want the budget of 10", retries)
		}
		f.SetRules()
		for range 30 { // earns three
			if err := r.Put(t.Context(), "k", nil); err != nil {
				t.Error(err)
			}
		}
		f.SetRules(faulty.Rule{Probability: 1, Fault: faulty.Fault{Kind: faulty.FailBefore}})
		retries = 0
		_ = r.Put(t.Context(), "k", nil)
		_ = r.Put(t.Context(), "k", nil)
		if retries < 2 || retries > 3 {
			t.Errorf("%d retries after 30 successes, want about 3", retries)
		}
	})
}

// TestListResumes: what broken listings showed is not shown again.
func TestListResumes(t *testing.T) {
	bubble(t, retry.Options{}, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		for i := range 20 {
			if err := r.Put(t.Context(), fmt.Sprintf("l/%02d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			f.FailNext(faulty.List, "l/", faulty.Fault{Kind: faulty.Truncate})
		}
		n := 0
		for info, err := range r.List(t.Context(), "l/", "") {
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("l/%02d", n); info.Key != want {
				t.Errorf("listing shows %s, want %s", info.Key, want)
			}
			n++
		}
		if n != 20 {
			t.Errorf("%d objects listed, want 20", n)
		}
	})
}

func TestDownloadResumes(t *testing.T) {
	bubble(t, retry.Options{}, func(t *testing.T, r *retry.Store, f *faulty.Store) {
		data := make([]byte, 50_000)
		for i := range data {
			data[i] = byte(i * 7)
		}
		if err := r.Put(t.Context(), "k", data); err != nil {
			t.Fatal(err)
		}
		for _, off := range []int64{0, 10_000, -30_000} {
			for range 4 {
				f.FailNext(faulty.Download, "k", faulty.Fault{Kind: faulty.Truncate})
			}
			body, err := r.Download(t.Context(), "k", off, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			lo, _ := objstore.Window(int64(len(data)), off, -1)
			if err != nil || !bytes.Equal(got, data[lo:]) {
				t.Errorf("from %d: %d bytes, error %v", off, len(got), err)
			}
			body.Close()
		}
		if f.Unmet() != 0 {
			t.Errorf("%d faults did not strike", f.Unmet())
		}
	})
}
