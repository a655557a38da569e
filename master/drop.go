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
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func tableName(id base.TableID) string { return fmt.Sprintf("table %d", id) }

// drop removes what is left of a deleted table: owners are asked to let go of
// its tablets and loads are cancelled; when the table can come back no more,
// tablets without owner are removed, and when none is left the schema is
// forgotten. The tablets of a dead owner come by way of its recovery.
func (t *term) drop(ctx context.Context, id base.TableID) error {
	tbl, err := t.store.Table(ctx, id)
	if errors.Is(err, base.ErrNotFound) || err == nil && !tbl.Record.Deleted {
		return nil
	}
	if err != nil {
		return err
	}
	tablets, err := t.store.Tablets(ctx, id, lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	if len(tablets) == 0 {
		// Tablets come only from tablets: there will never be one again.
		if err := t.store.DropTablets(ctx, tbl, nil, true); err != nil {
			return err
		}
		t.await(ctx, func() bool { _, _, known := t.mirror.tableOf(id); return !known })
		t.log.InfoContext(ctx, "table dropped", "table", uint64(id), "name", tbl.Name)
		return nil
	}
	keep := time.Until(time.UnixMicro(tbl.Record.DeletedUs).Add(t.opt.KeepDeleted))
	if keep <= 0 {
		if err := t.dropFree(ctx, tbl, tablets); err != nil {
			return err
		}
	}
	left, err := t.free(ctx, tablets)
	if err != nil {
		return err
	}
	if keep > 0 && left == 0 && !slices.ContainsFunc(tablets, func(tb meta.Tablet) bool { return tb.State != meta.Unassigned }) {
		t.keep(tbl, keep)
		return nil
	}
	if left > 0 {
		t.sleep(ctx, jobPause) // their owners are at it
	}
	return nil // looked at again at once: the table is still there
}

// keep leaves a deleted table alone, as it is at its revision, for d.
func (t *term) keep(tbl meta.Table, d time.Duration) {
	t.mu.Lock()
	t.mu.kept[tbl.ID] = kept{tbl.Revision, time.Now().Add(d)}
	t.mu.Unlock()
	t.wakeAt(d)
}

// kept is a deleted table that may come back until then.
type kept struct {
	revision lockservice.Revision
	until    time.Time
}

// droppable reports whether there is something to do about a deleted table.
func (t *term) droppable(id base.TableID) bool {
	tbl, _, known := t.mirror.tableOf(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.mu.kept[id]
	if !ok {
		return true
	}
	if known && k.revision == tbl.Revision && time.Now().Before(k.until) {
		return false
	}
	delete(t.mu.kept, id)
	return true
}

// dropFree removes the tablets that have no owner.
func (t *term) dropFree(ctx context.Context, tbl meta.Table, tablets []meta.Tablet) error {
	free := slices.DeleteFunc(slices.Clone(tablets), func(tb meta.Tablet) bool { return tb.State != meta.Unassigned })
	for batch := range slices.Chunk(free, t.opt.Batch) {
		if err := t.store.DropTablets(ctx, tbl, batch, false); err != nil {
			return err
		}
	}
	return nil
}

// free makes owners give tablets up, and returns of how many that failed.
func (t *term) free(ctx context.Context, tablets []meta.Tablet) (int, error) {
	const atOnce = 32
	var g errgroup.Group
	g.SetLimit(atOnce)
	failed := make(chan error, len(tablets))
	for _, tb := range tablets {
		switch tb.State {
		case meta.Assigned:
			c, err := meta.Cancel(tb, time.Now())
			if err != nil {
				return 0, err
			}
			if done, err := t.store.Commit(ctx, c); err == nil {
				t.mirror.note(done...)
			} else if !errors.Is(err, base.ErrAborted) {
				return 0, err
			}
		case meta.Serving:
			g.Go(func() error {
				failed <- t.unload(ctx, tb)
				return nil
			})
		}
	}
	g.Wait()
	close(failed)
	n := 0
	for err := range failed {
		if err == nil {
			continue
		}
		if n++; n == 1 && !errors.Is(err, errNoOwner) {
			t.log.WarnContext(ctx, "tablets of a deleted table are not released", "err", err)
		}
	}
	return n, ctx.Err()
}

// errNoOwner: the owner is gone; its recovery frees the tablet.
var errNoOwner = errors.New("its owner is gone")

// unload asks the owner to give a tablet up.
func (t *term) unload(ctx context.Context, tb meta.Tablet) error {
	const patience = 30 * time.Second
	t.mu.Lock()
	p := t.mu.peers[tb.Owner]
	t.mu.Unlock()
	if p == nil {
		return fmt.Errorf("unload tablet %d from %v: %w", tb.ID, tb.Owner, errNoOwner)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := p.client.Unload(ctx, &controlpb.UnloadRequest{Tablet: tabletID(tb)}); err != nil {
		return fmt.Errorf("unload tablet %d from %v: %w", tb.ID, tb.Owner, rpc.FromStatus(err))
	}
	return nil
}
