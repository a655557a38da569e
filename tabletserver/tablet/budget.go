package tablet

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Budget is the memory that all memtables of a server may take together. Its
// methods may be called concurrently.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit and Used are in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns what memtables take now.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) add(n int64) { b.used.Add(n) }

// Admit holds a write up as memory runs out: from 80 % on it waits a little,
// longer the less is left; at 100 % it refuses, with the time after which to
// try again.
func (b *Budget) Admit(ctx context.Context) error {
	used := b.used.Load()
	soft := b.limit / 10 * 8
	if used < soft {
		return nil
	}
	if used >= b.limit {
		return &base.OverloadError{After: 200 * time.Millisecond,
			Reason: fmt.Sprintf("memtables take %d MiB of %d MiB and wait to be flushed", used>>20, b.limit>>20)}
	}
	delay := time.Duration(float64(20*time.Millisecond) * float64(used-soft) / float64(b.limit-soft))
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rowStripes is the number of row locks of a server: enough that two of some
// hundred writers seldom meet on one.
const rowStripes = 1024

// RowLocks are the locks of rows, shared by all tablets of a server. A lock
// covers the step from reading a row to appending what is made of it; plain
// writes take it as well. What is read may come from the bucket, so that
// whoever waits for a lock does so for as long as its context allows: hence
// they are no mutexes.
type RowLocks struct {
	stripes [rowStripes]rowLock
}

// rowLock is held by whoever has put the token into it.
type rowLock chan struct{}

// NewRowLocks returns locks of which none is held.
func NewRowLocks() *RowLocks {
	l := &RowLocks{}
	for i := range l.stripes {
		l.stripes[i] = make(rowLock, 1)
	}
	return l
}

// lock waits for the lock of a row. The caller unlocks what is returned.
func (l *RowLocks) lock(ctx context.Context, t base.TabletID, row []byte) (rowLock, error) {
	m := l.stripes[(xxh3.Hash(row)^uint64(t)*0x9e3779b97f4a7c15)%rowStripes]
	select {
	case m <- struct{}{}:
		return m, nil
	default:
	}
	select {
	case m <- struct{}{}:
		return m, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another change of row %q: %w", row, ctx.Err())
	}
}

func (m rowLock) unlock() { <-m }
