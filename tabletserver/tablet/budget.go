package tablet

import (
	"context"
	"fmt"
	"sync"
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
// writes take it as well.
type RowLocks struct {
	stripes [rowStripes]struct {
		sync.Mutex
		_ [56]byte // keep each on its own cache line
	}
}

func (l *RowLocks) lock(t base.TabletID, row []byte) *sync.Mutex {
	m := &l.stripes[(xxh3.Hash(row)^uint64(t)*0x9e3779b97f4a7c15)%rowStripes].Mutex
	m.Lock()
	return m
}
