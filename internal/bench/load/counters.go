package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Counters is a load of increments by one of counters, and a check that none
// was lost or done twice.
type Counters struct {
	keys     Keys
	counters []counter
}

type counter struct {
	first   int64        // before the load
	acked   atomic.Int64 // increments that were acknowledged
	unknown atomic.Int64 // that had an error, and may have been done or not
}

// OpenCounters reads n counters and returns a load on them. Nobody else may
// change them until Check.
func OpenCounters(ctx context.Context, n int64, t Table) (*Counters, error) {
	if n < 1 || n > MaxRows {
		return nil, fmt.Errorf("%d counters: want 1 to %d", n, int64(MaxRows))
	}
	c := &Counters{counters: make([]counter, n)}
	err := c.each(ctx, t, func(i int64, v int64) error {
		c.counters[i].first = v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	return c, nil
}

// each reads all counters.
func (c *Counters) each(ctx context.Context, t Table, f func(i, value int64) error) error {
	g, ctx := errgroup.WithContext(ctx)
	const readers = 16
	for r := range int64(readers) {
		g.Go(func() error {
			for i := r; i < int64(len(c.counters)); i += readers {
				v, err := t.Counter(ctx, c.keys.Key(i))
				if err != nil {
					return fmt.Errorf("counter %d: %w", i, err)
				}
				if err := f(i, v); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// Do implements Load.
func (c *Counters) Do(ctx context.Context, w *Worker) (Kind, error) {
	i := w.Rand.Int64N(int64(len(c.counters)))
	n := &c.counters[i]
	floor := n.first + n.acked.Load()
	sum, err := w.Table.Increment(ctx, c.keys.Key(i), 1)
	if err != nil {
		n.unknown.Add(1)
		return KindIncrement, err
	}
	n.acked.Add(1)
	w.Moved(1, 8)
	if sum <= floor {
		return KindIncrement, fmt.Errorf("%w: counter %d is %d after an increment, but was at least %d before", ErrWrong, i, sum, floor)
	}
	return KindIncrement, nil
}

// Check reads all counters, after the load ended, and returns an error that
// wraps ErrWrong for those that lost an increment or did one twice.
func (c *Counters) Check(ctx context.Context, t Table) error {
	wrong := make([]error, len(c.counters))
	err := c.each(ctx, t, func(i, v int64) error {
		n := &c.counters[i]
		least := n.first + n.acked.Load()
		if most := least + n.unknown.Load(); v < least || v > most {
			wrong[i] = fmt.Errorf("%w: counter %d is %d; want %d to %d", ErrWrong, i, v, least, most)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check counters: %w", err)
	}
	return errors.Join(wrong...)
}
