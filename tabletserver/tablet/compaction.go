package tablet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
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
		t.missed.Store(true)
		select { // whoever it was may not have seen that
		case t.compacting <- struct{}{}:
			return true, nil
		default:
			return false, nil
		}
	}
	select {
	case t.compacting <- struct{}{}:
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("compact tablet %d: %w", t.id, context.Cause(ctx))
	}
}

// unlockCompaction lets others compact. Who came meanwhile and did not wait may
// have come for a run that was not seen.
func (t *Tablet) unlockCompaction() {
	<-t.compacting
	if t.missed.Swap(false) {
		t.env.WantCompact(t)
	}
}

// Compact merges the runs that compact.Pick says, or with major all of them, into
// a run for each locality group that they have anything of, and reports whether
// there was something to merge. The merge runs beside flushes; only its commit
// excludes them. One compaction of a tablet runs at a time: while one does, a
// major one waits, and any other returns at once. Where away is not nil the
// merge is done there; if that fails the error wraps ErrElsewhere, and nothing
// has changed.
func (t *Tablet) Compact(ctx context.Context, major bool, away Elsewhere) (merged bool, err error) {
	if ok, err := t.lockCompaction(ctx, major); !ok {
		return false, err
	}
	defer t.unlockCompaction()
	v, _, err := t.acquireView(false)
	if err != nil {
		return false, err
	}
	defer v.release()
	p, ok, err := t.pick(ctx, v, major)
	if !ok {
		return false, err
	}
	began := time.Now()
	task, err := t.task(ctx, v, p)
	if err != nil {
		return false, fmt.Errorf("compact tablet %d: %w", t.id, err)
	}
	if away != nil && !away.Takes(task) {
		return false, ErrSmall
	}
	size := task.Size()
	var written int64
	what := fmt.Sprintf("runs %s of %d: %s", places(p.Runs), len(v.runs), p.Reason)
	if away != nil {
		what += ", at worker " + away.String()
	}
	job := t.begin("compaction", what, size)
	defer func() { t.env.Jobs.end(job, written, err) }()
	out, err := t.merge(ctx, task, what, away, job)
	defer func() { releaseAll(out.held) }()
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
	setSince(out.runs, task.Inputs, task.Oldest, time.Now())
	err = t.commit(ctx, out, t.record.Flushed, func(m *manifest.Manifest) error { return replaceRuns(m, task.Inputs, out.runs) }, nil)
	if err != nil {
		return false, fmt.Errorf("compact tablet %d: %w", t.id, err)
	}
	t.env.Files.obsolete(task.Inputs)
	if p.Major {
		t.settleWaste()
	}
	written = out.size()
	t.env.Counts.Compactions.Add(1)
	t.env.Counts.CompactedBytes.Add(written)
	if away != nil {
		t.env.Counts.Elsewhere.Add(1)
		t.env.Counts.ElsewhereBytes.Add(written)
	}
	t.event("compacted %s: %d KiB to %d KiB in %v", what, size>>10, written>>10, time.Since(began).Round(time.Millisecond))
	return true, nil
}

// task returns the merge of the runs of a plan. What is older than these are the
// runs behind the oldest: those that stay in between hold nothing that is older
// than what the plan has of the same families (compact.Closed).
func (t *Tablet) task(ctx context.Context, v *view, p compact.Plan) (*compact.Job, error) {
	layout, err := t.layout(ctx, v.manifest.Runs[p.Runs[len(p.Runs)-1]+1:])
	job := &compact.Job{Tablet: t.id, Drops: v.manifest.Drops, Snapshot: v.manifest.Flushed, Layout: layout}
	for _, at := range p.Runs {
		job.Inputs = append(job.Inputs, v.manifest.Runs[at])
	}
	job.Families = manifest.Families(job.Inputs...)
	return job, err
}

// places writes the places of runs for people.
func places(list []int) string {
	if first, last := list[0], list[len(list)-1]; last-first == len(list)-1 {
		return fmt.Sprintf("%d to %d", first, last)
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}

// merge does a job, here or elsewhere, unless the tablet stops meanwhile: then
// its result would be good for nothing.
func (t *Tablet) merge(ctx context.Context, task *compact.Job, what string, away Elsewhere, job *Job) (output, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-t.stopped:
			cancel(t.errNotServing())
		case <-ctx.Done():
		}
	}()
	var out output
	var err error
	if away != nil {
		out, err = t.mergeElsewhere(ctx, task, what, away, job.soFar.Store)
	} else {
		out, err = t.mergeFiles(ctx, task)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return out, err
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
	sink := t.sink(&out, mode)
	sink.Pace = t.env.Pace
	res, err := MergeFiles(ctx, t.env.Files, job, readahead, sink)
	if out.runs = res.Runs; err != nil {
		t.env.Files.Decided(out.numbers...)
	}
	return out, err
}

func (t *Tablet) pick(ctx context.Context, v *view, major bool) (p compact.Plan, ok bool, err error) {
	if n := len(v.runs); major {
		return compact.All(n, "asked for"), n > 0, nil
	}
	sch, err := t.anySchema(ctx)
	if err != nil {
		return p, false, err
	}
	runs := make([]compact.Run, len(v.runs))
	now := time.Now()
	for i, files := range v.manifest.Runs {
		runs[i] = pickable(sch, files, now)
	}
	p, ok = compact.Pick(runs, t.wasted.Load(), t.env.Options.Compaction)
	return p, ok, nil
}

// groupsOf returns the locality groups that a run matters to, as they are now,
// ascending.
func groupsOf(sch *schema.Schema, r manifest.Run) []int {
	families := manifest.Families(r)
	var groups []int
	for i := range sch.Groups {
		if manifest.Overlap(families, sch.Groups[i].Families) {
			groups = append(groups, i)
		}
	}
	return groups
}

// NeedsCompaction reports whether there is something to merge, and nobody who
// does.
func (t *Tablet) NeedsCompaction(ctx context.Context) bool {
	if ok, _ := t.lockCompaction(ctx, false); !ok {
		return false // whoever is at it asks for another
	}
	defer t.unlockCompaction()
	v, _, err := t.acquireView(false)
	if err != nil {
		return false
	}
	defer v.release()
	_, ok, err := t.pick(ctx, v, false)
	return ok && err == nil
}

// Urgent reports whether the tablet has so many runs that reads suffer.
func (t *Tablet) Urgent() bool {
	v := t.view.Load()
	most := t.env.Options.Compaction.MaxRuns
	if v == nil || len(v.manifest.Runs) <= most {
		return false
	}
	count := map[base.FamilyID]int{} // runs that matter to a family
	any := 0                         // that may matter to all
	for _, r := range v.manifest.Runs {
		families := manifest.Families(r)
		if families == nil {
			any++
		}
		for _, f := range families {
			count[f]++
		}
	}
	for _, n := range count {
		if any+n > most {
			return true
		}
	}
	return any > most
}

// replaceRuns exchanges the runs in old, which m has in this order (newer ones
// may have been added before them), for those that were made of them, in the
// place of the oldest.
func replaceRuns(m *manifest.Manifest, old, merged []manifest.Run) error {
	var runs []manifest.Run
	left := old
	for _, r := range m.Runs {
		if len(left) == 0 || !sameRun(r, left[0]) {
			runs = append(runs, r)
			continue
		}
		if left = left[1:]; len(left) == 0 {
			runs = append(runs, merged...)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: the runs that were compacted are not in the manifest any more", base.ErrAborted)
	}
	m.Runs = runs
	return nil
}

func sameRun(a, b manifest.Run) bool {
	return slices.EqualFunc(a, b, func(x, y manifest.File) bool {
		return x.Number == y.Number && bytes.Equal(x.Lower, y.Lower) && bytes.Equal(x.Upper, y.Upper)
	})
}
