// Package retry is the decorator that tries failed calls on an object store
// again: with jittered exponential delays, longer ones when the store asks for
// less load, and within a budget shared by all calls, so that retries cannot
// multiply the load on a store that is down.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Options of a Store; the zero Options are valid and mean the defaults.
type Options struct {
	// Attempts is how often a call is tried at most: 6 by default.
	Attempts int
	// BaseDelay is about the pause after the first failure, doubled with each
	// further one up to MaxDelay: 50 ms and 5 s by default. The actual pauses
	// are between half of that and all of it, at random.
	BaseDelay time.Duration
	MaxDelay  time.Duration
	// ThrottledDelay takes the place of BaseDelay after objstore.ErrThrottled:
	// 500 ms by default.
	ThrottledDelay time.Duration
	// AttemptTimeout bounds one attempt, since a request may hang long after its
	// response began: 30 s by default, negative for none. Listings and streams
	// are not bound by it.
	AttemptTimeout time.Duration
	// Budget is how many retries the store allows in a row over all calls: 100
	// by default, negative for no limit. Ten successes earn one retry, and each
	// second BudgetPerSecond: 10 by default. A call that finds the budget spent
	// returns its error at once.
	Budget          int
	BudgetPerSecond float64
	// OnRetry, if set, is told of each retry before the pause. It may be called
	// concurrently and should be fast.
	OnRetry func(Event)
}

// Event describes a failed attempt that will be followed by another.
type Event struct {
	Op      string // name of the method of objstore.Store or objstore.Streamer
	Key     string // or prefix, for List
	Attempt int    // 1 for the first
	Err     error
	Delay   time.Duration
}

func (o *Options) ensureDefaults() {
	if o.Attempts == 0 {
		o.Attempts = 6
	}
	if o.BaseDelay == 0 {
		o.BaseDelay = 50 * time.Millisecond
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = 5 * time.Second
	}
	if o.ThrottledDelay == 0 {
		o.ThrottledDelay = 500 * time.Millisecond
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = 30 * time.Second
	}
	if o.Budget == 0 {
		o.Budget = 100
	}
	if o.BudgetPerSecond == 0 {
		o.BudgetPerSecond = 10
	}
}

// Store tries the calls of another store again when they fail. It implements
// objstore.Store and objstore.Streamer and has no goroutines of its own.
//
// Not tried again are calls that ended with objstore.ErrNotFound, ErrExists or
// ErrDenied, base.ErrInvalid or base.ErrCorrupt, or whose context ended.
//
// PutIfAbsent and Upload: an attempt that failed may have been applied, and the
// next one then meets the caller's own object. The result is ErrExists all the
// same. Only the caller can tell whose object it is, by reading it.
type Store struct {
	inner  objstore.Store
	opts   Options
	budget *budget // nil for none
}

// New returns inner with retries.
func New(inner objstore.Store, opts Options) *Store {
	opts.ensureDefaults()
	s := &Store{inner: inner, opts: opts}
	if opts.Budget > 0 {
		s.budget = newBudget(float64(opts.Budget), opts.BudgetPerSecond)
	}
	return s
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.do(ctx, "Put", key, s.opts.AttemptTimeout, func(ctx context.Context) error {
		return s.inner.Put(ctx, key, data)
	})
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return s.do(ctx, "PutIfAbsent", key, s.opts.AttemptTimeout, func(ctx context.Context) error {
		return s.inner.PutIfAbsent(ctx, key, data)
	})
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) (data []byte, err error) {
	err = s.do(ctx, "Get", key, s.opts.AttemptTimeout, func(ctx context.Context) (err error) {
		data, err = s.inner.Get(ctx, key)
		return err
	})
	return data, err
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) (data []byte, err error) {
	err = s.do(ctx, "GetRange", key, s.opts.AttemptTimeout, func(ctx context.Context) (err error) {
		data, err = s.inner.GetRange(ctx, key, off, n)
		return err
	})
	return data, err
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (info objstore.Info, err error) {
	err = s.do(ctx, "Stat", key, s.opts.AttemptTimeout, func(ctx context.Context) (err error) {
		info, err = s.inner.Stat(ctx, key)
		return err
	})
	return info, err
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	return s.do(ctx, "Delete", first, s.opts.AttemptTimeout, func(ctx context.Context) error {
		return s.inner.Delete(ctx, keys...)
	})
}

// Upload implements objstore.Streamer. Each attempt starts from the beginning.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	return s.do(ctx, "Upload", key, 0, func(ctx context.Context) error {
		return objstore.Upload(ctx, s.inner, key, r, size)
	})
}

// List implements objstore.Store. After a failure it goes on behind the last
// object it yielded.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		after, stopped := startAfter, false
		for !stopped {
			before := after
			err := s.do(ctx, "List", prefix, 0, func(ctx context.Context) error {
				for info, err := range s.inner.List(ctx, prefix, after) {
					if err != nil && after != before {
						return nil // progress: the attempts count anew
					}
					if err != nil {
						return err
					}
					after = info.Key
					if !yield(info, nil) {
						stopped = true
						return nil
					}
				}
				stopped = true
				return nil
			})
			if err != nil {
				yield(objstore.Info{}, err)
				return
			}
		}
	}
}

// do calls f until it succeeds or there is no point in going on.
func (s *Store) do(ctx context.Context, op, key string, timeout time.Duration, f func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := s.attempt(ctx, timeout, f)
		if err == nil {
			s.budget.earn()
			return nil
		}
		if permanent(ctx, err) {
			return err
		}
		if attempt >= s.opts.Attempts {
			return fmt.Errorf("%w (after %d attempts)", err, attempt)
		}
		if !s.budget.spend() {
			return fmt.Errorf("%w (after %d attempts; too many calls are failing to try again)", err, attempt)
		}
		delay := s.delay(attempt, errors.Is(err, objstore.ErrThrottled))
		if s.opts.OnRetry != nil {
			s.opts.OnRetry(Event{Op: op, Key: key, Attempt: attempt, Err: err, Delay: delay})
		}
		if !pause(ctx, delay) {
			return fmt.Errorf("%w, while waiting to try again after: %w", ctx.Err(), err)
		}
	}
}

// attempt calls f once. An attempt that ran out of its own time, not the
// caller's, fails with base.ErrUnavailable.
func (s *Store) attempt(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	if timeout <= 0 {
		return f(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := f(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: no answer within %v: %v", base.ErrUnavailable, timeout, err)
	}
	return err
}

// permanent tells errors that another attempt does not cure.
func permanent(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	for _, sentinel := range []error{
		objstore.ErrNotFound, objstore.ErrExists, objstore.ErrDenied, base.ErrInvalid, base.ErrCorrupt,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// delay returns the pause after the given attempt.
func (s *Store) delay(attempt int, throttled bool) time.Duration {
	d := s.opts.BaseDelay
	if throttled {
		d = s.opts.ThrottledDelay
	}
	for i := 1; i < attempt && d < s.opts.MaxDelay; i++ {
		d *= 2
	}
	d = min(d, s.opts.MaxDelay)
	return d/2 + rand.N(d/2+1)
}

// pause waits and reports whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
