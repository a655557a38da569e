package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/wal"
)

// recovery tells of one fail-over, for people. Its fields are guarded by
// term.mu.
type recovery struct {
	e                     base.Incarnation
	name, address         string // of the server, where it was known
	started, sealed, done time.Time
	freed                 bool                       // no tablet is owned by e any more
	tablets               int                        // that were to be served again
	left                  map[base.TabletID]struct{} // that are not yet
}

// phase says where a recovery stands.
func (r *recovery) phase(held bool) string {
	switch {
	case !r.done.IsZero():
		return "done"
	case r.sealed.IsZero():
		return "sealing"
	case held:
		return "waiting"
	}
	return "loading"
}

func (r *recovery) proto(held bool) *controlpb.RecoveryStatus {
	return &controlpb.RecoveryStatus{
		Log: meta.IncarnationProto(r.e), Phase: r.phase(held),
		StartedUs: micros(r.started), SealedUs: micros(r.sealed), DoneUs: micros(r.done),
		Tablets: uint32(r.tablets), TabletsLeft: uint32(len(r.left)), Name: r.name, Address: r.address,
	}
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// recover does what the death of e asks for: its log is sealed, and its tablets
// lose their owner, both at once (the order does not matter: each transaction
// compares that the session is dead, R1). Their new owners are chosen meanwhile
// by the job assign; they wait for the seal themselves (R5). Every step is
// idempotent, so another master may have done any part of it.
func (t *term) recover(ctx context.Context, e base.Incarnation) error {
	r := t.beginRecovery(e)
	var both sync.WaitGroup // neither waits for the other, nor fails with it
	var disowned, sealed error
	both.Go(func() { disowned = t.disown(ctx, r) })
	both.Go(func() { sealed = t.seal(ctx, r) })
	both.Wait()
	if err := errors.Join(disowned, sealed); err != nil {
		return fmt.Errorf("recover from the death of %v: %w", e, err)
	}
	t.await(ctx, func() bool { return !t.mirror.isDead(e) })
	return nil
}

// disown takes all tablets of a dead incarnation from it. The mirror has seen
// the end of the session, or there would be no recovery; from then on the set
// of its tablets only shrinks, so what the mirror lists is complete. It is
// listed again until it is empty.
func (t *term) disown(ctx context.Context, r *recovery) error {
	e := r.e
	for {
		tablets := t.mirror.ownedBy(e)
		if len(tablets) == 0 {
			t.mu.Lock()
			r.freed = true
			t.mu.Unlock()
			return nil
		}
		n, err := t.change(ctx, tablets, func(tb meta.Tablet) (meta.Change, bool) {
			if tb.Owner != e {
				return meta.Change{}, false
			}
			return meta.Bump(tb, time.Now()), true
		})
		t.metrics.bumped(n)
		if err != nil {
			return err
		}
		if n == 0 && len(t.mirror.ownedBy(e)) == len(tablets) {
			// Others changed them; the watch is about to tell.
			if !t.sleep(ctx, jobPause) {
				return ctx.Err()
			}
		}
	}
}

// seal ends the log of e. The index is written between placing the seal and
// recording it, so that every loader that sees SEALED finds it (R22); where it
// cannot be written, loaders read the log without it, and the job index tries
// again.
func (t *term) seal(ctx context.Context, r *recovery) error {
	e := r.e
	select {
	case t.sealers <- struct{}{}:
		defer func() { <-t.sealers }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l, err := t.store.BeginSeal(ctx, e)
	if err != nil && !errors.Is(err, base.ErrNotFound) { // collected, or it never had one
		return err
	}
	if l.State == meta.LogSealing {
		if l, err = t.placeSeal(ctx, l); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.sealed.IsZero() {
		r.sealed = time.Now()
		t.metrics.sealed(r.sealed.Sub(r.started))
		t.log.InfoContext(ctx, "log sealed", "log", e.String(), "low", uint64(l.Low), "end", uint64(l.End), "elapsed", r.sealed.Sub(r.started))
	}
	return nil
}

func (t *term) placeSeal(ctx context.Context, l meta.Log) (meta.Log, error) {
	e := l.Incarnation
	end, err := wal.Seal(ctx, t.cfg.Store, e, l.Low, t.session)
	if err != nil {
		return l, err
	}
	indexed := wal.WriteIndex(ctx, t.cfg.Store, e, l.Low, end)
	if indexed != nil {
		t.log.ErrorContext(ctx, "log has no index", "log", e.String(), "err", indexed)
	}
	if l, err = t.store.EndSeal(ctx, e, end); err != nil {
		return l, err
	}
	if indexed == nil && l.End == end { // the lock service's end is the truth
		t.mirror.setIndexed(e)
	}
	return l, nil
}

// index writes the index of a sealed log where it is missing: its sealer died
// in between, or could not write it.
func (t *term) index(ctx context.Context, e base.Incarnation) error {
	l, err := t.store.Log(ctx, e)
	if errors.Is(err, base.ErrNotFound) || err == nil && l.State != meta.LogSealed {
		return nil
	}
	if err != nil {
		return err
	}
	x, err := wal.ReadIndex(ctx, t.cfg.Store, e)
	switch {
	case err == nil && x.Low <= l.Low && x.End == l.End:
		t.mirror.setIndexed(e)
		return nil
	case err != nil && !errors.Is(err, objstore.ErrNotFound) && !errors.Is(err, base.ErrCorrupt):
		return err
	}
	if err := wal.WriteIndex(ctx, t.cfg.Store, e, l.Low, l.End); err != nil {
		return err
	}
	t.mirror.setIndexed(e)
	return nil
}

// collect deletes the log of a dead incarnation that nothing refers to, but for
// the seal (rule L3). References to a dead log only ever go, or are copied by
// transactions that keep one, so one linearizable look is enough.
func (t *term) collect(ctx context.Context, e base.Incarnation) error {
	l, err := t.store.Log(ctx, e)
	if errors.Is(err, base.ErrNotFound) || err == nil && l.State != meta.LogSealed {
		return nil
	}
	if err != nil {
		return err
	}
	refs, err := t.store.Refs(ctx, e)
	if err != nil || len(refs) > 0 {
		return err
	}
	if err := wal.Collect(ctx, t.cfg.Store, e, l.End); err != nil {
		return err
	}
	if err := t.store.ForgetLog(ctx, l); err != nil {
		return err
	}
	t.await(ctx, func() bool { return !t.mirror.hasLog(e) })
	t.metrics.collected()
	t.log.InfoContext(ctx, "log collected", "log", e.String(), "end", uint64(l.End))
	return nil
}

// await returns when the mirror shows what was done, so that the job is not
// started again for what it did; or soon, if it does not.
func (t *term) await(ctx context.Context, shown func() bool) {
	ctx, cancel := context.WithTimeout(ctx, jobPauseMax)
	defer cancel()
	for {
		changed := t.mirror.watch()
		if shown() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// beginRecovery starts or continues the account of a recovery.
func (t *term) beginRecovery(e base.Incarnation) *recovery {
	needing := t.mirror.needing(e)
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.mu.recoveries[e]
	if r == nil {
		r = &recovery{e: e, started: time.Now(), left: map[base.TabletID]struct{}{}}
		if s, ok := t.mu.known[e]; ok {
			r.name, r.address = s.Record.GetName(), s.Address
			delete(t.mu.known, e)
		}
		t.mu.recoveries[e] = r
		t.eventLocked("fail-over of %s began: %d tablets and its log", serverName(e, r.name), len(needing))
		t.log.Info("recovery started", "log", e.String(), "tablets", len(needing))
	}
	for id := range needing {
		r.left[id] = struct{}{}
	}
	r.tablets = max(r.tablets, len(r.left))
	return r
}

// keptRecoveries is how many finished recoveries are shown.
const keptRecoveries = 50

// followRecoveries closes the account of recoveries whose tablets are served.
func (t *term) followRecoveries() {
	t.mu.Lock()
	left := map[base.Incarnation][]base.TabletID{}
	for e, r := range t.mu.recoveries {
		if r.freed && !r.sealed.IsZero() {
			left[e] = slices.Collect(maps.Keys(r.left))
		}
	}
	t.mu.Unlock()
	for e, ids := range left {
		left[e] = t.mirror.back(ids, e)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for e, served := range left {
		r := t.mu.recoveries[e]
		for _, id := range served {
			delete(r.left, id)
		}
		if len(r.left) > 0 {
			continue
		}
		r.done = time.Now()
		delete(t.mu.recoveries, r.e)
		t.mu.recent = append(t.mu.recent, r)
		t.mu.recent = t.mu.recent[max(0, len(t.mu.recent)-keptRecoveries):]
		t.metrics.recovered(r.done.Sub(r.started))
		t.eventLocked("fail-over of %s is done: %d tablets in %v", serverName(r.e, r.name), r.tablets, r.done.Sub(r.started).Round(time.Millisecond))
		t.log.Info("recovery done", "log", r.e.String(), "tablets", r.tablets,
			"sealing", r.sealed.Sub(r.started), "elapsed", r.done.Sub(r.started))
	}
}
