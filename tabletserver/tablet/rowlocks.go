package tablet

import (
	"context"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/tabletdb/tabletdb/internal/base"
)

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
