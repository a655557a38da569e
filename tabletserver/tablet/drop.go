package tablet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

const (
	// dropMemory is how long a drop is remembered though there is nothing left
	// that it hides: repeats of requests may come for a third of
	// base.SystemRetention, and clocks differ.
	dropMemory = base.SystemRetention / 2
	// maxFrozen is how many memtables wait for a flush before a drop, which
	// freezes the active one, waits for them.
	maxFrozen = 4
)

// drop is a range of rows that was dropped. Each memtable and file is either
// older than the drop as a whole, or holds nothing that the drop hides: a drop
// freezes the active memtable, and whoever writes files leaves out what drops
// hide. So a drop costs readers nothing but a jump over its range in what is
// older.
type drop struct {
	manifest.Drop
	lo, hi []byte // the rows as bounds of cell keys; nil: no bound
}

func newDrop(d manifest.Drop) *drop {
	x := &drop{Drop: d}
	if len(d.Start) > 0 {
		x.lo = base.AppendRowPrefix(nil, d.Start)
	}
	if len(d.End) > 0 {
		x.hi = base.AppendRowPrefix(nil, d.End)
	}
	return x
}

// clipDrop returns the part of a drop that lies in the tablet; ok is false where
// none does. A manifest holds drops with the bounds of its tablet, so that they
// mean the same in that of a tablet which it is merged into.
func (t *Tablet) clipDrop(d manifest.Drop) (c manifest.Drop, ok bool) {
	return d.Clip(t.start, t.end)
}

// reach is d without the bounds that are the tablet's: it covers what files hold
// beyond, which nobody sees.
func (t *Tablet) reach(d manifest.Drop) *drop {
	if bytes.Equal(d.Start, t.start) {
		d.Start = nil
	}
	if bytes.Equal(d.End, t.end) {
		d.End = nil
	}
	return newDrop(d)
}

func (d *drop) containsRow(row []byte) bool {
	return bytes.Compare(row, d.Start) >= 0 && (len(d.End) == 0 || bytes.Compare(row, d.End) < 0)
}

// covers reports whether all keys in [lo, hi] lie in the drop.
func (d *drop) covers(lo, hi []byte) bool {
	return bytes.Compare(lo, d.lo) >= 0 && (d.hi == nil || bytes.Compare(hi, d.hi) < 0)
}

// includes reports whether all of e lies in d.
func (d *drop) includes(e *drop) bool {
	return bytes.Compare(e.lo, d.lo) >= 0 && (d.hi == nil || e.hi != nil && bytes.Compare(e.hi, d.hi) <= 0)
}

// shown returns the first and the last key of a file that its reference can
// show. The last may be of a row that it just does not show.
func shown(f *manifest.File) (lo, hi []byte) {
	lo, hi = f.Smallest, f.Largest
	if len(f.Lower) > 0 {
		if l := base.AppendRowPrefix(nil, f.Lower); bytes.Compare(l, lo) > 0 {
			lo = l
		}
	}
	if len(f.Upper) > 0 {
		if u := base.AppendRowPrefix(nil, f.Upper); bytes.Compare(u, hi) < 0 {
			hi = u
		}
	}
	return lo, hi
}

// hides reports whether d hides all that the reference shows, or, with any,
// anything that it may show.
func (d *drop) hides(f *manifest.File, any bool) bool {
	if f.Last() >= d.Seq {
		return false
	}
	lo, hi := shown(f)
	if any {
		return bytes.Compare(hi, d.lo) >= 0 && (d.hi == nil || bytes.Compare(lo, d.hi) < 0)
	}
	if len(f.Upper) > 0 && d.hi != nil && bytes.Equal(hi, d.hi) { // an exclusive bound
		return bytes.Compare(lo, d.lo) >= 0
	}
	return d.covers(lo, hi)
}

// span is a range of keys to be jumped over; lo and hi nil: no bound.
type span struct{ lo, hi []byte }

// spansOver returns what the drops with sequences up to snapshot hide in a
// source whose entries have sequences up to last, in order and without overlap.
func spansOver(drops []*drop, last, snapshot base.Seq) []span {
	var spans []span
	for _, d := range drops {
		if d.Seq > last && d.Seq <= snapshot {
			spans = append(spans, span{d.lo, d.hi})
		}
	}
	if len(spans) < 2 {
		return spans
	}
	slices.SortFunc(spans, func(a, b span) int { return bytes.Compare(a.lo, b.lo) })
	out := spans[:1]
	for _, s := range spans[1:] {
		p := &out[len(out)-1]
		switch {
		case p.hi != nil && bytes.Compare(s.lo, p.hi) > 0:
			out = append(out, s)
		case p.hi != nil && (s.hi == nil || bytes.Compare(s.hi, p.hi) > 0):
			p.hi = s.hi
		}
	}
	return out
}

// jump moves an iterator that stands on an entry, if ok, out of the spans: to
// what follows one, or, back, to what precedes it.
func jump(it base.Iterator, spans []span, ok, back bool) bool {
	for ok {
		s := spanOf(spans, it.Key())
		switch {
		case s == nil:
			return true
		case back && s.lo == nil, !back && s.hi == nil:
			return false
		case back:
			ok = it.SeekLT(s.lo)
		default:
			ok = it.SeekGE(s.hi)
		}
	}
	return false
}

func spanOf(spans []span, key []byte) *span {
	for i := range spans { // there are few
		s := &spans[i]
		if bytes.Compare(key, s.lo) < 0 {
			return nil
		}
		if s.hi == nil || bytes.Compare(key, s.hi) < 0 {
			return s
		}
	}
	return nil
}

// jumping is an iterator that jumps over spans.
type jumping struct {
	base.Iterator
	spans []span
}

// over returns it, or what jumps over the spans in it.
func over(it base.Iterator, spans []span) base.Iterator {
	if len(spans) == 0 {
		return it
	}
	return &jumping{it, spans}
}

// SeekGE implements base.Iterator.
func (j *jumping) SeekGE(key []byte) bool {
	return jump(j.Iterator, j.spans, j.Iterator.SeekGE(key), false)
}

// SeekLT implements base.Iterator.
func (j *jumping) SeekLT(key []byte) bool {
	return jump(j.Iterator, j.spans, j.Iterator.SeekLT(key), true)
}

// Next implements base.Iterator.
func (j *jumping) Next() bool { return jump(j.Iterator, j.spans, j.Iterator.Next(), false) }

// Drop hides all cells of the rows of g that lie in the tablet and were written
// before, in one atomic step whose cost does not depend on how many there are.
// It returns when that is durable and visible. Its errors are those of Apply.
func (t *Tablet) Drop(ctx context.Context, g rowset.Range, once *mutation.Once) error {
	if t.State() != Serving {
		return t.errNotServing()
	}
	if len(g.End) > 0 && bytes.Compare(g.Start, g.End) >= 0 {
		return fmt.Errorf("%w: an empty range of rows", base.ErrInvalid)
	}
	if _, ok := t.clipDrop(manifest.Drop{Start: g.Start, End: g.End}); !ok {
		return fmt.Errorf("tablet %d: rows [%q, %q): %w", t.id, g.Start, g.End, base.ErrWrongTablet)
	}
	if t.Frozen() >= maxFrozen {
		if err := t.Flush(ctx); err != nil {
			return err
		}
	}
	sch, err := t.schema(ctx)
	if err != nil {
		return err
	}
	from := g.Start
	if len(from) == 0 {
		from = []byte{0} // the first row there can be
	}
	lock, err := t.env.Rows.lock(ctx, t.id, from)
	if err != nil {
		return err
	}
	defer lock.unlock()
	if once.Named() { // only to refuse those that come late: again does no harm
		if _, err := t.repeats.note(once.AppendKey(nil), once, time.Now()); err != nil {
			return err
		}
	}
	b := mutation.NewBuilder(nil, from)
	b.DropRows(g.End)
	batch, err := t.append(b.Bytes(), b.Len(), sch)
	if err != nil {
		return err
	}
	t.event("dropping rows [%q, %q)", g.Start, g.End)
	t.env.WantFlush(t)
	return Await(ctx, batch)
}

// dropLocked puts a drop into force: what is in memory is frozen, and what comes
// is newer. It returns the active memtable.
func (t *Tablet) dropLocked(rec *mutation.Record, op *mutation.RecordOp, seq base.Seq) *mem {
	d := manifest.Drop{Start: bytes.Clone(rec.Row), End: bytes.Clone(op.Value), Seq: seq, Time: op.Timestamp}
	if bytes.Equal(d.Start, []byte{0}) {
		d.Start = nil
	}
	d, ok := t.clipDrop(d)
	if !ok {
		return t.view.Load().mem // Drop and concerns see to it that it is
	}
	t.freezeLocked()
	v := t.view.Load()
	m := *v.mem // empty
	m.drops = append(slices.Clone(m.drops), d)
	m.last = seq
	t.view.Store(newView(t.env.Files, &m, v.frozen, v.manifest))
	v.release()
	t.mu.drops++
	t.applied.Store(uint64(seq))
	return &m
}

// errDropped: rows were dropped, or a bulk load was adopted, while a write was
// computed from what they held. The lock of a row does not keep these out.
var errDropped = errors.New("rows were dropped or loaded meanwhile")

// drops returns how many drops and adoptions there were so far.
func (t *Tablet) drops() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.drops
}

// settled marks the files of runs as written without what the drops up to seq
// hide.
func settled(runs []manifest.Run, drops []*drop, seq base.Seq) {
	if len(drops) == 0 {
		return
	}
	for _, r := range runs {
		for i := range r {
			r[i].Settled = seq
		}
	}
}

// applyDrops makes what drops hide leave a manifest where that takes no reading, and
// forgets drops that hide nothing any more.
func (t *Tablet) applyDrops(m *manifest.Manifest, now time.Time) {
	var drops []*drop
	for _, d := range m.Drops {
		if c, ok := t.clipDrop(d); ok { // a parent's may lie elsewhere
			drops = append(drops, t.reach(c))
		}
	}
	hidden := func(f manifest.File) bool {
		return slices.ContainsFunc(drops, func(d *drop) bool { return d.hides(&f, false) })
	}
	var runs []manifest.Run
	for _, r := range m.Runs {
		if slices.ContainsFunc(r, hidden) {
			r = slices.DeleteFunc(slices.Clone(r), hidden)
		}
		if len(r) > 0 {
			runs = append(runs, r)
		}
	}
	m.Runs, m.Drops = runs, nil
	for i, d := range drops {
		if slices.ContainsFunc(drops[i+1:], func(later *drop) bool { return later.Seq > d.Seq && later.includes(d) }) {
			continue
		}
		needed := now.Sub(time.UnixMicro(d.Time)) < dropMemory
		for _, r := range runs {
			needed = needed || slices.ContainsFunc(r, func(f manifest.File) bool { return d.hides(&f, true) })
		}
		if needed {
			c, _ := t.clipDrop(d.Drop)
			m.Drops = append(m.Drops, c)
		}
	}
}

// droppedLately reports whether the row was dropped so lately that it cannot be
// told any more whether a request that is repeated was applied before.
func (t *Tablet) droppedLately(row []byte, now time.Time) bool {
	for _, d := range t.view.Load().drops {
		if d.containsRow(row) && now.Sub(time.UnixMicro(d.Time)) < dropMemory {
			return true
		}
	}
	return false
}
