package tablet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/meta"
)

// Release gives the tablet up (R7): it flushes ahead while it serves, stops
// reads and writes, waits until every record is acknowledged, and commits that
// the tablet has no owner and where its unflushed records lie. On return,
// without an error, another server may serve the tablet. The pause that a
// client sees is from the stop on. After an error it may be called again: a
// tablet that has stopped never serves again, for the transaction may still
// land (R4).
//
// Where to is not zero the tablet is handed over: the same transaction assigns
// it to that server, which loads it when it is told. If it cannot take it, the
// tablet is left without owner. why is for people.
func (t *Tablet) Release(ctx context.Context, to meta.Server, why string) error {
	if t.State() == Serving {
		if err := t.Flush(ctx); err != nil {
			return t.released(err)
		}
	}
	if err := t.lockChange(ctx); err != nil {
		return err
	}
	defer t.unlockChange()
	t.mu.Lock() // stop and append exclude each other
	if !t.state.CompareAndSwap(int32(Serving), int32(Stopping)) && t.State() != Stopping {
		t.mu.Unlock()
		return t.released(t.errNotServing())
	}
	batch := t.mu.batch
	t.mu.stream.Close()
	t.mu.Unlock()
	if batch != nil {
		if err := batch.Wait(ctx); err != nil {
			return fmt.Errorf("release tablet %d: %w", t.id, err)
		}
	}
	err := t.commitChange(ctx, func(rec meta.Tablet) (meta.Change, error) {
		own := rec.OwnEntry()
		if own < 0 {
			return meta.Change{}, ErrLost
		}
		from, end := t.ownFrom(rec, nil), rec.Logs[own].From
		if batch != nil {
			end = t.mu.lastPos + 1
		}
		if next := to; !next.Incarnation.IsZero() {
			to = meta.Server{} // it is tried once
			return meta.HandOver(rec, from, end, next, why, time.Now())
		}
		return meta.Release(rec, from, end, time.Now())
	})
	if err != nil {
		return t.released(err)
	}
	t.stop("released")
	return nil
}

// released tells whether an error of a release means that the tablet is not
// this server's any more, which is what was asked for.
func (t *Tablet) released(err error) error {
	if errors.Is(err, ErrLost) || t.State() == Stopped {
		return nil
	}
	return err
}
