package fsck

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
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Owners asks the server that serves a tablet for something, and returns when it
// is done.
type Owners interface {
	Flush(context.Context, meta.Tablet) error
	Compact(context.Context, meta.Tablet) error
	// Manifest returns what the server has in memory.
	Manifest(context.Context, meta.Tablet) (*manifest.Manifest, error)
	// Release makes it give the tablet up, to nobody.
	Release(context.Context, meta.Tablet) error
}

// RepairConfig says what may be done.
type RepairConfig struct {
	Accept []Loss // may be given up
	DryRun bool   // only plan
	// Owners reaches tablet servers; nil: what needs them is not done.
	Owners Owners
	// Rounds is how often steps are planned and taken; 0 means 6. A step may be
	// void because one before it changed the same record.
	Rounds int
}

// Outcome of a Step.
type Outcome string

const (
	// Planned: it would be, or is about to be done.
	Planned Outcome = "planned"
	// NotAccepted: it may lose what was not accepted.
	NotAccepted Outcome = "not accepted"
	// Later: once records of tablets are no longer lost.
	Later Outcome = "later"
	// ByHand: no repair is known.
	ByHand Outcome = "by hand"
	// Done: it was committed.
	Done Outcome = "done"
	// Void: what it was concluded from has changed; nothing was done.
	Void Outcome = "void"
	// Failed: it was not done, or what became of it is not known.
	Failed Outcome = "failed"
)

// Step is one repair: one transaction on the records, with what has to happen
// in the bucket before or after it.
type Step struct {
	Class   Class   `json:"class"`
	Subject string  `json:"subject"`
	Do      string  `json:"do"`
	Needs   Loss    `json:"needs_accept_loss,omitempty"`
	Loses   string  `json:"loses,omitempty"`
	Outcome Outcome `json:"outcome"`
	Error   string  `json:"error,omitempty"`

	order int // of the class; steps are taken in this order
	run   func(context.Context) error
}

// Repaired is the outcome of a repair.
type Repaired struct {
	Steps []Step `json:"steps"`
	// Report is the check before, for a dry run, else the one after.
	Report *Report `json:"report"`
}

// Repair checks the cluster and mends what can be mended, again and again until
// nothing is left that it can. An error means that it could not be checked; the
// steps that were taken until then are returned.
func Repair(ctx context.Context, cfg Config, rc RepairConfig) (*Repaired, error) {
	const rounds = 6
	for _, l := range rc.Accept {
		if !slices.Contains(Losses(), l) {
			return nil, fmt.Errorf("%w: loss %q: there are %v", base.ErrInvalid, l, Losses())
		}
	}
	out := &Repaired{Steps: []Step{}}
	for round := 0; ; round++ {
		report, err := Run(ctx, cfg)
		if err != nil {
			return out, err
		}
		out.Report = report
		if round == cmp.Or(rc.Rounds, rounds) {
			return out, nil
		}
		p, err := newPlanner(ctx, report, rc)
		if err != nil {
			return out, err
		}
		steps, err := p.plan(ctx)
		if err != nil {
			return out, errors.Join(err, p.close(ctx))
		}
		out.Steps = append(slices.DeleteFunc(out.Steps, func(s Step) bool { return s.Outcome != Done && s.Outcome != Failed }), steps...)
		if rc.DryRun {
			return out, p.close(ctx)
		}
		changed := apply(ctx, steps)
		copy(out.Steps[len(out.Steps)-len(steps):], steps)
		if err := p.close(ctx); err != nil || !changed {
			return out, err
		}
	}
}

// apply takes the steps that are planned, and reports whether something may
// have changed.
func apply(ctx context.Context, steps []Step) (changed bool) {
	for i := range steps {
		s := &steps[i]
		if s.Outcome != Planned {
			continue
		}
		switch err := s.run(ctx); {
		case err == nil:
			s.Outcome, changed = Done, true
		case errors.Is(err, base.ErrAborted):
			s.Outcome, s.Error, changed = Void, err.Error(), true
		default:
			s.Outcome, s.Error = Failed, err.Error()
		}
	}
	return changed
}

// planner makes steps of findings.
type planner struct {
	*checker
	rc     RepairConfig
	meta   *meta.Store
	master string // address of who holds the master's lock; "": nobody
	steps  []Step
	// lost: records of tablets are missing or damaged, so that what seems to
	// belong to nobody may be theirs.
	lost    bool
	session lockservice.Session // of ours; nil: not opened
	files   uint64              // numbers of files drawn
	older   map[base.TabletID][]candidate
	rebuilt map[base.TabletID]bool // a step for it is there
}

func newPlanner(ctx context.Context, r *Report, rc RepairConfig) (*planner, error) {
	p := &planner{checker: r.view, rc: rc, meta: meta.NewStore(r.view.cfg.LockService), rebuilt: map[base.TabletID]bool{}}
	locks, _, err := p.cfg.LockService.Locks(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask who is the master: %w", err)
	}
	for _, l := range locks {
		if l.Name == meta.MasterLock && len(l.Holders) > 0 {
			p.master = cmp.Or(string(l.Data), l.Holders[0].String())
		}
	}
	p.lost = slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Class == TabletDamaged })
	for _, t := range p.tables {
		p.lost = p.lost || !t.Record.Deleted && len(meta.Holes(p.tabletsOf(t.ID))) > 0
	}
	return p, nil
}

// close ends the session, if there is one.
func (p *planner) close(ctx context.Context) error {
	if p.session == nil {
		return nil
	}
	return p.session.Close(ctx)
}

// self returns the incarnation of this repair, which creates files.
func (p *planner) self(ctx context.Context) (base.Incarnation, error) {
	if p.session == nil {
		s, err := p.cfg.LockService.OpenSession(ctx, "tabletadm check --repair", 0)
		if err != nil {
			return base.Incarnation{}, fmt.Errorf("open a session: %w", err)
		}
		p.session = s
	}
	return p.session.ID(), nil
}

// plan returns a step, or more, for each finding about which something is to
// be done.
func (p *planner) plan(ctx context.Context) ([]Step, error) {
	for _, f := range p.report.Findings {
		if err := p.of(ctx, f); err != nil {
			return nil, err
		}
	}
	for i := range p.steps {
		s := &p.steps[i]
		s.order = slices.Index(order(), s.Class)
		switch {
		case s.run == nil:
			s.Outcome = ByHand
		case s.Needs != "" && !slices.Contains(p.rc.Accept, s.Needs):
			s.Outcome = NotAccepted
		case s.Outcome != "":
		default:
			s.Outcome = Planned
		}
	}
	slices.SortStableFunc(p.steps, func(a, b Step) int { return cmp.Compare(a.order, b.order) })
	return slices.CompactFunc(p.steps, func(a, b Step) bool { return a.Subject == b.Subject && a.Do == b.Do }), nil
}

// order is in which steps are taken: what others depend on comes first, and
// what deletes comes last. What is not in it is done by hand.
func order() []Class {
	return []Class{
		RootDamaged, NameAstray, NameMissing, NoSchema, TabletDamaged, Tiling, LogForgotten, LogDamaged, RefWrong, SealMissing, OwnerWrong, OwnerGone, LogUnsealed,
		EntryMissing, EntryWrong, LogIncomplete, ManifestMissing, SSTableMissing, IndexWrong, LowAlone, RefDamaged, RefStale, LogUncollected, LogLeftovers, MarkIdle,
	}
}

// of plans what is to be done about one finding.
func (p *planner) of(ctx context.Context, f Finding) error {
	switch f.Class {
	case TableDeleted, Unserved: // the master's work
	case RootDamaged:
		p.resetRoot(f)
	case NameAstray, NameMissing:
		p.fixName(f)
	case NoSchema:
		p.removeOrphans(f)
	case Tiling, TabletDamaged:
		p.tile(f)
	case OwnerWrong, OwnerGone:
		p.disown(f)
	case EntryMissing:
		p.addEntry(f)
	case EntryWrong:
		p.clipEntries(f)
	case ManifestMissing, SSTableMissing:
		return p.rebuild(ctx, f)
	case LogForgotten, LogDamaged:
		return p.restoreLog(ctx, f)
	case LogIncomplete:
		return p.bridgeLog(ctx, f)
	case LogUnsealed:
		p.sealLog(f)
	case LogUncollected, LogLeftovers:
		p.collectLog(f)
	case SealMissing:
		p.replaceSeal(f)
	case IndexWrong:
		p.step(f, "write its index anew", func(ctx context.Context) error { return p.writeIndex(ctx, f.about.log) })
	case RefWrong, RefStale, RefDamaged, LowAlone, MarkIdle:
		p.fixKey(f)
	default:
		p.byHand(f, Remedy(f.Class))
	}
	return nil
}

// step adds a step that loses nothing.
func (p *planner) step(f Finding, do string, run func(context.Context) error) {
	p.steps = append(p.steps, Step{Class: f.Class, Subject: f.Subject, Do: do, run: run})
}

// losing adds a step that loses something.
func (p *planner) losing(f Finding, needs Loss, do, loses string, run func(context.Context) error) {
	p.steps = append(p.steps, Step{Class: f.Class, Subject: f.Subject, Do: do, Needs: needs, Loses: loses, run: run})
}

// unlessLost adds a step that removes what seems to belong to nobody. While
// records of tablets are lost it may be theirs, should they come back.
func (p *planner) unlessLost(f Finding, do string, run func(context.Context) error) {
	if !p.lost {
		p.step(f, do, run)
		return
	}
	p.losing(f, Holes, do, "what the log holds of a tablet whose record is lost", run)
	p.steps[len(p.steps)-1].Outcome = Later
}

func (p *planner) byHand(f Finding, do string) {
	p.steps = append(p.steps, Step{Class: f.Class, Subject: f.Subject, Do: do})
}

// tabletsOf returns the tablets of a table, in order.
func (p *planner) tabletsOf(id base.TableID) []meta.Tablet {
	return slices.DeleteFunc(slices.Clone(p.tablets), func(t meta.Tablet) bool { return t.Table != id })
}

// commit applies a change of one tablet.
func (p *planner) commit(c meta.Change) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := p.meta.Commit(ctx, c)
		return err
	}
}

// transact applies a repair.
func (p *planner) transact(r meta.Repair) func(context.Context) error {
	return func(ctx context.Context) error { return p.meta.Repair(ctx, r) }
}

// mend frees a tablet and replaces what its record says of its data by what f
// makes of it. A live owner is asked to release it; whoever gets it next, before
// the change is committed, is still loading then, or was faster: then it is
// asked again.
func (p *planner) mend(ctx context.Context, t meta.Tablet, f func(context.Context, meta.Tablet) (meta.Tablet, []base.Incarnation, error)) error {
	const tries = 8
	for try := 0; ; try++ {
		now := t
		if t.State == meta.Serving && p.sessions[t.Owner] {
			var err error
			if now, err = p.release(ctx, t); err != nil {
				return err
			}
		}
		n, creators, err := f(ctx, now)
		if err != nil {
			return err
		}
		_, err = p.meta.Commit(ctx, meta.Mend(now, n, time.Now(), creators...))
		if err == nil || try == tries || !errors.Is(err, base.ErrAborted) || !p.sessions[t.Owner] {
			return err
		}
	}
}

// release has the owner of a tablet give it up, and returns the record after
// that.
func (p *planner) release(ctx context.Context, t meta.Tablet) (meta.Tablet, error) {
	now, err := p.meta.Tablet(ctx, t.Table, t.End, t.ID)
	if err != nil {
		return now, err
	}
	if now.State == meta.Serving {
		if p.rc.Owners == nil {
			return now, fmt.Errorf("tablet %d is served by %v, which is alive: %w", t.ID, now.Owner, base.ErrPrecondition)
		}
		if err := p.rc.Owners.Release(ctx, now); err != nil {
			return now, err
		}
		if now, err = p.meta.Tablet(ctx, t.Table, t.End, t.ID); err != nil {
			return now, err
		}
	}
	if now.Manifest != t.Manifest {
		return now, fmt.Errorf("tablet %d got another manifest: %w", t.ID, base.ErrAborted)
	}
	return now, nil
}
