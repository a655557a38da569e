package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/assign"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

const (
	// bulkPause is the pause between two looks at loads that are not adopted by
	// all: a tablet was not served, or on its way. It doubles while nothing
	// changes: a deleted table may keep one for days.
	bulkPause    = 100 * time.Millisecond
	bulkPauseMax = 2 * time.Second
	// bulkAtOnce is how many tablets are asked at once; servers let a few in.
	bulkAtOnce = 32
	// adoptPatience is how long one tablet is waited for. It goes on meanwhile.
	adoptPatience = 5 * time.Minute
)

// bulkLoop has the tablets adopt the bulk loads that are decided, whoever
// decided them and whoever has begun with it. It keeps no state: what is pending
// stands in the records.
func (t *term) bulkLoop(ctx context.Context) {
	pause := bulkPause
	for seen, failures := 0, 0; ctx.Err() == nil; {
		loads, damaged, rev, err := t.store.AllBulkLoads(ctx)
		for _, bad := range damaged {
			t.log.ErrorContext(ctx, "record of a bulk load is corrupt", "err", bad)
		}
		for _, of := range byTable(loads) {
			t.start("bulk loads of "+tableName(of[0].Table), func(ctx context.Context) error { return t.bulkLoad(ctx, of) })
		}
		if pause = min(2*pause, bulkPauseMax); len(loads) != seen {
			pause = bulkPause
		}
		seen = len(loads)
		if err == nil {
			err = t.awaitBulk(ctx, rev, seen > 0, pause) // a corrupt record is looked at again when something changes
		}
		if err == nil || ctx.Err() != nil {
			failures = 0
			continue
		}
		t.log.WarnContext(ctx, "bulk loads cannot be looked at", "err", err)
		t.sleep(ctx, assign.Backoff(failures, jobPause, jobPauseMax))
		failures++
	}
}

// byTable groups loads, which are in the order of their keys.
func byTable(loads []meta.BulkLoad) (out [][]meta.BulkLoad) {
	for i, b := range loads {
		if i == 0 || b.Table != loads[i-1].Table {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], b)
	}
	return out
}

// errLook ends a watch.
var errLook = errors.New("something has changed")

// awaitBulk returns when the loads that are pending are others than at rev, or,
// where some are, after a pause.
func (t *term) awaitBulk(ctx context.Context, rev lockservice.Revision, pending bool, pause time.Duration) error {
	if pending {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pause)
		defer cancel()
	}
	err := t.cfg.LockService.Watch(ctx, meta.BulkPrefix, lockservice.PrefixEnd(meta.BulkPrefix), rev, func(r lockservice.WatchResponse) error {
		if len(r.Events) > 0 {
			return errLook
		}
		return nil
	})
	if errors.Is(err, errLook) || errors.Is(err, base.ErrPrecondition) || ctx.Err() != nil { // or compacted
		return nil
	}
	return err
}

// bulkLoad has the tablets of a table adopt its pending loads, and removes the
// records of those that all have adopted. A load of a deleted table waits until
// that comes back, or goes with it.
func (t *term) bulkLoad(ctx context.Context, loads []meta.BulkLoad) error {
	tbl, err := t.store.Table(ctx, loads[0].Table)
	if errors.Is(err, base.ErrNotFound) {
		return t.finish(ctx, loads, nil)
	}
	if err != nil || tbl.Record.Deleted {
		return err
	}
	tablets, err := t.store.Tablets(ctx, tbl.ID, lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	if wrong := meta.CheckTiling(tablets); len(wrong) > 0 {
		return fmt.Errorf("%w: tablets of table %d: %s", base.ErrAborted, tbl.ID, wrong[0])
	}
	var g errgroup.Group
	g.SetLimit(bulkAtOnce)
	for _, tb := range tablets {
		if tb.State != meta.Serving || !slices.ContainsFunc(loads, func(b meta.BulkLoad) bool { return !tb.Adopted(b.ID) }) {
			continue
		}
		g.Go(func() error {
			for _, b := range loads { // in the order of their ids
				if tb.Adopted(b.ID) {
					continue
				}
				if err := t.adopt(ctx, tb, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	if errors.Is(err, base.ErrNotServing) || errors.Is(err, base.ErrNotFound) || errors.Is(err, errNoOwner) {
		err = nil // it moved, or is being recovered; the next look tells
	}
	if tablets, lerr := t.store.Tablets(ctx, tbl.ID, lockservice.ReadOptions{}); lerr == nil {
		return errors.Join(err, t.finish(ctx, loads, tablets))
	}
	return err
}

// adopt asks the owner of a tablet to have it adopt a load.
func (t *term) adopt(ctx context.Context, tb meta.Tablet, b meta.BulkLoad) error {
	t.mu.Lock()
	p := t.mu.peers[tb.Owner]
	t.mu.Unlock()
	if p == nil {
		return fmt.Errorf("tablet %d at %v: %w", tb.ID, tb.Owner, errNoOwner)
	}
	ctx, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	if _, err := p.client.Adopt(ctx, &controlpb.AdoptRequest{Tablet: tabletID(tb), Load: uint64(b.ID)}); err != nil {
		return fmt.Errorf("bulk load %d for tablet %d at %v: %w", b.ID, tb.ID, tb.Owner, rpc.FromStatus(err))
	}
	return nil
}

// finish removes the records of the loads that all of the tablets have adopted.
func (t *term) finish(ctx context.Context, loads []meta.BulkLoad, tablets []meta.Tablet) error {
	for _, b := range loads {
		if slices.ContainsFunc(tablets, func(tb meta.Tablet) bool { return !tb.Adopted(b.ID) }) {
			continue
		}
		if err := t.store.FinishLoad(ctx, b); err != nil {
			return err
		}
		t.log.InfoContext(ctx, "bulk load adopted by all tablets", "load", uint64(b.ID), "table", uint64(b.Table), "tablets", len(tablets), "files", b.Files, "bytes", b.Bytes)
	}
	return nil
}
