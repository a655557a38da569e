package tablet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/wal"
)

// Logs tells loaders what is in the logs of other incarnations. It reads the
// index of a sealed log once for all tablets that load from it (R22).
type Logs struct {
	store objstore.Store
	meta  *meta.Store

	flight singleflight.Group
	mu     struct {
		sync.Mutex
		sealed map[base.Incarnation]*SealedLog
	}
}

// SealedLog is a log that is SEALED, with its index where there is one.
type SealedLog struct {
	Bounds wal.Bounds
	Index  *wal.Index // nil: read directories
}

// NewLogs returns an empty Logs.
func NewLogs(store objstore.Store, m *meta.Store) *Logs {
	l := &Logs{store: store, meta: m}
	l.mu.sealed = map[base.Incarnation]*SealedLog{}
	return l
}

// maxSealedLogs bounds how many indexes are kept.
const maxSealedLogs = 64

// AwaitSealed returns the log of e once it is SEALED. It waits for that as long
// as ctx allows (R5).
func (l *Logs) AwaitSealed(ctx context.Context, e base.Incarnation) (*SealedLog, error) {
	delay := 5 * time.Millisecond
	for {
		l.mu.Lock()
		s := l.mu.sealed[e]
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		v, err, _ := l.flight.Do(e.String(), func() (any, error) { return l.look(ctx, e) })
		if err != nil {
			return nil, err
		}
		if s := v.(*SealedLog); s != nil {
			return s, nil
		}
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("wait until log %v is sealed: %w", e, ctx.Err())
		}
		delay = min(2*delay, 250*time.Millisecond)
	}
}

// look returns nil while the log is not SEALED.
func (l *Logs) look(ctx context.Context, e base.Incarnation) (*SealedLog, error) {
	rec, err := l.meta.Log(ctx, e)
	if err != nil {
		return nil, err
	}
	if rec.State != meta.LogSealed {
		return nil, nil
	}
	s := &SealedLog{Bounds: wal.Bounds{Low: rec.Low, End: rec.End}}
	s.Index, err = l.index(ctx, e, s.Bounds)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.sealed) >= maxSealedLogs {
		clear(l.mu.sealed)
	}
	l.mu.sealed[e] = s
	return s, nil
}

// index reads the index; where the sealer did not get to write it, this does.
// A log that is short is as quickly read without.
func (l *Logs) index(ctx context.Context, e base.Incarnation, b wal.Bounds) (*wal.Index, error) {
	if b.Low >= b.End {
		return nil, nil
	}
	x, err := wal.ReadIndex(ctx, l.store, e)
	if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, base.ErrCorrupt) {
		if err = wal.WriteIndex(ctx, l.store, e, b.Low, b.End); err == nil {
			x, err = wal.ReadIndex(ctx, l.store, e)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("index of log %v: %w", e, err)
	}
	return x, nil
}

// Forget drops what is kept of the log of e.
func (l *Logs) Forget(e base.Incarnation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.sealed, e)
}
