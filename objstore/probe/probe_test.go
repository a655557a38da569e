package probe_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/local"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/probe"
)

func wantEmpty(t *testing.T, s objstore.Store) {
	t.Helper()
	for info, err := range s.List(t.Context(), "", "") {
		t.Errorf("the probe left %s, %v", info.Key, err)
	}
}

func TestGoodStores(t *testing.T) {
	dir, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []objstore.Store{mem.New(), dir} {
		start := time.Now()
		if err := probe.Run(t.Context(), s, probe.Options{}); err != nil {
			t.Errorf("%T: %v", s, err)
		}
		t.Logf("%T: %v", s, time.Since(start))
		wantEmpty(t, s)
	}
}

// bad is a store in memory with one method that is wrong.
type bad struct {
	*mem.Store
	putIfAbsent func(ctx context.Context, key string, data []byte) error
	put         func(ctx context.Context, key string, data []byte) error
	get         func(ctx context.Context, key string) ([]byte, error)
	getRange    func(ctx context.Context, key string, off, n int64) ([]byte, error)
	list        func(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error]
	remove      func(ctx context.Context, keys ...string) error
}

func (b *bad) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if b.putIfAbsent != nil {
		return b.putIfAbsent(ctx, key, data)
	}
	return b.Store.PutIfAbsent(ctx, key, data)
}

func (b *bad) Put(ctx context.Context, key string, data []byte) error {
	if b.put != nil {
		return b.put(ctx, key, data)
	}
	return b.Store.Put(ctx, key, data)
}

func (b *bad) Get(ctx context.Context, key string) ([]byte, error) {
	if b.get != nil {
		return b.get(ctx, key)
	}
	return b.Store.Get(ctx, key)
}

func (b *bad) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if b.getRange != nil {
		return b.getRange(ctx, key, off, n)
	}
	return b.Store.GetRange(ctx, key, off, n)
}

func (b *bad) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	if b.list != nil {
		return b.list(ctx, prefix, startAfter)
	}
	return b.Store.List(ctx, prefix, startAfter)
}

func (b *bad) Delete(ctx context.Context, keys ...string) error {
	if b.remove != nil {
		return b.remove(ctx, keys...)
	}
	return b.Store.Delete(ctx, keys...)
}

// badStores break one promise each.
func badStores() map[string]func(b *bad) {
	return map[string]func(b *bad){
		"ignores or races If-None-Match": func(b *bad) { b.putIfAbsent = b.Store.Put },
		"ignores or races": func(b *bad) { // checks, then puts, with a window between
			b.putIfAbsent = func(ctx context.Context, key string, data []byte) error {
				if _, err := b.Store.Stat(ctx, key); err == nil {
					return objstore.ErrExists
				}
				<-time.After(time.Millisecond)
				return b.Store.Put(ctx, key, data)
			}
		},
		"all were told that it exists": func(b *bad) {
			b.putIfAbsent = func(context.Context, string, []byte) error { return objstore.ErrExists }
		},
		"content of a request that failed": func(b *bad) { // the last one stays, the first one wins
			var seen sync.Map
			b.putIfAbsent = func(ctx context.Context, key string, data []byte) error {
				_, exists := seen.LoadOrStore(key, true)
				if err := b.Store.Put(ctx, key, data); err != nil || !exists {
					return err
				}
				return objstore.ErrExists
			}
		},
		"lacks read-after-write": func(b *bad) {
			b.get = func(context.Context, string) ([]byte, error) { return nil, objstore.ErrNotFound }
		},
		"lacks list-after-write": func(b *bad) {
			n := 0
			b.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
				return func(yield func(objstore.Info, error) bool) {
					for info, err := range b.Store.List(ctx, prefix, after) {
						if n++; n == 5 {
							continue
						}
						if !yield(info, err) {
							return
						}
					}
				}
			}
		},
		"a listing that starts after": func(b *bad) {
			b.list = func(ctx context.Context, prefix, _ string) iter.Seq2[objstore.Info, error] {
				return b.Store.List(ctx, prefix, "")
			}
		},
		"gives the wrong bytes": func(b *bad) {
			b.getRange = func(ctx context.Context, key string, _, _ int64) ([]byte, error) { return b.Store.Get(ctx, key) }
		},
		"shows its old content": func(b *bad) {
			b.put = func(ctx context.Context, key string, data []byte) error {
				if strings.HasPrefix(string(data), "replaced") {
					return nil
				}
				return b.Store.Put(ctx, key, data)
			}
		},
		"can still be read": func(b *bad) {
			b.remove = func(context.Context, ...string) error { return nil }
		},
	}
}

func TestUnfitStores(t *testing.T) {
	for want, breakIt := range badStores() {
		b := &bad{Store: mem.New()}
		breakIt(b)
		err := probe.Run(t.Context(), b, probe.Options{})
		if !errors.Is(err, probe.ErrUnfit) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestFailingStores: a store that fails, or whose replies get lost, is not unfit.
func TestFailingStores(t *testing.T) {
	for _, kind := range []faulty.Kind{faulty.FailBefore, faulty.FailAfter, faulty.Throttle, faulty.LandLate} {
		for _, probability := range []float64{0.02, 0.5, 1} {
			inner := mem.New()
			f := faulty.New(inner, faulty.Options{Seed: 5, Rules: []faulty.Rule{
				{Probability: probability, Fault: faulty.Fault{Kind: kind, Calls: 3}},
			}})
			if err := probe.Run(t.Context(), f, probe.Options{}); errors.Is(err, probe.ErrUnfit) {
				t.Errorf("%v with probability %v: %v", kind, probability, err)
			}
			f.Close()
		}
	}
}

// TestLostRepliesBelow: the winner was told that its own object exists.
func TestLostRepliesBelow(t *testing.T) {
	b := &bad{Store: mem.New()}
	b.putIfAbsent = func(ctx context.Context, key string, data []byte) error {
		_ = b.Store.PutIfAbsent(ctx, key, data)
		return objstore.ErrExists
	}
	if err := probe.Run(t.Context(), b, probe.Options{}); err == nil || errors.Is(err, probe.ErrUnfit) {
		t.Errorf("error %v, want one that is not ErrUnfit", err)
	}
}

// TestLeftovers of dead probes are deleted when they are old.
func TestLeftovers(t *testing.T) {
	s := mem.New()
	for _, key := range []string{"probe/1000000000-0011-00", "probe/99999999999-0011-00", "other"} {
		if err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := probe.Run(t.Context(), s, probe.Options{Rounds: 1, Racers: 2}); err != nil {
		t.Fatal(err)
	}
	var left []string
	for info := range s.List(t.Context(), "", "") {
		left = append(left, info.Key)
	}
	if want := []string{"other", "probe/99999999999-0011-00"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}
