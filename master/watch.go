package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/assign"
)

// reload fills the mirror from one view, and returns its revision.
func (t *term) reload(ctx context.Context) (lockservice.Revision, error) {
	lists, rev, err := t.cfg.LockService.ListRanges(ctx, mirrored(), lockservice.ReadOptions{})
	if err != nil {
		return 0, fmt.Errorf("read the records: %w", err)
	}
	if n := t.mirror.load(flatten(lists), rev); n > 0 {
		t.log.ErrorContext(ctx, "mirror differed from the records", "keys", n)
		t.metrics.repaired(n)
	}
	return rev, nil
}

func flatten(lists [][]lockservice.KV) []lockservice.KV {
	var out []lockservice.KV
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// watchLoop feeds the mirror until ctx ends.
func (t *term) watchLoop(ctx context.Context, from lockservice.Revision) {
	for failures := 0; ctx.Err() == nil; {
		err := t.cfg.LockService.Watch(ctx, mirrorStart, mirrorEnd, from, func(r lockservice.WatchResponse) error {
			t.mirror.apply(r)
			from, failures = max(from, r.Revision), 0
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, base.ErrPrecondition) { // compacted
			var rev lockservice.Revision
			if rev, err = t.reload(ctx); err == nil {
				from = rev
				continue
			}
		}
		t.log.WarnContext(ctx, "watch ended", "err", err)
		t.sleep(ctx, assign.Backoff(failures, jobPause, jobPauseMax))
		failures++
	}
}

// verifyLoop is the slow full pass: it compares the mirror with what a
// linearizable read shows, and splits meta ranges that have grown too large.
func (t *term) verifyLoop(ctx context.Context) {
	for t.sleep(ctx, t.opt.VerifyInterval) {
		if err := t.verify(ctx); err != nil && ctx.Err() == nil {
			t.log.WarnContext(ctx, "full pass failed", "err", err)
		}
		t.wakeUp()
	}
}

func (t *term) verify(ctx context.Context) error {
	lists, rev, err := t.cfg.LockService.ListRanges(ctx, mirrored(), lockservice.ReadOptions{KeysOnly: true})
	if err != nil {
		return fmt.Errorf("list the records: %w", err)
	}
	// Of what the watch is about to deliver nothing is missing yet.
	t.await(ctx, func() bool { return t.mirror.upTo(rev) })
	if t.mirror.differs(flatten(lists), rev) {
		if _, err := t.reload(ctx); err != nil {
			return err
		}
	}
	for key, err := range t.mirror.corrupted() {
		t.log.ErrorContext(ctx, "record is corrupt", "key", key, "err", err)
	}
	n, err := t.store.SplitRanges(ctx, t.opt.MetaRangeLimit)
	if n > 0 {
		t.log.InfoContext(ctx, "meta ranges split", "ranges", n)
	}
	if err != nil && !errors.Is(err, base.ErrAborted) {
		return fmt.Errorf("split meta ranges: %w", err)
	}
	return nil
}

// stuckLoop takes assignments back that are stuck.
func (t *term) stuckLoop(ctx context.Context) {
	for t.sleep(ctx, max(t.opt.LoadTimeout/8, 100*time.Millisecond)) {
		for _, tb := range t.mirror.loads(t.opt.LoadTimeout) {
			if err := t.cancelStuck(ctx, tb); err != nil && ctx.Err() == nil {
				t.log.WarnContext(ctx, "load was not cancelled", "tablet", uint64(tb.ID), "err", err)
			}
		}
	}
}
