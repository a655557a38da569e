package tabletservertest

import (
	"context"
	"iter"
	"strings"
	"sync"

	"github.com/tabletdb/tabletdb/objstore"
)

// Op is a kind of call of a store.
type Op uint8

const (
	Get Op = iota // Get, GetRange and Stat
	Put           // Put and PutIfAbsent
	Delete
	List
)

// Call is one call of a store on one key.
type Call struct {
	Op  Op
	Key string
}

// Spy is a store that remembers what it is asked, and lets a test step in
// before a call.
type Spy struct {
	objstore.Store
	mu struct {
		sync.Mutex
		calls  []Call
		before func(context.Context, Call) error
	}
}

// NewSpy returns a Spy on s.
func NewSpy(s objstore.Store) *Spy { return &Spy{Store: s} }

// Before installs f, nil for none, to be called before each call; an error of
// f is the call's, which then has no effect. f may block, and may be called
// concurrently.
func (s *Spy) Before(f func(ctx context.Context, c Call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.before = f
}

// Once calls f, in the goroutine of the caller, before the next call of op on a
// key with the prefix; then it steps out of the way.
func (s *Spy) Once(op Op, prefix string, f func()) {
	var once sync.Once
	s.Before(func(_ context.Context, c Call) error {
		if c.Op == op && strings.HasPrefix(c.Key, prefix) {
			once.Do(func() { s.Before(nil); f() })
		}
		return nil
	})
}

// Hang makes calls of op on keys with the prefix wait until their context
// ends, or until the function that is returned is called, which steps out of
// the way.
func (s *Spy) Hang(op Op, prefix string) (release func()) {
	gate := make(chan struct{})
	s.Before(func(ctx context.Context, c Call) error {
		if c.Op != op || !strings.HasPrefix(c.Key, prefix) {
			return nil
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sync.OnceFunc(func() { s.Before(nil); close(gate) })
}

// Count returns how many calls of op there were on keys with the prefix.
func (s *Spy) Count(op Op, prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.mu.calls {
		if c.Op == op && strings.HasPrefix(c.Key, prefix) {
			n++
		}
	}
	return n
}

// Reset forgets the calls so far.
func (s *Spy) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.calls = nil
}

func (s *Spy) note(ctx context.Context, op Op, keys ...string) error {
	s.mu.Lock()
	before := s.mu.before
	for _, k := range keys {
		s.mu.calls = append(s.mu.calls, Call{op, k})
	}
	s.mu.Unlock()
	if before == nil {
		return nil
	}
	for _, k := range keys {
		if err := before(ctx, Call{op, k}); err != nil {
			return err
		}
	}
	return nil
}

// Put implements objstore.Store.
func (s *Spy) Put(ctx context.Context, key string, data []byte) error {
	if err := s.note(ctx, Put, key); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, data)
}

// PutIfAbsent implements objstore.Store.
func (s *Spy) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := s.note(ctx, Put, key); err != nil {
		return err
	}
	return s.Store.PutIfAbsent(ctx, key, data)
}

// Get implements objstore.Store.
func (s *Spy) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.note(ctx, Get, key); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

// GetRange implements objstore.Store.
func (s *Spy) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := s.note(ctx, Get, key); err != nil {
		return nil, err
	}
	return s.Store.GetRange(ctx, key, off, n)
}

// Stat implements objstore.Store.
func (s *Spy) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := s.note(ctx, Get, key); err != nil {
		return objstore.Info{}, err
	}
	return s.Store.Stat(ctx, key)
}

// Delete implements objstore.Store.
func (s *Spy) Delete(ctx context.Context, keys ...string) error {
	if err := s.note(ctx, Delete, keys...); err != nil {
		return err
	}
	return s.Store.Delete(ctx, keys...)
}

// List implements objstore.Store.
func (s *Spy) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	if err := s.note(ctx, List, prefix); err != nil {
		return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, err) }
	}
	return s.Store.List(ctx, prefix, startAfter)
}
