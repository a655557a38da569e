package tablet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// PastError says that a tablet does not know any more, or not yet, what it held
// at a time. It wraps base.ErrPrecondition.
type PastError struct {
	Tablet base.TabletID
	// Earliest is the earliest time that it knows; zero: none.
	Earliest time.Time
}

func (e *PastError) Error() string {
	return fmt.Sprintf("tablet %d does not know what it held then; it does since %s", e.Tablet, e.Earliest.UTC().Format(time.RFC3339Nano))
}

// Unwrap implements errors.
func (e *PastError) Unwrap() error { return base.ErrPrecondition }

// Cut makes the record name a manifest of what the tablet held at a time: the
// files that it has, and one with what is in memory and was acknowledged then.
// That takes what is in memory apart by sequences, and so reaches back to the
// last flush: a *PastError says how far. It returns when that is committed, and
// at once where the record names such a manifest. The tablet goes on as it is.
func (t *Tablet) Cut(ctx context.Context, at time.Time) error {
	if err := t.lockChange(ctx); err != nil {
		return err
	}
	defer t.unlockChange()
	if t.State() != Serving {
		return t.errNotServing()
	}
	if _, ok := t.record.CutAt(at); ok {
		return nil
	}
	if err := t.awaitSafe(ctx); err != nil { // nothing commits in jeopardy (R21)
		return err
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	seq, asOf, ok := t.past.find(at, t.record.Flushed)
	if !ok {
		return &PastError{t.id, asOf}
	}
	cut, numbers, err := t.writeCut(ctx, at, seq)
	if err == nil {
		cut.AsOf = asOf
		err = t.commitChange(ctx, func(rec meta.Tablet) (meta.Change, error) { return meta.AddCut(rec, cut, time.Now()) })
	}
	if !errors.Is(err, base.ErrUndecided) {
		t.env.Files.Decided(numbers...)
	}
	if err != nil {
		return fmt.Errorf("cut tablet %d: %w", t.id, err)
	}
	t.event("cut at sequence %d, for a table as of %s", seq, asOf.UTC().Format(time.RFC3339Nano))
	return nil
}

// writeCut writes the files and the manifest of what the tablet holds up to seq,
// which is acknowledged, and above what is flushed. The numbers are in flight.
func (t *Tablet) writeCut(ctx context.Context, at time.Time, seq base.Seq) (cut meta.Cut, numbers []base.FileNumber, err error) {
	v, _, err := t.acquireView(false)
	if err != nil {
		return cut, nil, err
	}
	defer v.release()
	mems := append([]*mem{v.mem}, v.frozen...)
	inputs := make([]base.Iterator, len(mems))
	next := *v.manifest
	next.Drops = slices.Clone(next.Drops)
	for i, m := range mems {
		inputs[i] = &upTo{over(t.iterate(m), spansOver(v.drops, t.lastOf(m), seq)), seq}
		for _, d := range m.drops {
			if d.Seq <= seq {
				next.Drops = append(next.Drops, d)
			}
		}
	}
	slices.SortFunc(next.Drops, func(a, b manifest.Drop) int { return cmp.Compare(a.Seq, b.Seq) })
	size := memBytes(mems)
	need := t.fileMemory(size)
	t.env.FileMemory.Add(need)
	out, err := t.write(ctx, merging.New(inputs...), v.manifest.Runs, size)
	t.env.FileMemory.Give(need)
	numbers = out.numbers
	if err != nil {
		return cut, numbers, err
	}
	settled(out.runs, slices.DeleteFunc(slices.Clone(v.drops), func(d *drop) bool { return d.Seq > seq }), seq)
	next.Runs = append(slices.Clone(out.runs), v.manifest.Runs...)
	t.mu.Lock()
	next.LastTimestamp = t.mu.lastTime
	t.mu.Unlock()
	next.Tablet, next.Epoch, next.Version, next.Flushed = t.id, t.epoch, t.record.ManifestVersion+1, seq
	t.applyDrops(&next, time.Now())
	number := t.env.Files.Draw()
	numbers = append(numbers, number)
	data, err := next.Encode()
	if err == nil {
		err = t.create(ctx, base.ManifestObject(number), data)
	}
	return meta.Cut{At: at, Manifest: number, ManifestVersion: next.Version, Flushed: seq}, numbers, err
}

// lastOf is the last sequence in a memtable, which may be growing.
func (t *Tablet) lastOf(m *mem) base.Seq {
	t.mu.Lock()
	defer t.mu.Unlock()
	return m.last
}

// DropCuts forgets the cuts that are older than meta.CutLife, unless something
// else is being done to the tablet.
func (t *Tablet) DropCuts(ctx context.Context) error {
	if !meta.CutsExpired(t.Record(), time.Now()) {
		return nil
	}
	select {
	case t.change <- struct{}{}:
	default:
		return nil // another time: a flush may take long
	}
	defer t.unlockChange()
	if t.State() != Serving || !meta.CutsExpired(t.record, time.Now()) {
		return nil
	}
	return t.commitChange(ctx, func(rec meta.Tablet) (meta.Change, error) { return meta.DropCuts(rec, time.Now()) })
}

// upTo leaves out of an iterator what has a sequence above last.
type upTo struct {
	base.Iterator
	last base.Seq
}

// skip moves on to an entry that is not left out.
func (u *upTo) skip(ok bool, move func() bool) bool {
	for ok {
		if seq, _ := base.Trailer(u.Key()); seq <= u.last {
			return true
		}
		ok = move()
	}
	return false
}

// SeekGE implements base.Iterator.
func (u *upTo) SeekGE(key []byte) bool { return u.skip(u.Iterator.SeekGE(key), u.Iterator.Next) }

// Next implements base.Iterator.
func (u *upTo) Next() bool { return u.skip(u.Iterator.Next(), u.Iterator.Next) }

// SeekLT implements base.Iterator: it stands on an entry that precedes key.
func (u *upTo) SeekLT(key []byte) bool {
	ok := u.Iterator.SeekLT(key)
	for ok {
		if seq, _ := base.Trailer(u.Key()); seq <= u.last {
			return true
		}
		ok = u.Iterator.SeekLT(slices.Clone(u.Key()))
	}
	return false
}
