package master

import (
	"maps"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/assign"
	"github.com/tabletdb/tabletdb/meta"
)

// work is what the mirror shows that a job should set right.
type work struct {
	dead, collectable, unindexed []base.Incarnation
	dropped                      []base.TableID
	unassigned                   int
	servers                      map[base.Incarnation]meta.Server
}

func (m *mirror) work() work {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := work{
		dead: sorted(m.mu.dead), collectable: sorted(m.mu.collectable), unindexed: sorted(m.mu.unindexed),
		unassigned: len(m.mu.unassigned), servers: maps.Clone(m.mu.servers),
	}
	w.dropped = slices.Sorted(maps.Keys(m.mu.deleted))
	return w
}

func sorted(set map[base.Incarnation]struct{}) []base.Incarnation {
	return slices.SortedFunc(maps.Keys(set), base.Incarnation.Compare)
}

// ownedBy returns the tablets of an incarnation, in the order of their keys.
func (m *mirror) ownedBy(e base.Incarnation) []meta.Tablet {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []meta.Tablet
	if o := m.mu.owners[e]; o != nil {
		for _, t := range o.tablets {
			out = append(out, t.Tablet)
		}
	}
	slices.SortFunc(out, func(a, b meta.Tablet) int { return compare(a.Key(), b.Key()) })
	return out
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// needing returns the tablets that the death of e keeps from being served:
// those it owns and those that need its log.
func (m *mirror) needing(e base.Incarnation) map[base.TabletID]struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[base.TabletID]struct{}{}
	if o := m.mu.owners[e]; o != nil {
		for id := range o.tablets {
			out[id] = struct{}{}
		}
	}
	for id := range m.mu.refs[e] {
		if t := m.mu.byID[id]; t != nil && t.State != meta.Serving {
			out[id] = struct{}{}
		}
	}
	return out
}

// back returns those of the tablets that somebody else than a dead incarnation
// serves again, or that no longer exist.
func (m *mirror) back(ids []base.TabletID, dead base.Incarnation) []base.TabletID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(ids, func(id base.TabletID) bool {
		t := m.mu.byID[id]
		return t != nil && (t.State != meta.Serving || t.Owner == dead)
	})
}

// assignable returns up to limit tablets without owner, the longest waiting
// first, with what Spread wants to know of them.
func (m *mirror) assignable(limit int) ([]meta.Tablet, []assign.Tablet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var waiting []*tablet
	for _, t := range m.mu.unassigned {
		if tb := m.mu.tables[t.Table]; tb.known && !tb.Record.Deleted {
			waiting = append(waiting, t)
		}
	}
	slices.SortFunc(waiting, func(a, b *tablet) int {
		if c := a.seen.Compare(b.seen); c != 0 {
			return c
		}
		return compare(a.Key(), b.Key())
	})
	waiting = waiting[:min(len(waiting), limit)]
	tablets, asked := make([]meta.Tablet, len(waiting)), make([]assign.Tablet, len(waiting))
	for i, t := range waiting {
		tablets[i] = t.Tablet
		asked[i] = assign.Tablet{ID: t.ID, Table: t.Table, Avoid: t.failed}
	}
	return tablets, asked
}

// candidates returns the live servers whose log is open. Those that gave
// tablets up within the last settle are left out unless all did: they shut down,
// or shed load. Those that are drained are left out unless there are no others:
// to be served counts more.
func (m *mirror) candidates(settle time.Duration) ([]assign.Server, map[base.Incarnation]meta.Server) {
	idle := func(e base.Incarnation) bool { return m.now().Sub(m.mu.released[e]) >= settle }
	for _, take := range []func(base.Incarnation) bool{
		func(e base.Incarnation) bool { return idle(e) && !m.drainedLocked(e) },
		func(e base.Incarnation) bool { return !m.drainedLocked(e) },
		idle,
	} {
		if out, servers := m.live(take); len(out) > 0 {
			return out, servers
		}
	}
	return m.live(func(base.Incarnation) bool { return true })
}

// drainedLocked reports whether an operator drains the server.
func (m *mirror) drainedLocked(e base.Incarnation) bool {
	_, on := m.mu.marks[meta.DrainMark(m.mu.servers[e].Record.GetName())]
	return on
}

func (m *mirror) live(take func(base.Incarnation) bool) ([]assign.Server, map[base.Incarnation]meta.Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, servers := []assign.Server{}, map[base.Incarnation]meta.Server{}
	for e, s := range m.mu.servers {
		if l, ok := m.mu.logs[e]; !ok || l.state != meta.LogOpen || !take(e) {
			continue
		}
		a := assign.Server{ID: e, Zone: s.Record.GetZone()}
		if o := m.mu.owners[e]; o != nil {
			a.Tablets, a.PerTable = len(o.tablets), maps.Clone(o.perTable)
		}
		out, servers[e] = append(out, a), s
	}
	return out, servers
}

// untold returns the tablets that e owns and was not told of, or long enough
// ago, and counts them as told now.
func (m *mirror) untold(e base.Incarnation, now time.Time, first, most time.Duration) []meta.Tablet {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []meta.Tablet
	if o := m.mu.owners[e]; o != nil {
		for _, t := range o.loading {
			out = t.tell(out, now, first, most)
		}
	}
	return out
}

// unknown returns the tablets that e should know of for longer than grace and
// does not, as known says, and counts them as told now.
func (m *mirror) unknown(e base.Incarnation, known func(meta.Tablet) bool, grace time.Duration, now time.Time, first, most time.Duration) []meta.Tablet {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []meta.Tablet
	if o := m.mu.owners[e]; o != nil {
		for _, t := range o.tablets {
			if t.State == meta.Serving && now.Sub(t.seen) > grace && !known(t.Tablet) {
				out = t.tell(out, now, first, most)
			}
		}
	}
	return out
}

func (t *tablet) tell(out []meta.Tablet, now time.Time, first, most time.Duration) []meta.Tablet {
	if now.Before(t.next) {
		return out
	}
	t.next = now.Add(assign.Backoff(t.told, first, most))
	t.told++
	return append(out, t.Tablet)
}

// loads returns the assignments that are older than age.
func (m *mirror) loads(age time.Duration) []tablet {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var out []tablet
	for _, o := range m.mu.owners {
		for _, t := range o.loading {
			if now.Sub(t.seen) >= age {
				out = append(out, *t)
			}
		}
	}
	return out
}

// blame remembers that e did not get to serve a tablet.
func (m *mirror) blame(id base.TabletID, e base.Incarnation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.mu.byID[id]; t != nil {
		t.failed = e
	}
}

// setIndexed remembers that the index of a sealed log stands.
func (m *mirror) setIndexed(e base.Incarnation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.indexed[e] = struct{}{}
	m.touchLocked(e)
}

// served reports whether all tablets of a table, as of revision rev, are
// served.
func (m *mirror) served(id base.TableID, rev lockservice.Revision) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	tb := m.mu.tables[id]
	return m.mu.revision >= rev && (tb == nil || tb.unserved == 0)
}

// tableOf returns a schema and the tablets of the table.
func (m *mirror) tableOf(id base.TableID) (meta.Table, []meta.Tablet, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tb := m.mu.tables[id]
	if tb == nil || !tb.known {
		return meta.Table{}, nil, false
	}
	var out []meta.Tablet
	for _, t := range tb.tablets {
		out = append(out, t.Tablet)
	}
	slices.SortFunc(out, func(a, b meta.Tablet) int { return compare(a.Key(), b.Key()) })
	return tb.Table, out, true
}

// missing counts the dead that are to be recovered from and left tablets, and
// the live servers that own none.
func (m *mirror) missing() (dead, fresh int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := range m.mu.dead {
		if m.mu.owners[e] != nil || len(m.mu.refs[e]) > 0 {
			dead++
		}
	}
	for e := range m.mu.servers {
		if m.mu.owners[e] == nil {
			fresh++
		}
	}
	return dead, fresh
}

// isDead reports whether e still asks to be recovered from.
func (m *mirror) isDead(e base.Incarnation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, dead := m.mu.dead[e]
	return dead
}

// hasLog reports whether there is a record of the log of e.
func (m *mirror) hasLog(e base.Incarnation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.mu.logs[e]
	return ok
}

// upTo reports whether the mirror shows revision rev.
func (m *mirror) upTo(rev lockservice.Revision) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.revision >= rev
}

// server returns the record of a live server.
func (m *mirror) server(e base.Incarnation) (meta.Server, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.mu.servers[e]
	return s, ok
}

// census is what there is.
type census struct {
	servers, tablets, unassigned, loading, serving int
	logs, corrupt                                  int
	oldest                                         time.Time // of what is not served; zero: all is
	owned, loaded                                  map[base.Incarnation]int
}

// count takes a census; it costs what is not served.
func (m *mirror) count() census {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := census{
		servers: len(m.mu.servers), tablets: len(m.mu.tablets), unassigned: len(m.mu.unassigned),
		logs: len(m.mu.logs), corrupt: len(m.mu.corrupt),
		owned: map[base.Incarnation]int{}, loaded: map[base.Incarnation]int{},
	}
	older := func(t *tablet) {
		if c.oldest.IsZero() || t.Since.Before(c.oldest) {
			c.oldest = t.Since
		}
	}
	for _, t := range m.mu.unassigned {
		older(t)
	}
	for e, o := range m.mu.owners {
		c.owned[e], c.loaded[e] = len(o.tablets), len(o.tablets)-len(o.loading)
		c.loading += len(o.loading)
		for _, t := range o.loading {
			older(t)
		}
	}
	c.serving = c.tablets - c.unassigned - c.loading
	return c
}

// corrupted returns the records that do not parse.
func (m *mirror) corrupted() map[string]error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.mu.corrupt)
}
