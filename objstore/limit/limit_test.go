package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		return limit.New(mem.New(), limit.Options{Foreground: limit.Limits{Calls: 2, BytesPerSecond: 1 << 30}})
	})
}

// TestConcurrency: calls of one second each, so many at a time per class.
func TestConcurrency(t *testing.T) {
	for _, c := range []struct {
		class limit.Class
		calls int
		want  time.Duration
	}{
		{limit.Foreground, 12, 3 * time.Second},
		{limit.Background, 12, 6 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			slow := faulty.New(mem.New(), faulty.Options{Rules: []faulty.Rule{
				{Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow, Delay: time.Second}},
			}})
			s := limit.New(slow, limit.Options{Foreground: limit.Limits{Calls: 4}, Background: limit.Limits{Calls: 2}})
			ctx := limit.WithClass(t.Context(), c.class)
			start := time.Now()
			var wg sync.WaitGroup
			for i := range c.calls {
				wg.Go(func() {
					if err := s.Put(ctx, fmt.Sprint("k", i), nil); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(start); took != c.want {
				t.Errorf("class %d: %d calls took %v, want %v", c.class, c.calls, took, c.want)
			}
		})
	}
}

// TestClassesAreApart: background calls do not hold up foreground ones.
func TestClassesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty.New(mem.New(), faulty.Options{})
		s := limit.New(f, limit.Options{Foreground: limit.Limits{Calls: 1}, Background: limit.Limits{Calls: 1}})
		ctx, cancel := context.WithCancel(limit.WithClass(t.Context(), limit.Background))
		f.FailNext(faulty.Put, "stuck", faulty.Fault{Kind: faulty.Hang})
		done := make(chan error)
		go func() { done <- s.Put(ctx, "stuck", nil) }()
		synctest.Wait()
		if err := s.Put(t.Context(), "k", nil); err != nil {
			t.Error(err)
		}
		impatient, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		if err := s.Put(impatient, "other", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a slot: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := s.Put(limit.WithClass(t.Context(), limit.Background), "other", nil); err != nil {
			t.Errorf("the slot was not given back: %v", err)
		}
	})
}

func TestBytesPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.New(mem.New(), limit.Options{Foreground: limit.Limits{BytesPerSecond: 1000}})
		start := time.Now()
		for i := range 11 {
			if err := s.Put(t.Context(), fmt.Sprint("k", i), make([]byte, 2500)); err != nil {
				t.Fatal(err)
			}
		}
		// The first second's worth is free, and the last put does not wait for itself.
		if took := time.Since(start); took < 23*time.Second || took > 26*time.Second {
			t.Errorf("27,500 bytes at 1,000 a second took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Get(ctx, "k0"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for bandwidth: %v", err)
		}
		if _, err := s.Get(t.Context(), "k0"); err != nil {
			t.Error(err)
		}
	})
}

// TestDownloadHoldsSlot until it is closed, and gives it back once.
func TestDownloadHoldsSlot(t *testing.T) {
	s := limit.New(mem.New(), limit.Options{Foreground: limit.Limits{Calls: 1}})
	if err := s.Put(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	body, err := s.Download(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second call: %v", err)
	}
	body.Close()
	body.Close()
	if _, err := s.Get(t.Context(), "k"); err != nil {
		t.Error(err)
	}
}
