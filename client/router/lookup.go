package router

import (
	"bytes"
	"context"
	"errors"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// lookup returns the location of row as meta has it: what known, if not nil,
// was replaced by or still is, read linearizably; else any replica's word will
// do.
func (t *table) lookup(ctx context.Context, row []byte, known *location) (*location, error) {
	for range 8 { // others' look-ups in the same gap may not cover row
		key, read := t.plan(bytes.Clone(row), known)
		if err := t.flights.do(ctx, t.r, key, read); err != nil {
			return nil, err
		}
		if l := t.find(row); l != nil {
			return l, nil
		}
		if t.gone.Load() {
			return nil, errTableGone
		}
	}
	ls, err := t.read(ctx, row, t.r.options.Prefetch, false) // alone
	if err != nil {
		return nil, err
	}
	return ls[0], nil
}

// plan returns what a look-up reads and the key under which others share it.
func (t *table) plan(row []byte, known *location) (key string, read func(context.Context) error) {
	prefetch := t.r.options.Prefetch
	linearizable := func(ctx context.Context) error {
		_, err := t.read(ctx, row, prefetch, false)
		return err
	}
	if known != nil {
		return "k" + string(known.start), linearizable
	}
	return "g" + string((*t.list.Load()).gap(row)), func(ctx context.Context) error {
		if _, err := t.read(ctx, row, prefetch, true); err != nil { // a replica may be behind, or cut off
			return linearizable(ctx)
		}
		return nil
	}
}

// read brings the records from row on into the cache and returns their
// locations. A linearizable read that finds no tablet forgets the table.
func (t *table) read(ctx context.Context, row []byte, prefetch int, stale bool) (locations, error) {
	t.r.stats.lookups.Add(1)
	asOf := uint64(0)
	if !stale {
		asOf = t.now()
	}
	recs, err := t.r.meta.Locate(ctx, t.id, row, prefetch, lockservice.ReadOptions{Stale: stale})
	if errors.Is(err, base.ErrNotFound) && !stale {
		t.r.forget(t.name, t)
		return nil, errTableGone
	}
	if err != nil {
		return nil, err
	}
	return t.learn(recs, asOf, !stale), nil
}
