package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// errClosed is what a closed Router answers.
var errClosed = fmt.Errorf("%w: the router is closed", base.ErrUnavailable)

// flights are reads of the lock service that many callers wait for, by what
// they read. The zero value is ready.
type flights struct {
	mu struct {
		sync.Mutex
		byKey map[string]*flight
	}
}

type flight struct {
	done   chan struct{}
	err    error // valid once done is closed
	cancel context.CancelFunc
	refs   int // callers that wait; guarded by flights.mu
}

// do returns what f returns, run in the background of r with a context of its
// own: callers with the same key share one run, which is given up when none of
// them is left. A lock service that does not answer is waited for.
func (fs *flights) do(ctx context.Context, r *Router, key string, f func(context.Context) error) error {
	fs.mu.Lock()
	fl := fs.mu.byKey[key]
	if fl == nil {
		fctx, cancel := context.WithCancel(r.ctx)
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		ok := r.spawn(func() {
			defer cancel()
			fl.err = persist(fctx, f)
			fs.mu.Lock()
			fs.removeLocked(key, fl)
			fs.mu.Unlock()
			close(fl.done)
		})
		if !ok {
			cancel()
			fs.mu.Unlock()
			return errClosed
		}
		if fs.mu.byKey == nil {
			fs.mu.byKey = map[string]*flight{}
		}
		fs.mu.byKey[key] = fl
	}
	fl.refs++
	fs.mu.Unlock()
	select {
	case <-fl.done:
		if r.ctx.Err() != nil && fl.err != nil {
			return errClosed
		}
		return fl.err
	case <-ctx.Done():
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fl.refs--; fl.refs == 0 {
		fs.removeLocked(key, fl) // whoever comes now starts anew
		fl.cancel()
	}
	return ctx.Err()
}

func (fs *flights) removeLocked(key string, fl *flight) {
	if fs.mu.byKey[key] == fl {
		delete(fs.mu.byKey, key)
	}
}

// persist calls f until it gives an answer or ctx ends.
func persist(ctx context.Context, f func(context.Context) error) error {
	for n := 0; ; n++ {
		err := f(ctx)
		if err == nil || !transient(err) {
			return err
		}
		if sleep(ctx, backoff(n)) != nil {
			return err
		}
	}
}

// transient reports whether a read of the lock service may yet succeed.
func transient(err error) bool {
	return errors.Is(err, base.ErrNoLeader) || errors.Is(err, base.ErrNotLeader) || errors.Is(err, base.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded)
}

// sleep waits for d, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
