package tablet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Flush writes what is in memory to files (a minor compaction) and returns
// when that is committed. With nothing to write it only drops log entries that
// nobody needs.
func (t *Tablet) Flush(ctx context.Context) error {
	if err := t.lockChange(ctx); err != nil {
		return err
	}
	defer t.unlockChange()
	return t.flush(ctx)
}

// flush does the work of Flush; the caller holds change.
func (t *Tablet) flush(ctx context.Context) (err error) {
	var written int64
	t.mu.Lock()
	if t.State() != Serving {
		t.mu.Unlock()
		return t.errNotServing()
	}
	t.freezeLocked()
	v := t.view.Load()
	v.acquire()
	t.mu.Unlock()
	defer v.release()
	if len(v.frozen) == 0 {
		return t.dropEntries(ctx)
	}
	began := time.Now()
	newest := v.frozen[0]
	job := t.begin("flush", fmt.Sprintf("memtables: %d", len(v.frozen)), memBytes(v.frozen))
	defer func() { t.env.Jobs.end(job, written, err) }()
	if newest.batch != nil { // acknowledged records only (R3)
		if err := newest.batch.Wait(ctx); err != nil {
			return fmt.Errorf("flush tablet %d: %w", t.id, err)
		}
	}
	inputs := make([]base.Iterator, len(v.frozen))
	var drops []manifest.Drop
	for i, m := range v.frozen {
		inputs[i] = over(t.iterate(m), spansOver(v.drops, m.last, newest.last))
		drops = append(drops, m.drops...)
	}
	size := memBytes(v.frozen)
	need := t.fileMemory(size)
	t.env.FileMemory.Add(need)
	files, err := t.write(ctx, merging.New(inputs...), v.manifest.Runs, size)
	t.env.FileMemory.Give(need)
	if err != nil {
		return fmt.Errorf("flush tablet %d: %w", t.id, err)
	}
	settled(files.runs, v.drops, newest.last)
	setSince(files.runs, nil, false, time.Now())
	err = t.commit(ctx, files, newest.last, func(m *manifest.Manifest) error {
		m.Runs = slices.Insert(m.Runs, 0, files.runs...)
		slices.SortFunc(drops, func(a, b manifest.Drop) int { return cmp.Compare(a.Seq, b.Seq) })
		m.Drops = append(slices.Clone(m.Drops), drops...)
		return nil
	}, v.frozen)
	if err != nil {
		return fmt.Errorf("flush tablet %d: %w", t.id, err)
	}
	written = files.size()
	if len(v.manifest.Runs) == 0 { // it was a compaction of all
		t.settleWaste()
	}
	t.env.Budget.flushed(size, time.Since(began))
	t.env.Counts.Flushes.Add(1)
	t.env.Counts.FlushedBytes.Add(written)
	t.event("flushed %d KiB of memory to %d KiB in %d files in %v", size>>10, written>>10, files.files(), time.Since(began).Round(time.Millisecond))
	t.env.WantCompact(t)
	return nil
}

// memBytes is how much is in memtables.
func memBytes(list []*mem) (n int64) {
	for _, m := range list {
		n += m.size()
	}
	return n
}

// dropEntries commits that log entries are not needed any more.
func (t *Tablet) dropEntries(ctx context.Context) error {
	if len(t.record.Logs) < 2 || t.foreign > t.record.Flushed {
		return nil
	}
	return t.commitChange(ctx, func(rec meta.Tablet) (meta.Change, error) {
		return meta.Flush(rec, meta.Flushed{
			Manifest: rec.Manifest, ManifestVersion: rec.ManifestVersion, Seq: rec.Flushed,
			From: t.ownFrom(rec, nil), DropEntries: true,
		})
	})
}

// ownFrom is the position of the first record of the own log that is not
// flushed, once the memtables in flushed are: or the one the open batch has
// (R3).
func (t *Tablet) ownFrom(rec meta.Tablet, flushed []*mem) base.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.env.Log.NextPosition()
	v := t.view.Load()
	for _, m := range append(v.frozen[:len(v.frozen):len(v.frozen)], v.mem) {
		if m.hasFirst && !slices.Contains(flushed, m) {
			from = min(from, m.first)
		}
	}
	if own := rec.OwnEntry(); own >= 0 {
		from = max(from, rec.Logs[own].From)
	}
	return from
}

// output is what a flush or compaction wrote.
type output struct {
	runs    []manifest.Run    // one for each locality group that had anything
	numbers []base.FileNumber // drawn; decided when the commit is
	held    []*handle         // of files that stay open until the view has them
}

// size is how many bytes were written, files into how many files.
func (o *output) size() (n int64) {
	for _, r := range o.runs {
		n += r.Size()
	}
	return n
}

func (o *output) files() (n int) {
	for _, r := range o.runs {
		n += len(r)
	}
	return n
}

// write makes SSTables of what a compactor keeps of it, which is what memtables
// hold: all of it is newer than the runs. It closes it. On an error nothing that
// was written is named by anybody, ever.
func (t *Tablet) write(ctx context.Context, it base.Iterator, older []manifest.Run, hint int64) (out output, err error) {
	l, err := t.layout(ctx, older)
	if err != nil {
		return out, errors.Join(err, it.Close())
	}
	res, err := writeFiles(ctx, it, &l, hint, &t.env.Files.encoders, t.sink(&out, nil))
	if out.runs = res.Runs; err != nil {
		t.env.Files.Decided(out.numbers...)
	}
	return out, err
}

// layout says how files are written now. older are the runs that stay and are
// older than what is written.
func (t *Tablet) layout(ctx context.Context, older []manifest.Run) (compact.Layout, error) {
	sch, err := t.anySchema(ctx)
	o := &t.env.Options
	return compact.Layout{
		Schema: sch, Oldest: len(older) == 0, Older: manifest.Families(older...), Now: time.Now().UnixMicro(),
		FileBytes: o.FileBytes, BlockBytes: o.BlockBytes, Compression: o.Compression,
	}, err
}

// sink puts files into the bucket and keeps their numbers in out. mode, if not
// nil, changes the context of what is put.
func (t *Tablet) sink(out *output, mode func(context.Context) context.Context) FileSink {
	return FileSink{
		Draw: func(context.Context) (base.FileNumber, error) {
			n := t.env.Files.Draw()
			out.numbers = append(out.numbers, n)
			return n, nil
		},
		Put: func(ctx context.Context, n base.FileNumber, data []byte) error {
			if mode != nil {
				ctx = mode(ctx)
			}
			return PutFile(ctx, t.env.Store, n, data)
		},
	}
}

// create puts an object whose name is this incarnation's alone and was never
// used before: where it exists, an earlier attempt of this very put did it.
func (t *Tablet) create(ctx context.Context, key string, data []byte) error {
	return create(ctx, t.env.Store, key, data)
}

// commit writes the next manifest, which edit makes of the present one, and
// commits it with seq as the last flushed sequence; then the view is exchanged
// and the memtables in flushed are dropped. The caller holds change.
func (t *Tablet) commit(ctx context.Context, out output, seq base.Seq, edit func(*manifest.Manifest) error, flushed []*mem) error {
	if err := t.awaitSafe(ctx); err != nil { // no flush commits in jeopardy (R21)
		t.env.Files.Decided(out.numbers...)
		return err
	}
	v := t.view.Load()
	next := *v.manifest
	next.Runs = slices.Clone(next.Runs)
	number := t.env.Files.Draw()
	numbers := append(slices.Clone(out.numbers), number)
	t.mu.Lock()
	next.LastTimestamp = t.mu.lastTime
	t.mu.Unlock()
	next.Tablet, next.Epoch, next.Version, next.Flushed = t.id, t.epoch, t.record.ManifestVersion+1, max(seq, t.record.Flushed)
	err := edit(&next)
	t.applyDrops(&next, time.Now())
	var data []byte
	if err == nil {
		data, err = next.Encode()
	}
	if err == nil {
		err = t.create(ctx, base.ManifestObject(number), data)
	}
	if err != nil {
		t.env.Files.Decided(numbers...)
		return err
	}
	err = t.commitChange(ctx, func(rec meta.Tablet) (meta.Change, error) {
		return meta.Flush(rec, meta.Flushed{
			Manifest: number, ManifestVersion: next.Version, Seq: next.Flushed,
			From: t.ownFrom(rec, flushed), DropEntries: t.foreign <= next.Flushed,
		})
	})
	if err != nil {
		if !errors.Is(err, base.ErrUndecided) {
			t.env.Files.Decided(numbers...)
		}
		return err
	}
	t.exchange(&next, flushed)
	t.past.forget(next.Flushed)
	t.env.Files.Decided(numbers...)
	return nil
}

// exchange makes m the manifest of the view and drops the memtables that are
// in its files now.
func (t *Tablet) exchange(m *manifest.Manifest, flushed []*mem) {
	t.mu.Lock()
	old := t.view.Load()
	if t.State() == Stopped {
		t.mu.Unlock()
		return
	}
	frozen := slices.DeleteFunc(slices.Clone(old.frozen), func(x *mem) bool { return slices.Contains(flushed, x) })
	t.view.Store(newView(t.env.Files, old.mem, frozen, m))
	for _, x := range flushed {
		t.env.Budget.add(-x.counted)
		x.counted = 0
	}
	t.mu.Unlock()
	old.release()
}

// commitChange commits one change of the record, which plan makes of the present
// one. It keeps trying while the outcome is not decided (R4). The caller holds
// change. Where the record shows that the tablet is another's it stops the
// tablet and returns ErrLost.
func (t *Tablet) commitChange(ctx context.Context, plan func(meta.Tablet) (meta.Change, error)) error {
	for {
		c, err := plan(t.record)
		if err != nil {
			return err
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
			if errors.Is(err, ErrLost) {
				t.stop("lost: the record is another's")
			}
			return err
		}
		if t.record.Revision == before { // not the record: the session is dead
			if t.env.Session.State() == lockservice.SessionExpired {
				return fmt.Errorf("tablet %d: %w", t.id, base.ErrFenced)
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}
