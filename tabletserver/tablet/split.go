package tablet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Split replaces the tablet by two of this server: the left one ends before row,
// the right one begins there (R8). ids are theirs, drawn for this split alone.
//
// No data is copied. The children's manifests, which refer to the parent's files
// with bounds, are written while the parent serves. Then writes stop for as long
// as the log takes to acknowledge the last one and one transaction takes; reads
// go on until the children serve. The children have the parent's memtables, and
// its entries in the logs until they have flushed what is theirs.
//
// On return without an error the parent is Stopped and the children serve; the
// caller makes them known. With an error the parent serves as before, unless it
// was lost (ErrLost) or ctx, which is the server's life, has ended.
func (t *Tablet) Split(ctx context.Context, row []byte, ids [2]base.TabletID, why string) ([]*Tablet, error) {
	if err := t.lockChange(ctx); err != nil {
		return nil, err
	}
	defer t.unlockChange()
	began := time.Now()
	if t.State() != Serving {
		return nil, t.errNotServing()
	}
	if !t.contains(row) || bytes.Equal(row, t.start) {
		return nil, fmt.Errorf("%w: tablet %d cannot be split at row %q: it covers [%q, %q)", base.ErrInvalid, t.id, row, t.start, t.end)
	}
	if err := t.awaitSafe(ctx); err != nil { // nothing commits in jeopardy (R21)
		return nil, err
	}
	if err := t.settle(ctx); err != nil {
		return nil, err
	}
	before := t.record
	manifests, numbers, err := t.childManifests(ctx, row, ids)
	if err != nil {
		t.env.Files.Decided(numbers...)
		return nil, fmt.Errorf("split tablet %d: %w", t.id, err)
	}
	paused := time.Now()
	if err := t.drain(ctx); err != nil {
		t.env.Files.Decided(numbers...)
		return nil, err
	}
	s := meta.Splitting{Row: row, IDs: ids, Why: why}
	copy(s.Manifests[:], numbers)
	done, err := reshape(ctx, []*Tablet{t}, func() (meta.Reshape, error) { return t.planSplit(s, before) })
	if err != nil {
		if errors.Is(err, ErrLost) || errors.Is(err, errShifted) {
			t.env.Files.Decided(numbers...)
		}
		return nil, fmt.Errorf("split tablet %d: %w", t.id, err)
	}
	children := t.become(done, manifests)
	t.env.Files.Decided(numbers...)
	for _, c := range children {
		c.event("split off tablet %d at row %q in %v, %v of it without writes: %s", t.id, row, time.Since(began).Round(time.Millisecond), time.Since(paused).Round(time.Millisecond), why)
	}
	return children, nil
}

// childManifests writes the manifests that the children begin with: the
// parent's, clipped to their rows. There are none where the parent has none.
// The numbers are in flight.
func (t *Tablet) childManifests(ctx context.Context, row []byte, ids [2]base.TabletID) (manifests [2]*manifest.Manifest, numbers []base.FileNumber, err error) {
	v := t.view.Load()
	rows := [3][]byte{t.start, row, t.end}
	for i := range manifests {
		m := *v.manifest
		m.Tablet, m.Epoch = ids[i], t.epoch+1
		m.Runs = manifest.Clip(m.Runs, rows[i], rows[i+1], func(f manifest.File) int64 { return t.shown(ctx, f) })
		m.Drops = manifest.ClipDrops(m.Drops, rows[i], rows[i+1])
		manifests[i] = &m
		if t.record.Manifest.IsZero() {
			continue
		}
		m.Version = t.record.ManifestVersion + 1
		n := t.env.Files.Draw()
		numbers = append(numbers, n)
		data, err := m.Encode()
		if err == nil {
			err = t.create(ctx, base.ManifestObject(n), data)
		}
		if err != nil {
			return manifests, numbers, err
		}
	}
	return manifests, numbers, nil
}

// shown estimates how many bytes of a file lie within a reference's bounds; a
// file that cannot be opened counts half.
func (t *Tablet) shown(ctx context.Context, ref manifest.File) int64 {
	f := t.env.Files.newFile(ref)
	defer f.release()
	r, err := f.open(ctx)
	if err != nil {
		return ref.Size / 2
	}
	return r.ApproximateSize(f.lower, f.upper)
}

// planSplit completes s by where the records of the drained parent lie. The
// manifests were made of the record before.
func (t *Tablet) planSplit(s meta.Splitting, before meta.Tablet) (meta.Reshape, error) {
	rec := t.record
	own := rec.OwnEntry()
	if own < 0 || rec.Manifest != before.Manifest {
		return meta.Reshape{}, fmt.Errorf("split tablet %d: %w", t.id, errShifted)
	}
	s.From, s.To = t.ownFrom(rec, nil), rec.Logs[own].From
	t.mu.Lock()
	if t.mu.batch != nil {
		s.To = t.mu.lastPos + 1
	}
	s.NextSeq = t.mu.next
	t.mu.Unlock()
	s.Begin = t.env.Log.NextPosition()
	s.ManifestVersion = before.ManifestVersion + 1
	return meta.Split(rec, s, time.Now())
}

// become exchanges the parent for its children.
func (t *Tablet) become(records []meta.Tablet, manifests [2]*manifest.Manifest) []*Tablet {
	t.mu.Lock()
	v := t.view.Load()
	next, lastTime := t.mu.next, t.mu.lastTime
	mems := slices.Clone(v.frozen)
	if !v.mem.empty() {
		mems = slices.Insert(mems, 0, v.mem)
	}
	t.mu.Unlock()
	children := make([]*Tablet, len(records))
	for i, rec := range records {
		frozen := make([]*mem, len(mems))
		for j, m := range mems {
			frozen[j] = m.half()
		}
		c := successor(t.env, rec, manifests[i], frozen, next, lastTime)
		t.past.copyTo(&c.past)
		c.foreign = t.foreign
		if len(mems) > 0 { // the parent's entries hold what is not flushed
			c.foreign = next - 1
		}
		children[i] = c
	}
	var counted int64 // of odd numbers a byte is lost
	for _, m := range mems {
		counted += m.counted % 2
	}
	t.env.Budget.add(-counted)
	t.retire("split")
	for _, c := range children {
		if len(c.record.Logs) > 1 {
			t.env.WantFlush(c)
		}
		t.env.WantCompact(c)
	}
	return children
}
