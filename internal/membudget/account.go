package membudget

import (
	"context"
	"sync"
	"sync/atomic"
)

// Account is memory for one purpose. Whoever takes bytes gives the same number
// back. Its methods may be called concurrently. A nil Account has no limit and
// counts nothing.
//
// More than the limit is never refused for good: who asks for more than there is
// in all gets it when nobody else holds any. So an account holds at most its
// limit, or one request, and what was added without asking.
type Account struct {
	name  string
	limit int64
	used  atomic.Int64
	peak  atomic.Int64

	mu struct {
		sync.Mutex
		freed chan struct{} // closed when something is given back; nil: nobody waits
	}
	waiting atomic.Int32
}

// Limit returns how many bytes the account may hold.
func (a *Account) Limit() int64 {
	if a == nil {
		return 0
	}
	return a.limit
}

// Used returns how many bytes the account holds, Peak how many it ever held.
func (a *Account) Used() int64 {
	if a == nil {
		return 0
	}
	return a.used.Load()
}

// Peak returns the most bytes that the account ever held.
func (a *Account) Peak() int64 {
	if a == nil {
		return 0
	}
	return a.peak.Load()
}

// Add takes n bytes whatever the limit: for what cannot wait and cannot be
// refused, and for what is there already.
func (a *Account) Add(n int64) {
	if a != nil {
		a.raise(a.used.Add(n))
	}
}

// Give returns n bytes.
func (a *Account) Give(n int64) {
	if a == nil || n == 0 {
		return
	}
	a.used.Add(-n)
	if a.waiting.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.freed != nil {
		close(a.mu.freed)
		a.mu.freed = nil
	}
}

// TryTake takes n bytes if there are so many, and reports whether it did.
func (a *Account) TryTake(n int64) bool {
	if a == nil {
		return true
	}
	for {
		used := a.used.Load()
		if used > 0 && used+n > a.limit {
			return false
		}
		if a.used.CompareAndSwap(used, used+n) {
			a.raise(used + n)
			return true
		}
	}
}

// Take takes n bytes once there are so many, or returns the cause of the end of
// ctx. Those who wait are not served in order.
func (a *Account) Take(ctx context.Context, n int64) error {
	if a.TryTake(n) {
		return nil
	}
	a.waiting.Add(1)
	defer a.waiting.Add(-1)
	for {
		freed := a.wait()
		if a.TryTake(n) { // given back before anybody was seen waiting
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *Account) wait() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.freed == nil {
		a.mu.freed = make(chan struct{})
	}
	return a.mu.freed
}

// set makes n the number of bytes held.
func (a *Account) set(n int64) {
	a.used.Store(n)
	a.raise(n)
}

func (a *Account) raise(n int64) {
	for {
		peak := a.peak.Load()
		if n <= peak || a.peak.CompareAndSwap(peak, n) {
			return
		}
	}
}
