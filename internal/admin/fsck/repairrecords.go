package fsck

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/root"
)

func (p *planner) resetRoot(f Finding) {
	r := meta.Repair{What: "reset the root index"}
	for key, rev := range p.seen {
		if strings.HasPrefix(key, root.Prefix) {
			r.If = append(r.If, lockservice.ModRevisionIs(key, rev))
			r.Then = append(r.Then, lockservice.Delete(key))
		}
	}
	p.step(f, fmt.Sprintf("remove its %d records: there is one cell, which holds everything", len(r.Then)), p.transact(r))
}

// fixName removes names that lead nowhere, and sets those that are missing.
func (p *planner) fixName(f Finding) {
	if f.Class == NameMissing {
		t := f.about.table
		if other, ok := p.tables[p.names[t.Name]]; ok && !other.Record.Deleted && other.Name == t.Name {
			p.byHand(f, fmt.Sprintf("tables %d and %d have the same name: export one, and delete it", t.ID, other.ID))
			return
		}
		p.step(f, fmt.Sprintf("make the name lead to table %d", t.ID), p.transact(meta.SetName(t, p.seen[meta.TableNamePrefix+t.Name])))
		return
	}
	id, known := p.names[strings.TrimPrefix(f.about.key, meta.TableNamePrefix)]
	t, ok := p.tables[id]
	switch {
	case slices.ContainsFunc(p.report.Findings, func(x Finding) bool {
		return x.Class == NameMissing && f.about.key == meta.TableNamePrefix+x.about.table.Name
	}):
		return // it is overwritten
	case known && !ok && len(p.tabletsOf(id)) > 0:
		p.byHand(f, fmt.Sprintf("the schema of table %d is lost, but not its tablets: restore the lock service from a snapshot", id))
	default:
		p.step(f, "remove the name", p.transact(meta.DropName(f.about.key, p.seen[f.about.key], id, t.Revision)))
	}
}

// orphanBatch is how many tablets one transaction removes.
const orphanBatch = 200

// removeOrphans removes what is left of a table that was dropped.
func (p *planner) removeOrphans(f Finding) {
	id := f.about.table.ID
	if p.seen[fmt.Sprintf("%s%016x", meta.TablePrefix, uint64(id))] != 0 {
		return // its schema is damaged, which is another finding
	}
	for name, leads := range p.names {
		if leads == id {
			p.byHand(f, fmt.Sprintf("the name %s leads to it, so that it was not dropped: restore the lock service from a snapshot", name))
			return
		}
	}
	tablets := p.tabletsOf(id)
	if i := slices.IndexFunc(tablets, func(t meta.Tablet) bool { return t.State == meta.Serving && p.sessions[t.Owner] }); i >= 0 && p.rc.Owners == nil {
		p.byHand(f, fmt.Sprintf("server %s serves tablet %d: restart it", tablets[i].OwnerAddress, tablets[i].ID))
		return
	}
	p.step(f, fmt.Sprintf("remove %d tablets: no name and no schema lead to them", len(tablets)), func(ctx context.Context) error {
		for i, t := range tablets {
			if t.State == meta.Serving && p.sessions[t.Owner] {
				var err error
				if tablets[i], err = p.release(ctx, t); err != nil {
					return err
				}
			}
		}
		for batch := range slices.Chunk(tablets, orphanBatch) {
			if err := p.meta.Repair(ctx, meta.RemoveOrphans(id, batch)); err != nil {
				return err
			}
		}
		return nil
	})
}

// tile fills the holes of a table and removes empty tablets that overlap others.
func (p *planner) tile(f Finding) {
	if f.Class == TabletDamaged {
		for id, t := range p.tables {
			for _, h := range meta.Holes(p.tabletsOf(id)) {
				if f.about.key == meta.TabletKey(id, h[1]) && !t.Record.Deleted {
					return // replaced where the hole is filled
				}
			}
		}
		p.losing(f, Holes, "remove the record", "what it named, if no other tablet has its rows", p.transact(meta.DropKey(f.about.key, p.seen[f.about.key], nil)))
		return
	}
	t := f.about.table
	tablets := p.tabletsOf(t.ID)
	holes := meta.Holes(tablets)
	planned := len(p.steps)
	for _, h := range holes {
		p.fill(f, t, tablets, h[0], h[1])
	}
	for i, x := range tablets {
		others := slices.Delete(slices.Clone(tablets), i, i+1)
		empty := x.Manifest.IsZero() && x.Flushed == 0 && x.NextSeq <= 1 && len(x.Logs) == 0
		if empty && len(meta.Holes(others)) == len(holes) && len(others) > 0 {
			p.step(f, fmt.Sprintf("remove tablet %d, which was never written: others have its rows", x.ID), p.transact(meta.RemoveTablet(x, overlapping(others, x.Start, x.End))))
			break // one at a time: two may cover each other
		}
	}
	if len(p.steps) == planned {
		p.byHand(f, "tablets that hold data overlap: export the table, delete it, and import it")
	}
}

func (p *planner) fill(f Finding, t meta.Table, tablets []meta.Tablet, start, end []byte) {
	key := meta.TabletKey(t.ID, end)
	beside := slices.DeleteFunc(slices.Clone(tablets), func(x meta.Tablet) bool {
		left := len(start) > 0 && bytes.Equal(x.End, start)
		right := len(end) > 0 && bytes.Equal(x.Start, end)
		return !left && !right
	})
	do := fmt.Sprintf("put an empty tablet where none covers the rows [%q, %q)", start, end)
	p.losing(f, Holes, do, "all that the rows held; files that are unnamed now are collected as garbage", func(ctx context.Context) error {
		id, err := p.meta.NewIDs(ctx, "tablet", 1)
		if err != nil {
			return err
		}
		r, err := meta.FillHole(t, base.TabletID(id), start, end, beside, p.seen[key], time.Now())
		if err != nil {
			return err
		}
		return p.meta.Repair(ctx, r)
	})
}

// overlapping returns the tablets that have rows in [start, end).
func overlapping(tablets []meta.Tablet, start, end []byte) []meta.Tablet {
	return slices.DeleteFunc(slices.Clone(tablets), func(t meta.Tablet) bool {
		return len(end) > 0 && bytes.Compare(t.Start, end) >= 0 || len(t.End) > 0 && bytes.Compare(t.End, start) <= 0
	})
}

// disown frees tablets whose owner is dead, or is none.
func (p *planner) disown(f Finding) {
	t := f.about.tablet
	switch {
	case f.Class == OwnerGone && p.master != "":
		return // the master is at it
	case p.sessions[t.Owner]:
		p.byHand(f, fmt.Sprintf("restart the server %s", t.OwnerAddress))
	case f.Class == OwnerGone:
		p.step(f, fmt.Sprintf("take it from its dead owner %v", t.Owner), p.commit(meta.Bump(t, time.Now())))
	default:
		p.step(f, "make it a tablet without owner", p.commit(meta.Mend(t, t, time.Now())))
	}
}

// addEntry adds the entry for the log of the owner.
func (p *planner) addEntry(f Finding) {
	t := f.about.tablet
	l, ok := p.logs[t.Owner]
	switch {
	case !p.sessions[t.Owner]: // it is about to be freed
	case !ok || l.State != meta.LogOpen:
		p.byHand(f, fmt.Sprintf("restart the server %s", t.OwnerAddress))
	default:
		p.step(f, fmt.Sprintf("add an entry for log %v from %d on", t.Owner, l.Low), p.commit(meta.AddEntry(t, l.Low)))
	}
}

// clipEntries makes entries name only what their logs hold.
func (p *planner) clipEntries(f Finding) {
	t := f.about.tablet
	do := fmt.Sprintf("clip the entries of tablet %d to what their logs hold", t.ID)
	p.losing(f, Logs, do, "writes that are not in any log or file any more, if there were some", func(ctx context.Context) error {
		return p.mend(ctx, t, func(_ context.Context, n meta.Tablet) (meta.Tablet, []base.Incarnation, error) {
			n.Logs = p.clipped(n.Logs)
			return n, nil, nil
		})
	})
}

func (p *planner) clipped(entries []meta.LogEntry) (out []meta.LogEntry) {
	for _, e := range entries {
		l, ok := p.logs[e.Log]
		if ok && e.Closed {
			e.From = max(e.From, l.Low)
			if l.State == meta.LogSealed {
				e.To = min(e.To, l.End)
			}
		}
		if !e.Closed || e.From < e.To {
			out = append(out, e)
		}
	}
	return out
}

// fixKey sets or removes a single key.
func (p *planner) fixKey(f Finding) {
	a := f.about
	switch f.Class {
	case RefWrong:
		key := refKey(a.ref)
		p.step(f, fmt.Sprintf("set the reference of tablet %d to log %v", a.ref.holder, a.ref.log), p.transact(meta.SetRef(a.tablet, a.ref.log, p.seen[key])))
	case RefStale:
		var others map[string]lockservice.Revision
		if a.tablet.ID != 0 {
			others = map[string]lockservice.Revision{a.tablet.Key(): a.tablet.Revision}
		}
		run := p.transact(meta.DropKey(refKey(a.ref), p.seen[refKey(a.ref)], others))
		do := fmt.Sprintf("remove the reference of tablet %d to log %v", a.ref.holder, a.ref.log)
		if a.tablet.ID != 0 {
			p.step(f, do, run)
		} else {
			p.unlessLost(f, do, run)
		}
	case LowAlone:
		if e, err := base.ParseIncarnation(strings.TrimPrefix(a.key, meta.LowPrefix)); err == nil && p.entriesOf(e) != nil {
			return // the log is restored
		}
		log := meta.LogPrefix + strings.TrimPrefix(a.key, meta.LowPrefix)
		p.step(f, "remove the key", p.transact(meta.DropKey(a.key, p.seen[a.key], map[string]lockservice.Revision{log: 0})))
	case MarkIdle:
		p.losing(f, Marks, "remove the mark", "that the server gets no tablets should it come back", p.transact(meta.DropKey(a.key, p.seen[a.key], nil)))
	default:
		p.step(f, "remove the key", p.transact(meta.DropKey(a.key, p.seen[a.key], nil)))
	}
}

// refKey returns the key of a reference.
func refKey(r ref) string { return fmt.Sprintf("%s%v/%016x", meta.RefPrefix, r.log, uint64(r.holder)) }

// entriesOf returns the tablets that have entries for a log.
func (p *planner) entriesOf(e base.Incarnation) (tablets []meta.Tablet) {
	for _, t := range p.tablets {
		if slices.ContainsFunc(t.Logs, func(l meta.LogEntry) bool { return l.Log == e }) {
			tablets = append(tablets, t)
		}
	}
	return tablets
}
