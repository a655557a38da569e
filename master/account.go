package master

import (
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/master/assign"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// keptDecisions is how many decisions are remembered; failedPause and
// failedPauseMax are how long a tablet is left alone by the master's own
// decisions after one about it failed, doubling.
const (
	keptDecisions  = 1000
	failedPause    = 15 * time.Second
	failedPauseMax = 30 * time.Minute
)

// account remembers decisions about tablets that are served: those under way,
// whose tablets nothing else is decided about, those that failed, which wait,
// and recent ones for people. It is guarded by term.mu.
type account struct {
	busy   map[base.TabletID]struct{}
	moving int
	failed map[base.TabletID]failure
	recent []*controlpb.Decision
	idle   string // why nothing was decided lately
}

type failure struct {
	times int
	until time.Time
}

func (a *account) init() {
	a.busy, a.failed = map[base.TabletID]struct{}{}, map[base.TabletID]failure{}
}

// begin takes note of a decision. false: another about one of its tablets is
// under way.
func (a *account) begin(d balance.Decision, from, to string, now time.Time) (*controlpb.Decision, bool) {
	ids := tabletsOf(d)
	for _, id := range ids {
		if _, busy := a.busy[id]; busy {
			return nil, false
		}
	}
	for _, id := range ids {
		a.busy[id] = struct{}{}
	}
	if d.Kind == balance.Move {
		a.moving++
	}
	p := &controlpb.Decision{AtUs: now.UnixMicro(), Kind: string(d.Kind), Tablet: uint64(d.Tablet), Other: uint64(d.Other), Why: d.Why}
	if d.Kind == balance.Move {
		p.From, p.To = from, to
	}
	a.recent = append(a.recent, p)
	if extra := len(a.recent) - keptDecisions; extra > 0 {
		a.recent = append(a.recent[:0], a.recent[extra:]...)
	}
	return p, true
}

// end takes note of how a decision ended. The entry itself is exchanged, for
// readers have it.
func (a *account) end(d balance.Decision, p *controlpb.Decision, result []base.TabletID, err error, now time.Time) {
	for _, id := range tabletsOf(d) {
		delete(a.busy, id)
	}
	if d.Kind == balance.Move {
		a.moving--
	}
	done := &controlpb.Decision{AtUs: p.AtUs, Kind: p.Kind, Tablet: p.Tablet, Other: p.Other, From: p.From, To: p.To, Why: p.Why, Outcome: "done",
		TookUs: now.UnixMicro() - p.AtUs}
	for _, id := range result {
		done.Result = append(done.Result, uint64(id))
	}
	if err != nil {
		done.Outcome = rpc.FromStatus(err).Error()
		f := a.failed[d.Tablet]
		a.failed[d.Tablet] = failure{f.times + 1, now.Add(assign.Backoff(f.times, failedPause, failedPauseMax))}
	} else {
		delete(a.failed, d.Tablet)
	}
	for i := len(a.recent) - 1; i >= 0; i-- {
		if a.recent[i] == p {
			a.recent[i] = done
			return
		}
	}
}

// rests reports whether nothing is to be decided about a tablet now, and forgets
// failures that are long over.
func (a *account) rests(id base.TabletID, now time.Time) bool {
	if _, busy := a.busy[id]; busy {
		return true
	}
	f, ok := a.failed[id]
	if ok && now.Sub(f.until) > failedPauseMax {
		delete(a.failed, id)
	}
	return ok && now.Before(f.until)
}

// explain returns the last decisions that concern a tablet (0: any).
func (a *account) explain(id uint64, limit int) []*controlpb.Decision {
	var out []*controlpb.Decision
	for i := len(a.recent) - 1; i >= 0 && (limit == 0 || len(out) < limit); i-- {
		d := a.recent[i]
		about := id == 0 || d.Tablet == id || d.Other == id
		for _, r := range d.Result {
			about = about || r == id
		}
		if about {
			out = append(out, d)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

func tabletsOf(d balance.Decision) []base.TabletID {
	if d.Other != 0 {
		return []base.TabletID{d.Tablet, d.Other}
	}
	return []base.TabletID{d.Tablet}
}
