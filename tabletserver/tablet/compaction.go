package tablet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// lockCompaction makes the caller the one that compacts, and waits for that if
// asked to.
func (t *Tablet) lockCompaction(ctx context.Context, wait bool) (ok bool, err error) {
	select {
	case t.compacting <- struct{}{}:
		return true, nil
	default:
	}
	if !wait {
		return false, nil
	}
	select {
	case t.compacting <- struct{}{}:
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("compact tablet %d: %w", t.id, context.Cause(ctx))
	}
}

// Compact merges the runs that compact.Pick says, or with major all of them,
// and reports whether there was something to merge. The merge runs beside
// flushes; only its commit excludes them. One compaction of a tablet runs at a
// time: while one does, a major one waits, and any other returns at once.
func (t *Tablet) Compact(ctx context.Context, major bool) (merged bool, err error) {
	if ok, err := t.lockCompaction(ctx, major); !ok {
		return false, err
	}
	defer func() { <-t.compacting }()
	v, _, err := t.acquireView(false)
	if err != nil {
		return false, err
	}
	defer v.release()
	p, ok := t.pick(v, major)
	if !ok {
		return false, nil
	}
	began := time.Now()
	layout, err := t.layout(ctx, p.To == len(v.runs))
	if err != nil {
		return false, fmt.Errorf("compact tablet %d: %w", t.id, err)
	}
	task := &compact.Job{Tablet: t.id, Inputs: v.manifest.Runs[p.From:p.To], Drops: v.manifest.Drops, Snapshot: v.manifest.Flushed, Layout: layout}
	size := task.Size()
	var written int64
	job := t.begin("compaction", fmt.Sprintf("runs %d to %d of %d: %s", p.From, p.To-1, len(v.runs), p.Reason), size)
	defer func() { t.env.Jobs.end(job, written, err) }()
	out, err := t.mergeFiles(ctx, task)
	if err != nil {
		return false, fmt.Errorf("compact tablet %d: %w", t.id, err)
	}
	if err := t.lockChange(ctx); err != nil {
		t.env.Files.Decided(out.numbers...)
		return false, err
	}
	defer t.unlockChange()
	if t.State() != Serving {
		t.env.Files.Decided(out.numbers...)
		return false, t.errNotServing()
	}
	err = t.commit(ctx, out, t.record.Flushed, func(m *manifest.Manifest) error {
		return replaceRuns(m, v.manifest.Runs[p.From:p.To], out.run)
	}, nil)
	if err != nil {
		return false, fmt.Errorf("compact tablet %d: %w", t.id, err)
	}
	t.env.Files.obsolete(v.manifest.Runs[p.From:p.To])
	written = out.run.Size()
	t.env.Counts.Compactions.Add(1)
	t.env.Counts.CompactedBytes.Add(out.run.Size())
	t.event("compacted runs %d to %d (%s): %d KiB to %d KiB in %v", p.From, p.To, p.Reason, size>>10, out.run.Size()>>10, time.Since(began).Round(time.Millisecond))
	return true, nil
}

// mergeFiles does a job of this tablet's. On an error nothing that was written
// is named by anybody, ever.
func (t *Tablet) mergeFiles(ctx context.Context, job *compact.Job) (out output, err error) {
	ctx = limit.WithClass(ctx, limit.Background)
	var mode func(context.Context) context.Context
	if !t.env.Files.mostlyCached(job.Inputs) {
		mode = func(ctx context.Context) context.Context { return pagecache.WithMode(ctx, pagecache.Bypass) }
	}
	readahead, give, err := t.takeFileMemory(ctx, job)
	if err != nil {
		return out, err
	}
	defer give()
	res, err := MergeFiles(ctx, t.env.Files, job, readahead, t.sink(&out, mode))
	if out.run = res.Run; err != nil {
		t.env.Files.Decided(out.numbers...)
	}
	return out, err
}

func (t *Tablet) pick(v *view, major bool) (compact.Plan, bool) {
	if n := len(v.runs); major {
		return compact.Plan{From: 0, To: n, Major: true, Reason: "asked for"}, n > 0
	}
	runs := make([]compact.Run, len(v.runs))
	for i, files := range v.manifest.Runs {
		for _, f := range files {
			runs[i].Size += f.ShownBytes()
			runs[i].Entries += f.Entries
			runs[i].Tombstones += f.Tombstones
			runs[i].Shared = runs[i].Shared || f.Clipped()
		}
	}
	return compact.Pick(runs, 0, t.env.Options.Compaction)
}

// replaceRuns exchanges the runs in old, which stand together in m (newer ones
// may have been added before them), for one.
func replaceRuns(m *manifest.Manifest, old []manifest.Run, merged manifest.Run) error {
	at := slices.IndexFunc(m.Runs, func(r manifest.Run) bool { return sameRun(r, old[0]) })
	if at < 0 || at+len(old) > len(m.Runs) || !slices.EqualFunc(m.Runs[at:at+len(old)], old, sameRun) {
		return fmt.Errorf("%w: the runs that were compacted are not in the manifest any more", base.ErrAborted)
	}
	m.Runs = slices.Delete(m.Runs, at, at+len(old))
	if len(merged) > 0 {
		m.Runs = slices.Insert(m.Runs, at, merged)
	}
	return nil
}

func sameRun(a, b manifest.Run) bool {
	return slices.EqualFunc(a, b, func(x, y manifest.File) bool {
		return x.Number == y.Number && bytes.Equal(x.Lower, y.Lower) && bytes.Equal(x.Upper, y.Upper)
	})
}
