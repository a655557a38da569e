package fsck

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/wal"
)

// restoreLog puts the record of a log back that tablets need.
func (p *planner) restoreLog(ctx context.Context, f Finding) error {
	e := f.about.log.Incarnation
	f.Subject = logName(e)
	needing := p.entriesOf(e)
	if len(needing) == 0 {
		p.step(f, "remove its record: no tablet needs it", p.transact(meta.DropKey(f.about.key, p.seen[f.about.key], nil)))
		return nil
	}
	if p.sessions[e] {
		p.byHand(f, "its session is alive: restart the server")
		return nil
	}
	from, to, sealed, err := p.present(ctx, e)
	if err != nil {
		return err
	}
	lowest := base.Position(wal.OpenEnd)
	for _, t := range needing {
		for _, l := range t.Logs {
			if l.Log == e {
				lowest = min(lowest, l.From)
			}
		}
	}
	if from == to && !sealed {
		for _, t := range needing {
			p.losing(f, Logs, fmt.Sprintf("let tablet %d go on without it: the bucket holds nothing of it", t.ID), "writes that were not flushed", func(ctx context.Context) error {
				return p.mend(ctx, t, func(_ context.Context, n meta.Tablet) (meta.Tablet, []base.Incarnation, error) {
					n.Logs = slices.DeleteFunc(slices.Clone(n.Logs), func(l meta.LogEntry) bool { return l.Log == e })
					return n, nil, nil
				})
			})
		}
		return nil
	}
	do := fmt.Sprintf("restore its record, from position %d on, to be sealed at %d", from, to)
	run := p.transact(meta.RestoreLog(e, from, p.seen[meta.LogPrefix+e.String()], p.seen[meta.LowPrefix+e.String()]))
	if from <= lowest && sealed {
		p.step(f, do, run)
	} else {
		p.losing(f, Logs, do, fmt.Sprintf("writes that were not flushed, from position %d on, outside of that", lowest), run)
	}
	return nil
}

// present returns the first run of positions [from, to) without holes that a log
// has in the bucket, and whether a seal stands at its end.
func (p *planner) present(ctx context.Context, e base.Incarnation) (from, to base.Position, sealed bool, err error) {
	first := true
	for at, err := range wal.Objects(ctx, p.cfg.Store, e, 0) {
		if err != nil {
			return 0, 0, false, err
		}
		if first {
			from, to, first = at, at, false
		}
		if at != to {
			return from, to, false, nil
		}
		o, err := wal.ReadObject(ctx, p.cfg.Store, e, at)
		switch {
		case isCorrupt(err) || missing(err):
			return from, to, false, nil
		case err != nil:
			return 0, 0, false, err
		case o.Seal != nil:
			return from, to, true, nil
		}
		to++
	}
	return from, to, false, nil
}

// bridgeLog makes tablets go on without the objects that a log lacks.
func (p *planner) bridgeLog(ctx context.Context, f Finding) error {
	l := f.about.log
	if p.sessions[l.Incarnation] {
		p.flushOff(f, l)
		return nil
	}
	if l.State != meta.LogSealed {
		p.byHand(f, "it is not sealed yet: what lies behind the hole is lost when it is; restore the affected tables from a backup")
		return nil
	}
	bad, err := p.badPositions(ctx, l)
	if err != nil || len(bad) == 0 {
		return err
	}
	for _, t := range p.entriesOf(l.Incarnation) {
		if slices.EqualFunc(around(t.Logs, l, bad), t.Logs, func(a, b meta.LogEntry) bool { return a == b }) {
			continue
		}
		do := fmt.Sprintf("let tablet %d go on without positions %v", t.ID, bad)
		p.losing(f, Logs, do, "the writes to it that stood there", func(ctx context.Context) error {
			return p.mend(ctx, t, func(_ context.Context, n meta.Tablet) (meta.Tablet, []base.Incarnation, error) {
				n.Logs = around(n.Logs, l, bad)
				return n, nil, nil
			})
		})
	}
	return nil
}

// flushOff has the live owner of a damaged log write out what it holds.
func (p *planner) flushOff(f Finding, l meta.Log) {
	for _, t := range p.entriesOf(l.Incarnation) {
		switch {
		case t.Owner != l.Incarnation || t.State != meta.Serving:
			p.byHand(f, fmt.Sprintf("tablet %d needs it, and is served by another: flush it", t.ID))
		case p.rc.Owners == nil:
			p.byHand(f, fmt.Sprintf("tabletadm flush --tablet %d: its owner has in memory what the log holds", t.ID))
		default:
			p.step(f, fmt.Sprintf("flush tablet %d: its owner has in memory what the log holds", t.ID), func(ctx context.Context) error { return p.rc.Owners.Flush(ctx, t) })
		}
	}
}

// badPositions returns the positions of a sealed log that its tablets need and
// that are missing or damaged.
func (p *planner) badPositions(ctx context.Context, l meta.Log) ([]base.Position, error) {
	var need []base.Position
	for _, s := range p.neededSpans(l) {
		for at := s[0]; at < s[1]; at++ {
			need = append(need, at)
		}
	}
	wrong := make([]bool, len(need))
	index := make([]int, len(need))
	for i := range index {
		index[i] = i
	}
	err := each(ctx, p.cfg.Workers, index, func(ctx context.Context, i int) error {
		o, err := wal.ReadObject(ctx, p.cfg.Store, l.Incarnation, need[i])
		wrong[i] = missing(err) || isCorrupt(err) || err == nil && o.Seal != nil
		if wrong[i] {
			err = nil
		}
		return err
	})
	var bad []base.Position
	for i, w := range wrong {
		if w {
			bad = append(bad, need[i])
		}
	}
	return bad, err
}

// around returns entries that leave out positions of a sealed log.
func around(entries []meta.LogEntry, l meta.Log, bad []base.Position) (out []meta.LogEntry) {
	for _, e := range entries {
		if e.Log != l.Incarnation {
			out = append(out, e)
			continue
		}
		end := l.End
		if e.Closed {
			end = min(e.To, l.End)
		}
		cut := false
		for _, at := range bad {
			if at < e.From || at >= end {
				continue
			}
			if cut = true; at > e.From {
				part := e
				part.To, part.Closed = at, true
				out = append(out, part)
			}
			e.From = at + 1
		}
		if !cut {
			out = append(out, e)
		} else if e.From < end {
			e.To, e.Closed = end, true
			out = append(out, e)
		}
	}
	return out
}

// sealLog ends the log of a dead session, as a master does.
func (p *planner) sealLog(f Finding) {
	e := f.about.log.Incarnation
	if p.master != "" {
		return // it is at it
	}
	p.step(f, "seal it", func(ctx context.Context) error {
		l, err := p.meta.BeginSeal(ctx, e)
		if err != nil || l.State != meta.LogSealing {
			return err
		}
		self, err := p.self(ctx)
		if err != nil {
			return err
		}
		end, err := wal.Seal(ctx, p.cfg.Store, e, l.Low, self)
		if err != nil {
			return err
		}
		if err := wal.WriteIndex(ctx, p.cfg.Store, e, l.Low, end); err != nil {
			return err
		}
		_, err = p.meta.EndSeal(ctx, e, end)
		return err
	})
}

// replaceSeal puts back a seal that is missing.
func (p *planner) replaceSeal(f Finding) {
	l := f.about.log
	p.step(f, fmt.Sprintf("put the seal back at position %d", l.End), func(ctx context.Context) error {
		self, err := p.self(ctx)
		if err != nil {
			return err
		}
		seal := wal.AppendSeal(nil, wal.SealInfo{Log: l.Incarnation, Position: l.End, Sealer: self})
		if err := p.cfg.Store.PutIfAbsent(ctx, base.LogObject(l.Incarnation, l.End), seal); err != nil {
			return fmt.Errorf("seal log %v: %w", l.Incarnation, err)
		}
		return nil
	})
}

// writeIndex writes the index of a sealed log, if it still has this record.
func (p *planner) writeIndex(ctx context.Context, l meta.Log) error {
	now, err := p.meta.Log(ctx, l.Incarnation)
	if errors.Is(err, base.ErrNotFound) || err == nil && now != l {
		return fmt.Errorf("index of log %v: %w", l.Incarnation, base.ErrAborted)
	}
	if err != nil {
		return err
	}
	return wal.WriteIndex(ctx, p.cfg.Store, l.Incarnation, l.Low, l.End)
}

// collectLog deletes what is left of a log that nobody needs.
func (p *planner) collectLog(f Finding) {
	l := f.about.log
	e := l.Incarnation
	if f.Class == LogUncollected {
		if p.master == "" {
			p.unlessLost(f, "delete its objects but the seal, and its record", func(ctx context.Context) error {
				if err := p.unneeded(ctx, e); err != nil {
					return err
				}
				if err := wal.Collect(ctx, p.cfg.Store, e, l.End); err != nil {
					return err
				}
				return p.meta.ForgetLog(ctx, l)
			})
		}
		return
	}
	run := func(ctx context.Context) error {
		if err := p.meta.Repair(ctx, meta.Unknown(e)); err != nil {
			return err
		}
		if err := p.unneeded(ctx, e); err != nil {
			return err
		}
		keys, err := leftovers(ctx, p.cfg.Store, e)
		if err != nil || len(keys) == 0 {
			return err
		}
		return p.cfg.Store.Delete(ctx, keys...)
	}
	const do = "delete its objects, all but seals: nobody knows the log"
	p.unlessLost(f, do, run)
}

// unneeded makes sure that no tablet needs a dead log, and none ever will.
func (p *planner) unneeded(ctx context.Context, e base.Incarnation) error {
	refs, err := p.meta.Refs(ctx, e)
	if err == nil && len(refs) > 0 || len(p.entriesOf(e)) > 0 {
		return fmt.Errorf("log %v is needed: %w", e, base.ErrAborted)
	}
	return err
}
