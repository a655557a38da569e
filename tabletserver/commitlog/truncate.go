package commitlog

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Truncate deletes the objects of positions [low before, low). The caller has
// raised low to this value by the transaction of rule R2, which compared the
// log's state OPEN; low never falls. After an error some objects may remain;
// calling it again, with the same low or a higher one, goes on there. Calls
// wait for each other.
//
// An upload that lands after its object was deleted leaves an object below low,
// which no reader looks at; it goes with the log.
func (l *Log) Truncate(ctx context.Context, low base.Position) error {
	if acked := l.Unacknowledged(); low > acked {
		return fmt.Errorf("truncate log of %s to position %d: %w: %d is not acknowledged", l.cfg.Incarnation, low, base.ErrPrecondition, acked)
	}
	l.truncation.Lock()
	defer l.truncation.Unlock()
	const chunk = 1000
	for at := l.low(); at < low; {
		end := min(at+chunk, low)
		keys := make([]string, 0, end-at)
		for p := at; p < end; p++ {
			keys = append(keys, base.LogObject(l.cfg.Incarnation, p))
		}
		if err := l.cfg.Store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("truncate log of %s to position %d: %w", l.cfg.Incarnation, low, err)
		}
		at = end
		l.truncation.low.Store(uint64(at))
	}
	return nil
}

// low returns below which position all objects were deleted.
func (l *Log) low() base.Position { return base.Position(l.truncation.low.Load()) }
