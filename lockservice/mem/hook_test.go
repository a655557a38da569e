package mem_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// script answers attempt i of every transaction with faults[i], then Deliver.
func script(faults ...mem.Fault) mem.Hook {
	return func(_ lockservice.Txn, attempt int) mem.Fault {
		if attempt < len(faults) {
			return faults[attempt]
		}
		return mem.Deliver
	}
}

// forgetful is a service that remembers no decisions: retries are recognised
// only by what stands on the keys.
func forgetful() *mem.Service {
	return mem.New(mem.Options{State: state.Options{Decisions: -1}})
}

func create(key, value string) lockservice.Txn {
	return lockservice.Txn{
		If:   []lockservice.Compare{lockservice.Absent(key)},
		Then: []lockservice.Op{lockservice.Put(key, []byte(value))},
	}
}

func bubble(t *testing.T, s func() *mem.Service, f func(t *testing.T, a, b *mem.Client)) {
	synctest.Test(t, func(t *testing.T) {
		service := s()
		a, b := service.Client(), service.Client()
		f(t, a, b)
		a.Close()
		b.Close()
		service.Close()
	})
}

func value(t *testing.T, c lockservice.Client, key string) string {
	t.Helper()
	kv, ok, _, err := c.Get(t.Context(), key, lockservice.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "<absent>"
	}
	return string(kv.Value)
}

// TestH4LostReply: the transaction was applied and its reply lost; the retry
// is the same transaction, not a failure.
func TestH4LostReply(t *testing.T) {
	for name, service := range map[string]func() *mem.Service{
		"decisions": func() *mem.Service { return mem.New(mem.Options{}) },
		"keys only": forgetful,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, service, func(t *testing.T, a, _ *mem.Client) {
				a.SetHook(script(mem.LoseReply, mem.LoseRequest))
				r, err := a.Txn(t.Context(), create("k", "mine"))
				if err != nil || !r.Succeeded || !r.Retried {
					t.Errorf("got %+v, %v; want a retried success", r, err)
				}
			})
		})
	}
}

// TestH4OverwrittenBeforeRetry: without a memory of decisions the retry of an
// applied transaction whose effect is gone fails, and says that it was retried.
func TestH4OverwrittenBeforeRetry(t *testing.T) {
	run := func(t *testing.T, service func() *mem.Service, want bool) {
		bubble(t, service, func(t *testing.T, a, b *mem.Client) {
			a.SetHook(func(_ lockservice.Txn, attempt int) mem.Fault {
				if attempt == 0 {
					return mem.LoseReply
				}
				if attempt == 1 {
					over := lockservice.Txn{Then: []lockservice.Op{lockservice.Put("k", []byte("theirs"))}}
					if _, err := b.Txn(t.Context(), over); err != nil {
						t.Error(err)
					}
				}
				return mem.Deliver
			})
			r, err := a.Txn(t.Context(), create("k", "mine"))
			if err != nil || r.Succeeded != want || !r.Retried {
				t.Errorf("got %+v, %v; want succeeded = %v, retried", r, err, want)
			}
			if v := value(t, a, "k"); v != "theirs" {
				t.Errorf("k = %q: the retry was applied again", v)
			}
		})
	}
	t.Run("remembered", func(t *testing.T) { run(t, func() *mem.Service { return mem.New(mem.Options{}) }, true) })
	t.Run("forgotten", func(t *testing.T) { run(t, forgetful, false) })
}

// TestH4LateLanding: an undecided transaction lands long after its caller gave
// up and read that nothing had changed; it does not land any more once another
// transaction changed what it compares (rule R4).
func TestH4LateLanding(t *testing.T) {
	for _, touch := range []bool{false, true} {
		bubble(t, forgetful, func(t *testing.T, a, b *mem.Client) {
			if _, err := b.Txn(t.Context(), create("record", "served by A")); err != nil {
				t.Fatal(err)
			}
			kv, _, _, err := a.Get(t.Context(), "record", lockservice.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			a.SetHook(script(mem.GiveUpLate))
			release := lockservice.Txn{
				If:   []lockservice.Compare{lockservice.ModRevisionIs("record", kv.ModRevision)},
				Then: []lockservice.Op{lockservice.Put("record", []byte("released"))},
			}
			if _, err := a.Txn(t.Context(), release); !errors.Is(err, base.ErrUndecided) {
				t.Fatalf("got %v, want ErrUndecided", err)
			}
			a.SetHook(nil)
			if v := value(t, a, "record"); v != "served by A" {
				t.Errorf("record = %q before the transaction landed", v)
			}
			want := "released"
			if touch {
				want = "served by A, rewritten"
				if _, err := a.Txn(t.Context(), lockservice.Txn{
					If:   []lockservice.Compare{lockservice.ModRevisionIs("record", kv.ModRevision)},
					Then: []lockservice.Op{lockservice.Put("record", []byte(want))},
				}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Hour)
			a.Land()
			if v := value(t, b, "record"); v != want {
				t.Errorf("record = %q, want %q (touch %v)", v, want, touch)
			}
		})
	}
}

// TestH4LateCopyOfDecided: a copy that lands after its retry was decided
// changes nothing, even where its compares hold again.
func TestH4LateCopyOfDecided(t *testing.T) {
	bubble(t, func() *mem.Service { return mem.New(mem.Options{}) }, func(t *testing.T, a, b *mem.Client) {
		a.SetHook(script(mem.LandLate))
		if r, err := a.Txn(t.Context(), create("k", "mine")); err != nil || !r.Succeeded {
			t.Fatalf("%+v, %v", r, err)
		}
		if _, err := b.Txn(t.Context(), lockservice.Txn{Then: []lockservice.Op{lockservice.Delete("k")}}); err != nil {
			t.Fatal(err)
		}
		a.Land()
		if v := value(t, b, "k"); v != "<absent>" {
			t.Errorf("k = %q: one transaction took effect twice", v)
		}
	})
}

// TestH24Partition: a client that hears nothing is in jeopardy, for as long as
// it takes, and safe again after a renewal; only the service says expired.
func TestH24Partition(t *testing.T) {
	bubble(t, func() *mem.Service { return mem.New(mem.Options{}) }, func(t *testing.T, a, b *mem.Client) {
		s, err := a.OpenSession(t.Context(), "s", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		a.Partition(true)
		time.Sleep(9500 * time.Millisecond)
		if got := s.State(); got != lockservice.SessionJeopardy {
			t.Errorf("state %v, want jeopardy", got)
		}
		changed := s.Changed()
		a.Partition(false)
		<-changed
		if got := s.State(); got != lockservice.SessionSafe {
			t.Errorf("state %v, want safe again", got)
		}
		a.Partition(true)
		time.Sleep(time.Hour)
		if got := s.State(); got != lockservice.SessionJeopardy {
			t.Errorf("state %v after an hour alone, want jeopardy", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Txn(ctx, create("k", "")); !errors.Is(err, base.ErrNoLeader) {
			t.Errorf("transaction while cut off: %v, want ErrNoLeader", err)
		}
		a.Partition(false)
		<-s.Expired()
		if got := s.State(); got != lockservice.SessionExpired {
			t.Errorf("state %v, want expired", got)
		}
	})
}
