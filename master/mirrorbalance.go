package master

import (
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/meta"
)

// balanced returns what decisions about served tablets are made of, but for what
// servers say of them. Tablets of tables that are deleted are left out.
func (m *mirror) balanced(settle time.Duration) balance.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s balance.State
	now := m.now()
	for e, v := range m.mu.servers {
		s.Servers = append(s.Servers, balance.Server{ID: e, Name: v.Record.GetName(), Zone: v.Record.GetZone(), Drained: m.drainedLocked(e), Releases: now.Sub(m.mu.released[e]) < settle})
	}
	slices.SortFunc(s.Servers, func(a, b balance.Server) int { return a.ID.Compare(b.ID) })
	keys := make([]string, 0, len(m.mu.tablets))
	for key, t := range m.mu.tablets {
		if tb := m.mu.tables[t.Table]; t.State == meta.Serving && tb.known && !tb.Record.Deleted {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		t := m.mu.tablets[key]
		s.Tablets = append(s.Tablets, balance.Tablet{ID: t.ID, Table: t.Table, Start: t.Start, End: t.End, Owner: t.Owner, Age: now.Sub(t.seen)})
	}
	return s
}

// tabletByID returns the record of a tablet.
func (m *mirror) tabletByID(id base.TabletID) (meta.Tablet, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.mu.byID[id]; t != nil {
		return t.Tablet, true
	}
	return meta.Tablet{}, false
}

// named returns the live server that an operator calls by name, address or
// incarnation. Of several of a name it is the youngest.
func (m *mirror) named(what string) (meta.Server, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found meta.Server
	for e, s := range m.mu.servers {
		if (s.Record.GetName() == what || s.Address == what || e.String() == what) && (found.Record == nil || found.Incarnation.Compare(e) < 0) {
			found = s
		}
	}
	return found, found.Record != nil
}

// mark reports whether a mark is set.
func (m *mirror) mark(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, on := m.mu.marks[key]
	return on
}

// drained returns the names of the servers that are drained, there or not.
func (m *mirror) drained() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for key := range m.mu.marks {
		if name, ok := meta.DrainedServer(key); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// name returns what people call a server.
func (m *mirror) name(e base.Incarnation) string {
	if s, ok := m.server(e); ok && s.Record.GetName() != "" {
		return s.Record.GetName()
	}
	return e.String()
}
