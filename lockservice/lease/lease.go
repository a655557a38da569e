// Package lease is the pure lease table of a lock-service leader: who may be
// renewed and what has to be ended, computed from the times it is given. It
// reads no clock, proposes nothing and is not safe for concurrent use.
//
// It implements the leader's half of rules R15 and R16:
//
//   - every session gets a full TTL when leadership starts (New, Follow);
//   - a session whose expiry was proposed is never renewed again;
//   - a leader that notices that it slept (a gap between two of its own ticks
//     longer than a quarter of the shortest TTL) grants every lease a full TTL
//     again, before it expires anything;
//   - a session that was revoked without proof of death is gone when its lease
//     is over: a full TTL after its last renewal in this term. Rule R15 asks
//     for a full TTL after the revocation; this is as safe as an expiry is, for
//     it is the same instant: whatever this leader answered stands in this
//     table, a deposed leader answers nothing (R16), and a new one grants a
//     full TTL first.
//
// Times are those of one clock that does not run backwards; only differences
// matter.
package lease

import (
	"slices"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// Table is the leases of one term of leadership. A new term makes a new Table:
// nothing is inherited.
type Table struct {
	sessions map[lockservice.SessionID]*timer
	delays   map[lockKey]*timer
	// oldLeases runs while sessions of older generations may have leases.
	oldLeases map[uint32]*timer
	lastTick  time.Time
	minTTL    time.Duration
}

type lockKey struct {
	name       string
	generation uint64
}

// timer is one thing that will be due.
type timer struct {
	ttl      time.Duration
	end      time.Time
	revoked  bool // sessions only
	proposed bool // never renewed again
	again    bool // proposed in vain: to be proposed once more
}

// take reports whether t is due, and marks it proposed.
func (t *timer) take(now time.Time) bool {
	if !t.again && (t.proposed || t.end.After(now)) {
		return false
	}
	t.proposed, t.again = true, false
	return true
}

// New returns the table of a term that starts at now. The caller follows the
// state machine as it is after the Barrier of the term (Follow), and calls Tick
// at least every eighth of the shortest TTL it admits.
func New(now time.Time) *Table {
	return &Table{
		sessions:  make(map[lockservice.SessionID]*timer),
		delays:    make(map[lockKey]*timer),
		oldLeases: make(map[uint32]*timer),
		lastTick:  now,
	}
}

// Follow brings the table up to v: sessions, delays and generations it does not
// know start with their full time from now, those that v does not know are
// forgotten. A session that became revoked is not renewed any more; it is gone
// when its lease is over (rule R15).
func (t *Table) Follow(v *state.View, now time.Time) {
	keep := make(map[lockservice.SessionID]bool)
	for _, s := range v.Sessions() {
		keep[s.ID] = true
		t.Add(s.ID, s.TTL, s.State == state.StateRevoked, now)
	}
	forget(t.sessions, keep)
	t.followDelays(v, now)
	g := v.Generation()
	if g == 0 || v.OldLeasesOver() {
		clear(t.oldLeases)
	} else if t.oldLeases[g] == nil {
		t.oldLeases = map[uint32]*timer{g: {ttl: state.MaxTTL, end: now.Add(state.MaxTTL)}}
	}
}

func (t *Table) followDelays(v *state.View, now time.Time) {
	keep := make(map[lockKey]bool)
	for _, d := range v.Delays() {
		k := lockKey{d.Name, d.Generation}
		keep[k] = true
		if t.delays[k] == nil {
			t.delays[k] = &timer{ttl: d.Delay, end: now.Add(d.Delay)}
		}
	}
	forget(t.delays, keep)
}

func forget[K comparable](timers map[K]*timer, keep map[K]bool) {
	for k := range timers {
		if !keep[k] {
			delete(timers, k)
		}
	}
}

// Add starts the lease of a session: a full TTL from now. A session that is
// known keeps its lease.
func (t *Table) Add(id lockservice.SessionID, ttl time.Duration, revoked bool, now time.Time) {
	if e, ok := t.sessions[id]; ok {
		if revoked && !e.revoked {
			e.revoked, e.proposed, e.again = true, false, false
		}
		return
	}
	t.sessions[id] = &timer{ttl: ttl, end: now.Add(ttl), revoked: revoked}
	if t.minTTL == 0 || ttl < t.minTTL {
		t.minTTL = ttl
	}
}

// Renew gives a session a full TTL from now and reports whether it did. It does
// not for a session that is unknown, was revoked, or whose expiry was proposed.
func (t *Table) Renew(id lockservice.SessionID, now time.Time) bool {
	e, ok := t.sessions[id]
	if !ok || e.revoked || e.proposed {
		return false
	}
	if end := now.Add(e.ttl); end.After(e.end) {
		e.end = end
	}
	return true
}

// Due is what the leader has to propose, in a fixed order.
type Due struct {
	Expire    []lockservice.SessionID // sessions whose lease ran out
	EndLease  []lockservice.SessionID // revoked sessions whose lease is over
	EndDelay  []state.EndDelay
	OldLeases []uint32 // the generation whose predecessors' leases are over
	// Gap, if not zero: the leader slept that long, so every lease was granted
	// a full TTL and nothing is due.
	Gap time.Duration
}

// Commands returns what to propose.
func (d Due) Commands() []state.Command {
	var out []state.Command
	for _, id := range d.Expire {
		out = append(out, &state.EndSession{ID: id, Reason: state.EndExpired})
	}
	for _, id := range d.EndLease {
		out = append(out, &state.EndLease{ID: id})
	}
	for i := range d.EndDelay {
		out = append(out, &d.EndDelay[i])
	}
	for _, g := range d.OldLeases {
		out = append(out, &state.EndOldLeases{Generation: g})
	}
	return out
}

// Tick returns what is due at now and marks it proposed: it is not returned
// again, and no session of it is renewed.
func (t *Table) Tick(now time.Time) Due {
	gap := now.Sub(t.lastTick)
	t.lastTick = now
	if t.minTTL > 0 && gap > t.minTTL/4 {
		t.regrant(now)
		return Due{Gap: gap}
	}
	return t.Due(now)
}

// Due is Tick without the check for a gap, for a service that cannot be paused
// apart from its clients.
func (t *Table) Due(now time.Time) Due {
	var d Due
	for id, e := range t.sessions {
		switch {
		case !e.take(now):
		case e.revoked:
			d.EndLease = append(d.EndLease, id)
		default:
			d.Expire = append(d.Expire, id)
		}
	}
	for k, e := range t.delays {
		if e.take(now) {
			d.EndDelay = append(d.EndDelay, state.EndDelay{Name: k.name, Generation: k.generation})
		}
	}
	for g, e := range t.oldLeases {
		if e.take(now) {
			d.OldLeases = append(d.OldLeases, g)
		}
	}
	slices.SortFunc(d.Expire, lockservice.SessionID.Compare)
	slices.SortFunc(d.EndLease, lockservice.SessionID.Compare)
	slices.SortFunc(d.EndDelay, func(a, b state.EndDelay) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// Again makes what d holds due at the next Tick: it was certainly not applied.
// Its sessions stay unrenewable.
func (t *Table) Again(d Due) {
	for _, id := range slices.Concat(d.Expire, d.EndLease) {
		propose(t.sessions[id])
	}
	for _, e := range d.EndDelay {
		propose(t.delays[lockKey{e.Name, e.Generation}])
	}
	for _, g := range d.OldLeases {
		propose(t.oldLeases[g])
	}
}

func propose(e *timer) {
	if e != nil {
		e.again = e.proposed
	}
}

// regrant gives everything that is not proposed its full time from now.
func (t *Table) regrant(now time.Time) {
	for _, e := range t.sessions {
		e.regrant(now)
	}
	for _, e := range t.delays {
		e.regrant(now)
	}
	for _, e := range t.oldLeases {
		e.regrant(now)
	}
}

func (t *timer) regrant(now time.Time) {
	if !t.proposed {
		t.end = now.Add(t.ttl)
	}
}

// Next returns the earliest instant at which something falls due; ok is false
// where nothing will.
func (t *Table) Next() (at time.Time, ok bool) {
	look := func(e *timer) {
		if !e.proposed && (!ok || e.end.Before(at)) {
			at, ok = e.end, true
		}
	}
	for _, e := range t.sessions {
		look(e)
	}
	for _, e := range t.delays {
		look(e)
	}
	for _, e := range t.oldLeases {
		look(e)
	}
	return at, ok
}

// Len returns the number of sessions.
func (t *Table) Len() int { return len(t.sessions) }
