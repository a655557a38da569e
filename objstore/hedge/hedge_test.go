package hedge_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/hedge"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return hedge.New(mem.New(), hedge.Options{}) })
}

// slow makes all reads take 20 ms, and a fraction of them two seconds.
func slow(f *faulty.Store, fraction float64) {
	f.SetRules(
		faulty.Rule{Ops: faulty.GetRange, Probability: fraction, Fault: faulty.Fault{Kind: faulty.Slow, Delay: 2 * time.Second}},
		faulty.Rule{Ops: faulty.GetRange, Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow, Delay: 20 * time.Millisecond}},
	)
}

// bubble runs f on a store whose reads have taken 20 ms so far.
func bubble(t *testing.T, f func(t *testing.T, s *hedge.Store, inner *faulty.Store)) {
	synctest.Test(t, func(t *testing.T) {
		inner := faulty.New(mem.New(), faulty.Options{Seed: 1})
		if err := inner.Put(t.Context(), "k", []byte("content")); err != nil {
			t.Fatal(err)
		}
		s := hedge.New(inner, hedge.Options{})
		slow(inner, 0)
		for range 200 {
			read(t, s)
		}
		if hedges, _ := s.Stats(); hedges != 0 {
			t.Fatalf("%d hedges of reads that were all as fast", hedges)
		}
		f(t, s, inner)
		time.Sleep(time.Minute) // those that lost
	})
}

func read(t *testing.T, s *hedge.Store) time.Duration {
	t.Helper()
	began := time.Now()
	b, err := s.GetRange(t.Context(), "k", 0, 7)
	if err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	return time.Since(began)
}

// TestLate: rare slow reads are cut short by a second request.
func TestLate(t *testing.T) {
	bubble(t, func(t *testing.T, s *hedge.Store, inner *faulty.Store) {
		slow(inner, 0.02)
		late := 0
		for range 1000 {
			if read(t, s) > 100*time.Millisecond {
				late++
			}
		}
		hedges, wins := s.Stats()
		t.Logf("%d late, %d hedges, %d wins", late, hedges, wins)
		if late > 3 || hedges < 5 || hedges > 60 || wins < 5 {
			t.Errorf("%d of 1000 late, %d hedges, %d wins", late, hedges, wins)
		}
	})
}

// TestBudget: a store that is slow throughout is not asked for twice as much.
func TestBudget(t *testing.T) {
	bubble(t, func(t *testing.T, s *hedge.Store, inner *faulty.Store) {
		slow(inner, 0.5)
		for range 400 {
			read(t, s)
		}
		if hedges, _ := s.Stats(); hedges > 10+400*5/100 {
			t.Errorf("%d hedges of 400 reads", hedges)
		}
	})
}

// TestErrors: an error of one request is not the answer while the other may
// bring a better one; that the object does not exist is.
func TestErrors(t *testing.T) {
	bubble(t, func(t *testing.T, s *hedge.Store, inner *faulty.Store) {
		inner.FailNext(faulty.GetRange, "k", faulty.Fault{Kind: faulty.FailBefore, Delay: 50 * time.Millisecond})
		if d := read(t, s); d >= 50*time.Millisecond {
			t.Errorf("the second request answered after %v", d)
		}
		inner.FailNext(faulty.GetRange, "k", faulty.Fault{Kind: faulty.FailBefore})
		if _, err := s.GetRange(t.Context(), "k", 0, 7); !errors.Is(err, faulty.ErrInjected) {
			t.Errorf("a quick failure: %v", err)
		}
		if _, err := s.GetRange(t.Context(), "other", 0, 7); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("no object: %v", err)
		}
		before, _ := s.Stats()
		inner.FailNext(faulty.GetRange, "k", faulty.Fault{Kind: faulty.Slow, Delay: time.Second})
		began := time.Now()
		if _, err := s.GetRange(limit.WithClass(t.Context(), limit.Background), "k", 0, 7); err != nil || time.Since(began) < time.Second {
			t.Errorf("background work: %v after %v", err, time.Since(began))
		}
		if after, _ := s.Stats(); after != before {
			t.Error("background work was hedged")
		}
	})
}
