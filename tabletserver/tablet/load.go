package tablet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/memtable"
	"github.com/tabletdb/tabletdb/wal"
)

// Loaded reports whether Load has returned, with or without an error.
func (t *Tablet) Loaded() bool { return t.loaded.Load() }

// ErrLost: the tablet's record says that it is another's, or gone. It is no
// fault of anybody's; the loader stops quietly.
var ErrLost = errors.New("tablet was given to another server")

// Load reads manifest and records of the tablet, registers it and begins to
// serve. It waits until the logs it needs are sealed. After an error the tablet
// is Stopped; ErrLost means that this is as it should be. It is called once. No
// two loads of one tablet at one epoch may run at a time: each would take the
// registration of the other for its own.
func (t *Tablet) Load(ctx context.Context) error {
	defer t.loaded.Store(true)
	if err := t.lockChange(ctx); err != nil {
		return err
	}
	defer t.unlockChange()
	job := t.begin("load", "", 0)
	err := t.load(ctx)
	t.env.Jobs.end(job, 0, err)
	if err != nil {
		if errors.Is(err, base.ErrCorrupt) {
			t.mu.Lock()
			t.mu.damage = err
			t.mu.Unlock()
		}
		t.stop("load: " + err.Error())
	}
	return err
}

func (t *Tablet) load(ctx context.Context) error {
	began := time.Now()
	rec := t.record // read a moment ago; registration compares its revision
	m := &manifest.Manifest{Tablet: t.id, Epoch: rec.Epoch}
	var err error
	if !rec.Manifest.IsZero() {
		if m, err = manifest.Read(ctx, t.env.Store, rec.Manifest); err != nil {
			return t.lostOr(ctx, err)
		}
		if m.Version != rec.ManifestVersion || m.Flushed != rec.Flushed {
			return fmt.Errorf("%w: %s says version %d, flushed %d; the record of tablet %d says %d, %d", base.ErrCorrupt,
				base.ManifestObject(rec.Manifest), m.Version, m.Flushed, t.id, rec.ManifestVersion, rec.Flushed)
		}
	}
	t.mu.Lock()
	if t.State() != Loading {
		t.mu.Unlock()
		return ErrLost // abandoned
	}
	t.mu.next = rec.Flushed + 1
	t.mu.lastTime = m.LastTimestamp
	t.view.Store(newView(t.env.Files, &mem{table: memtable.New()}, nil, m))
	t.applied.Store(uint64(rec.Flushed))
	t.mu.Unlock()

	needed, err := t.replay(ctx, rec)
	if err != nil {
		return err
	}
	t.mu.Lock() // inherited records may lie below the counter of a split (R8)
	t.mu.next = max(t.mu.next, rec.NextSeq)
	t.mu.Unlock()
	t.acknowledged(base.Seq(t.applied.Load()), 0)
	if err := t.freshSchema(ctx); err != nil {
		return err
	}
	if err := t.register(ctx, needed); err != nil {
		return err
	}
	records := t.view.Load().mem.table.Len()
	t.event("loaded in %v: %d files, %d entries replayed from %d logs", time.Since(began).Round(time.Millisecond), len(m.Runs), records, len(rec.Logs))
	if t.foreign > 0 || t.record.OwnEntry() > 0 {
		t.env.WantFlush(t)
	}
	if len(m.Runs) > 1 {
		t.env.WantCompact(t)
	}
	return nil
}

// freshSchema makes sure that every family is known that the records and files
// of earlier owners name: what no schema knows counts as dropped, and goes at
// the next flush or compaction. It is called after the logs were sealed.
func (t *Tablet) freshSchema(ctx context.Context) error {
	if t.record.Manifest.IsZero() && len(t.record.Logs) == 0 {
		return nil // nobody has written to it
	}
	return t.env.Schemas.Fresh(ctx)
}

// reread reads the record; ErrLost where it is not this tablet at this epoch
// any more.
func (t *Tablet) reread(ctx context.Context) (meta.Tablet, error) {
	rec, err := t.env.Meta.Tablet(ctx, t.table, t.end, t.id)
	if errors.Is(err, base.ErrNotFound) {
		return rec, ErrLost
	}
	if err != nil {
		return rec, err
	}
	if rec.Owner != t.env.Self() || rec.Epoch != t.epoch {
		return rec, ErrLost
	}
	t.setRecord(rec)
	return rec, nil
}

// lostOr tells what a missing object means: the tablet was lost meanwhile, or
// data is (R5).
func (t *Tablet) lostOr(ctx context.Context, err error) error {
	if !errors.Is(err, objstore.ErrNotFound) && !errors.Is(err, base.ErrNotFound) {
		return err
	}
	if _, rerr := t.reread(ctx); rerr != nil {
		return rerr
	}
	return fmt.Errorf("%w: tablet %d needs what is not there: %w", base.ErrCorrupt, t.id, err)
}

// replay reads the records of every entry, in the order of the list, and
// returns from which of them unflushed records came.
func (t *Tablet) replay(ctx context.Context, rec meta.Tablet) (needed []bool, err error) {
	needed = make([]bool, len(rec.Logs))
	for i, e := range rec.Logs {
		bounds, index, err := t.source(ctx, e)
		if err != nil {
			return nil, t.lostOr(ctx, err)
		}
		before := t.mu.next
		entry := wal.Entry{Log: e.Log, Tablet: e.Tablet, Epoch: e.Epoch, From: e.From, To: e.To, HasTo: e.Closed}
		err = wal.Replay(ctx, t.env.Store, entry, bounds, index, func(_ base.Position, r wal.Record) error { return t.replayRecord(r) })
		if err != nil {
			return nil, t.lostOr(ctx, fmt.Errorf("replay log %v for tablet %d: %w", e.Log, t.id, err))
		}
		needed[i] = t.mu.next != before
		if needed[i] {
			t.foreign = t.mu.next - 1
		}
	}
	return needed, nil
}

// source returns what of an entry's log can be read: all of a sealed one, what
// stands before To of one that is open.
func (t *Tablet) source(ctx context.Context, e meta.LogEntry) (wal.Bounds, *wal.Index, error) {
	if e.Closed {
		rec, err := t.env.Meta.Log(ctx, e.Log)
		if err != nil {
			return wal.Bounds{}, nil, err
		}
		if rec.State != meta.LogSealed {
			return wal.Bounds{Low: rec.Low, End: wal.OpenEnd}, nil, nil
		}
	}
	if e.Log == t.env.Self() {
		// An earlier load of this assignment was abandoned as it registered,
		// and is about to give the tablet up.
		return wal.Bounds{}, nil, fmt.Errorf("%w: tablet %d is registered by an earlier load of this server", base.ErrUnavailable, t.id)
	}
	s, err := t.env.Logs.AwaitSealed(ctx, e.Log)
	if err != nil {
		return wal.Bounds{}, nil, err
	}
	return s.Bounds, s.Index, nil
}

// replayRecord applies a record of an earlier owner if it is this tablet's, not
// flushed and not applied (R6).
func (t *Tablet) replayRecord(r wal.Record) error {
	rec, err := mutation.Decode(r.Body)
	if err != nil {
		return err
	}
	if !t.concerns(&rec) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.State() != Loading {
		return ErrLost // abandoned; its memory is not counted any more
	}
	if r.First < t.mu.next {
		if r.Last >= t.mu.next {
			return fmt.Errorf("%w: record with sequences [%d, %d] of tablet %d overlaps what ends at %d", base.ErrCorrupt, r.First, r.Last, t.id, t.mu.next-1)
		}
		return nil
	}
	var op mutation.RecordOp
	for it := rec.Ops(); it.Next(&op); {
		if op.ServerTime {
			t.mu.lastTime = max(t.mu.lastTime, op.Timestamp)
		}
	}
	t.applyLocked(&rec, r.First, r.Last)
	t.mu.next = r.Last + 1
	return nil
}

// concerns reports whether a record is about rows of the tablet: before a split
// it may have been about others.
func (t *Tablet) concerns(rec *mutation.Record) bool {
	var op mutation.RecordOp
	if it := rec.Ops(); it.Next(&op) && op.Kind == base.KindDropRows {
		_, ok := t.clipDrop(manifest.Drop{Start: rec.Row, End: op.Value})
		return ok
	}
	return t.contains(rec.Row)
}

// register makes the tablet serve (R5). Its own entry begins at the position
// that its next record can get.
func (t *Tablet) register(ctx context.Context, needed []bool) error {
	t.mu.Lock()
	t.mu.stream = t.env.Log.NewStream(t.id, t.epoch, t.acknowledged)
	t.mu.Unlock()
	for {
		from := t.env.Log.NextPosition()
		done, err := t.env.Commits.Commit(ctx, meta.Register(t.record, from, needed, time.Now()))
		if err == nil {
			t.setRecord(done)
			return t.serve(ctx)
		}
		if !errors.Is(err, base.ErrAborted) {
			return fmt.Errorf("register tablet %d: %w", t.id, err)
		}
		// A condition failed: the record changed, or a former owner's lease
		// may still run (R15).
		rec, err := t.reread(ctx)
		if err != nil {
			return err
		}
		if rec.State == meta.Serving {
			// An attempt of this load's, or of one that has returned and never
			// served: nothing was appended for it.
			return t.serve(ctx)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("register tablet %d: %w", t.id, ctx.Err())
		case <-t.stopped:
			return ErrLost
		case <-t.env.Session.Expired():
			return ErrLost
		}
	}
}

// serve begins to serve a tablet that is registered. Where it was abandoned
// meanwhile it gives it up again, for nobody else can: a live owner keeps what
// it has registered (R14).
func (t *Tablet) serve(ctx context.Context) error {
	if t.state.CompareAndSwap(int32(Loading), int32(Serving)) {
		return nil
	}
	err := t.commitChange(ctx, func(rec meta.Tablet) (meta.Change, error) {
		own := rec.OwnEntry()
		if own < 0 {
			return meta.Change{}, ErrLost
		}
		from := rec.Logs[own].From // nothing was appended
		return meta.Release(rec, from, from, time.Now())
	})
	if err != nil && !errors.Is(err, ErrLost) {
		return fmt.Errorf("give up tablet %d, which was abandoned while it loaded: %w", t.id, err)
	}
	return ErrLost
}
