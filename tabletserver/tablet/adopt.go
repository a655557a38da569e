package tablet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Adopt makes the tablet adopt a bulk load that is decided: it takes one
// sequence number for all of its cells, above everything that was written
// before and below all that will be, and commits a manifest with those of the
// load's files that have rows of the tablet. Readers see all of that at once.
//
// What is in memory is flushed ahead; then writes stop for as long as it takes to
// write what came since, a manifest and the transaction. Reads go on. The
// transaction names the load in the record, so that it is adopted once, by
// whichever owner; a load that was adopted before is no error.
//
// ctx is the server's life: from the first attempt at the transaction on there
// is no way back until its outcome is known (R4).
func (t *Tablet) Adopt(ctx context.Context, id base.LoadID) error {
	if err := t.lockChange(ctx); err != nil {
		return err
	}
	defer t.unlockChange()
	if t.State() != Serving {
		return t.errNotServing()
	}
	if t.record.Adopted(id) {
		return nil
	}
	a, runs, err := t.offered(ctx, id)
	if err != nil {
		return fmt.Errorf("tablet %d adopts bulk load %d: %w", t.id, id, err)
	}
	all := output{runs: runs}
	job := t.begin("adoption", fmt.Sprintf("bulk load %d: %d files", id, all.files()), all.size())
	err = t.adopt(ctx, a, all)
	t.env.Jobs.end(job, 0, err)
	if err != nil {
		return fmt.Errorf("tablet %d adopts bulk load %d: %w", t.id, id, err)
	}
	return nil
}

// offered returns what the load has for the tablet: its files, with the bounds
// of the tablet, a run for each locality group.
func (t *Tablet) offered(ctx context.Context, id base.LoadID) (meta.Adoption, []manifest.Run, error) {
	pending, err := t.env.Meta.BulkLoads(ctx, t.table)
	if err != nil {
		return meta.Adoption{}, nil, err
	}
	i := slices.IndexFunc(pending, func(b meta.BulkLoad) bool { return b.ID == id })
	if i < 0 {
		return meta.Adoption{}, nil, fmt.Errorf("bulk load %d: %w", id, base.ErrNotFound)
	}
	a := meta.Adoption{Load: pending[i], Pending: pending}
	m, err := manifest.Read(ctx, t.env.Store, a.Load.Manifest)
	if errors.Is(err, objstore.ErrNotFound) {
		if _, gone := t.env.Meta.BulkLoad(ctx, t.table, id); gone != nil {
			return a, nil, gone // adopted by all, or the table is gone
		}
		err = fmt.Errorf("%w: %w", base.ErrCorrupt, err)
	}
	if err != nil {
		return a, nil, err
	}
	for _, f := range slices.Concat(m.Runs...) {
		if !f.Loaded {
			return a, nil, fmt.Errorf("%w: %s, of a bulk load, names SSTable %v, which is not of one", base.ErrCorrupt, base.ManifestObject(a.Load.Manifest), f.Number)
		}
	}
	// Whoever compacts the files must know their families.
	if err := t.env.Schemas.Fresh(ctx); err != nil {
		return a, nil, err
	}
	return a, manifest.Clip(m.Runs, t.start, t.end, func(f manifest.File) int64 { return t.shown(ctx, f) }), nil
}

// adopt does the work of Adopt; the caller holds change.
func (t *Tablet) adopt(ctx context.Context, a meta.Adoption, offer output) error {
	began := time.Now()
	if len(offer.runs) == 0 { // only the record changes
		if err := t.awaitSafe(ctx); err != nil {
			return err
		}
		x := adopting{t: t, load: a, before: t.record}
		return x.commit(ctx)
	}
	if err := t.flush(ctx); err != nil { // most of it ahead
		return err
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	if err := t.awaitSafe(ctx); err != nil { // nothing commits in jeopardy (R21)
		return err
	}
	paused := time.Now()
	if err := t.drain(ctx); err != nil {
		return err
	}
	x := adopting{t: t, load: a, runs: offer.runs, before: t.record}
	if err := x.write(ctx); err != nil {
		t.env.Files.Decided(x.out.numbers...)
		t.undrain()
		return err
	}
	if err := x.commit(ctx); err != nil {
		return err
	}
	t.env.Counts.Adoptions.Add(1)
	t.env.Counts.AdoptedBytes.Add(offer.size())
	t.event("adopted bulk load %d, %d KiB in %d files, in %v, %v of it without writes", a.Load.ID, offer.size()>>10, offer.files(),
		time.Since(began).Round(time.Millisecond), time.Since(paused).Round(time.Millisecond))
	t.env.WantCompact(t)
	return nil
}

// adopting is an adoption by a tablet that is drained, or one without files, to
// which that does not matter.
type adopting struct {
	t      *Tablet
	load   meta.Adoption
	runs   []manifest.Run // none: the fields from seq on are not set
	before meta.Tablet    // the record that the manifest was made of

	seq     base.Seq // of the load
	flushed []*mem   // memtables that are in the manifest's files
	out     output   // with the number of the manifest
	number  base.FileNumber
	next    manifest.Manifest
}

// write writes what is left in memory, and the manifest: the load's files on top
// of all that was written before.
func (x *adopting) write(ctx context.Context) error {
	t := x.t
	t.mu.Lock()
	t.freezeLocked()
	v := t.view.Load()
	x.seq, x.flushed = t.mu.next, v.frozen
	x.next = *v.manifest
	x.next.LastTimestamp = t.mu.lastTime
	t.mu.Unlock()
	x.next.Runs = slices.Clone(x.next.Runs)
	if len(v.frozen) > 0 {
		var drops []manifest.Drop
		inputs := make([]base.Iterator, len(v.frozen))
		for i, m := range v.frozen {
			inputs[i] = over(t.iterate(m), spansOver(v.drops, m.last, base.MaxSeq)) // all is acknowledged
			drops = append(drops, m.drops...)
		}
		var err error
		if x.out, err = t.write(ctx, merging.New(inputs...), v.manifest.Runs, memBytes(v.frozen)); err != nil {
			return err
		}
		settled(x.out.runs, v.drops, x.seq-1)
		x.next.Runs = slices.Insert(x.next.Runs, 0, x.out.runs...)
		slices.SortFunc(drops, func(a, b manifest.Drop) int { return int(int64(a.Seq) - int64(b.Seq)) })
		x.next.Drops = append(slices.Clone(x.next.Drops), drops...)
	}
	for _, run := range x.runs { // they are of different families: in any order
		adopted := make(manifest.Run, len(run))
		for i, f := range run {
			adopted[i] = f.At(x.seq)
		}
		x.next.Runs = slices.Insert(x.next.Runs, 0, adopted)
	}
	x.number = t.env.Files.Draw()
	x.out.numbers = append(x.out.numbers, x.number)
	x.next.Tablet, x.next.Epoch, x.next.Version, x.next.Flushed = t.id, t.epoch, t.record.ManifestVersion+1, x.seq
	t.applyDrops(&x.next, time.Now())
	data, err := x.next.Encode()
	if err != nil {
		return err
	}
	return t.create(ctx, base.ManifestObject(x.number), data)
}

// commit commits the adoption, and keeps at it until its outcome is known (R4);
// then writes go on, unless the tablet is another's.
func (x *adopting) commit(ctx context.Context) error {
	t := x.t
	for {
		err := x.try(ctx)
		switch {
		case err == nil:
			if len(x.runs) > 0 {
				x.install()
			}
			t.env.Files.Decided(x.out.numbers...)
			return nil
		case errors.Is(err, errShifted):
			t.env.Files.Decided(x.out.numbers...)
			if len(x.runs) > 0 {
				t.undrain()
			}
			return err
		case errors.Is(err, ErrLost):
			t.env.Files.Decided(x.out.numbers...)
			t.stop("lost: the record is another's")
			return err
		case ctx.Err() != nil, errors.Is(err, base.ErrFenced):
			return err
		}
		t.env.Logger.WarnContext(ctx, "bulk load was not adopted yet", "tablet", uint64(t.id), "load", uint64(x.load.Load.ID), "err", err)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try attempts the transaction once more. errShifted: it was never applied and
// never will be.
func (x *adopting) try(ctx context.Context) error {
	t := x.t
	if t.record.Adopted(x.load.Load.ID) && (len(x.runs) == 0 || t.record.Manifest == x.number) {
		return nil // it has landed
	}
	if t.record.Manifest != x.before.Manifest {
		return errShifted // by a flush that was undecided
	}
	c, err := meta.Adopt(t.record, x.change())
	if err != nil {
		return fmt.Errorf("%w: %w", errShifted, err)
	}
	done, err := t.env.Commits.Commit(ctx, c)
	if err == nil {
		t.setRecord(done)
		return nil
	}
	if !errors.Is(err, base.ErrAborted) {
		return err
	}
	before := t.record.Revision
	if _, err := t.reread(ctx); err != nil {
		return err
	}
	if t.record.Revision != before {
		return err // looked at again
	}
	if t.env.Session.State() == lockservice.SessionExpired {
		return base.ErrFenced
	}
	if _, gone := t.env.Meta.BulkLoad(ctx, t.table, x.load.Load.ID); errors.Is(gone, base.ErrNotFound) {
		return fmt.Errorf("%w: %w", errShifted, gone) // so that none of the attempts can succeed any more
	}
	return err
}

func (x *adopting) change() meta.Adoption {
	a := x.load
	if len(x.runs) == 0 {
		return a
	}
	a.Flushed = &meta.Flushed{
		Manifest: x.number, ManifestVersion: x.next.Version, Seq: x.seq,
		From: x.t.ownFrom(x.t.record, x.flushed), DropEntries: true, // nothing is left to be replayed
	}
	return a
}

// install makes the tablet show the load, and takes writes again.
func (x *adopting) install() {
	t := x.t
	t.exchange(&x.next, x.flushed)
	t.past.forget(x.seq)
	t.past.note(time.Now(), x.seq)
	t.mu.Lock()
	t.mu.next = x.seq + 1
	t.mu.drops++ // what was computed from rows before is void, as after a drop
	t.applied.Store(uint64(x.seq))
	t.acknowledged(x.seq, 0)
	t.mu.Unlock()
	t.undrain()
}
