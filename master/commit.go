package master

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
)

// builder makes the change that is wanted of a record as it is; false: none is
// wanted any more.
type builder func(meta.Tablet) (meta.Change, bool)

// parallel is how many batches are in flight at once.
const parallel = 4

// change applies what build wants of tablets, in batches. A batch that is
// aborted is done one by one on records read again. It returns how many were
// changed. An error that is base.ErrAborted says that some were not, because a
// condition did not hold; others may have been.
func (t *term) change(ctx context.Context, tablets []meta.Tablet, build builder) (int, error) {
	changed := make(chan int, len(tablets)/t.opt.Batch+1)
	var g errgroup.Group // a batch that fails does not end the others
	g.SetLimit(parallel)
	for batch := range slices.Chunk(tablets, t.opt.Batch) {
		g.Go(func() error {
			n, err := t.changeBatch(ctx, batch, build)
			changed <- n
			return err
		})
	}
	err := g.Wait()
	close(changed)
	total := 0
	for n := range changed {
		total += n
	}
	return total, err
}

func (t *term) changeBatch(ctx context.Context, tablets []meta.Tablet, build builder) (int, error) {
	var changes []meta.Change
	for _, tb := range tablets {
		if c, ok := build(tb); ok {
			changes = append(changes, c)
		}
	}
	if len(changes) == 0 {
		return 0, nil
	}
	done, err := t.store.Commit(ctx, changes...)
	if err == nil {
		t.mirror.note(done...)
		return len(done), nil
	}
	if !errors.Is(err, base.ErrAborted) {
		return 0, err
	}
	n := 0
	var aborted error
	for _, c := range changes {
		switch ok, err := t.changeOne(ctx, c.Old, build); {
		case errors.Is(err, base.ErrAborted):
			aborted = err
		case err != nil:
			return n, err
		case ok:
			n++
		}
	}
	return n, aborted
}

// changeOne reads a record again and applies what is wanted of it now.
func (t *term) changeOne(ctx context.Context, tb meta.Tablet, build builder) (bool, error) {
	fresh, err := t.store.Tablet(ctx, tb.Table, tb.End, tb.ID)
	if errors.Is(err, base.ErrNotFound) {
		return false, nil // split, merged or dropped: the watch tells
	}
	if err != nil {
		return false, err
	}
	t.mirror.note(fresh)
	c, ok := build(fresh)
	if !ok {
		return false, nil
	}
	done, err := t.store.Commit(ctx, c)
	if err != nil {
		return false, err
	}
	t.mirror.note(done...)
	return true, nil
}
