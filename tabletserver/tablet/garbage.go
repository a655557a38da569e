package tablet

import (
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// What tells whether a compaction is due beside the number of runs: how much of
// them is garbage, how old they are, and what reads lose on what is hidden.

// pickable returns what compact.Pick wants to know of a run.
func pickable(sch *schema.Schema, files manifest.Run, now time.Time) compact.Run {
	r := compact.Run{Groups: groupsOf(sch, files)}
	for i := range files {
		f := &files[i]
		r.Size += f.ShownBytes()
		r.Entries += f.Entries
		r.Tombstones += f.Tombstones
		r.Shared = r.Shared || f.Clipped()
		r.Garbage += expired(sch, f, now.UnixMicro())
		if f.Since > 0 {
			r.Age = max(r.Age, now.Sub(time.UnixMicro(f.Since)))
		}
	}
	return r
}

// expired estimates how many cells of the file are too old, whatever family they
// are of: as if their timestamps were spread evenly.
func expired(sch *schema.Schema, f *manifest.File, now int64) uint64 {
	// Hidden cells live for their own time.
	bound := now - base.SystemRetention.Microseconds()
	for i := range sch.Families {
		x := &sch.Families[i]
		if manifest.Overlap(f.Families, []base.FamilyID{x.ID}) {
			bound = min(bound, x.GC.MinTimestamp(now))
		}
	}
	cells := f.Entries - min(f.Tombstones, f.Entries)
	switch {
	case cells == 0 || f.MinTimestamp > f.MaxTimestamp || bound <= f.MinTimestamp:
		return 0
	case bound > f.MaxTimestamp:
		return cells
	}
	share := (float64(bound) - float64(f.MinTimestamp)) / (float64(f.MaxTimestamp) - float64(f.MinTimestamp) + 1)
	return uint64(share * float64(cells))
}

// setSince sets since when the runs that came of inputs wait. Nothing waits where
// nothing is older.
func setSince(runs, inputs []manifest.Run, oldest bool, now time.Time) {
	since := now.UnixMicro()
	for _, r := range inputs {
		for i := range r {
			if s := r[i].Since; !oldest && s > 0 {
				since = min(since, s)
			}
		}
	}
	for _, r := range runs {
		for i := range r {
			r[i].Since = since
		}
	}
}

// noteWaste adds what a read has lost on entries that nobody can see. Once that
// is as much as a compaction would have cost, there is one; what is hidden, or
// hides, in memory is flushed for it.
func (t *Tablet) noteWaste(steps uint64) {
	if steps == 0 {
		return
	}
	total := t.wasted.Add(steps)
	due := t.wasteDue.Load()
	if total < due || !t.wasteDue.CompareAndSwap(due, total+max(total, wasteStep)) {
		return
	}
	v := t.view.Load()
	if v == nil {
		return
	}
	if !v.mem.empty() || len(v.frozen) > 0 {
		t.env.WantFlush(t) // a compaction follows
	} else {
		t.env.WantCompact(t)
	}
}

// wasteStep is how often it is looked whether what reads lose calls for a
// compaction, in steps lost; each time after twice as many.
const wasteStep = 10_000

// settleWaste forgets what was lost before a major compaction.
func (t *Tablet) settleWaste() {
	t.wasted.Store(0)
	t.wasteDue.Store(wasteStep)
}
