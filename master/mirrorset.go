package master

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// One watch over [mirrorStart, mirrorEnd) delivers everything that is mirrored,
// in one order, and some keys that are passed over.
const (
	mirrorStart = meta.LogPrefix
	mirrorEnd   = "table0" // after meta.TablePrefix
)

// mirrored returns the ranges of the keys that are mirrored.
func mirrored() [][2]string {
	var out [][2]string
	for _, p := range []string{meta.LogPrefix, meta.TabletPrefix, meta.RefPrefix, meta.ServerPrefix, meta.TablePrefix, meta.MarkPrefix} {
		out = append(out, [2]string{p, lockservice.PrefixEnd(p)})
	}
	return out
}

// setLocked writes one key, or removes it. A record that does not parse is kept
// aside and shown; what it replaced is gone.
func (m *mirror) setLocked(kv lockservice.KV, deleted bool) {
	if m.mu.keys[kv.Key] >= kv.ModRevision {
		return
	}
	var err error
	switch {
	case strings.HasPrefix(kv.Key, meta.TabletPrefix):
		err = m.decodeTabletLocked(kv, deleted)
	case strings.HasPrefix(kv.Key, meta.ServerPrefix):
		err = m.setServerLocked(kv, deleted)
	case strings.HasPrefix(kv.Key, meta.LogPrefix):
		err = m.setLogLocked(kv, deleted)
	case strings.HasPrefix(kv.Key, meta.RefPrefix):
		err = m.setRefLocked(kv, deleted)
	case strings.HasPrefix(kv.Key, meta.TablePrefix):
		err = m.setTableLocked(kv, deleted)
	case strings.HasPrefix(kv.Key, meta.MarkPrefix):
		delete(m.mu.marks, kv.Key)
		if !deleted {
			m.mu.marks[kv.Key] = string(kv.Value)
		}
	default:
		return
	}
	m.mu.keys[kv.Key] = kv.ModRevision
	delete(m.mu.corrupt, kv.Key)
	if deleted {
		delete(m.mu.keys, kv.Key)
	} else if err != nil {
		m.mu.corrupt[kv.Key] = err
	}
}

func (m *mirror) decodeTabletLocked(kv lockservice.KV, deleted bool) error {
	if deleted {
		m.dropTabletLocked(kv.Key)
		return nil
	}
	t, err := meta.DecodeTablet(kv)
	if err != nil {
		m.dropTabletLocked(kv.Key)
		return err
	}
	m.setTabletLocked(kv.Key, t)
	return nil
}

// setTabletLocked moves a tablet from where its old record has it to where the
// new one does.
func (m *mirror) setTabletLocked(key string, t meta.Tablet) {
	old := m.mu.tablets[key]
	n := &tablet{Tablet: t, seen: m.now()}
	if old != nil && old.ID == t.ID {
		n.failed = old.failed
		if old.Epoch == t.Epoch && old.State == t.State {
			n.seen, n.told, n.next = old.seen, old.told, old.next
		}
		if _, live := m.mu.servers[old.Owner]; live && old.State == meta.Serving && t.State == meta.Unassigned {
			n.failed, m.mu.released[old.Owner] = old.Owner, n.seen
		}
	}
	m.dropTabletLocked(key)
	m.mu.tablets[key], m.mu.byID[t.ID] = n, n
	tb := m.tableLocked(t.Table)
	tb.tablets[t.ID] = n
	if t.State != meta.Serving {
		tb.unserved++
	}
	if t.State == meta.Unassigned {
		m.mu.unassigned[t.ID] = n
		return
	}
	o := m.mu.owners[t.Owner]
	if o == nil {
		o = &owner{tablets: map[base.TabletID]*tablet{}, loading: map[base.TabletID]*tablet{}, perTable: map[base.TableID]int{}}
		m.mu.owners[t.Owner] = o
	}
	o.tablets[t.ID] = n
	o.perTable[t.Table]++
	if t.State == meta.Assigned {
		o.loading[t.ID] = n
	}
	m.touchLocked(t.Owner)
}

func (m *mirror) dropTabletLocked(key string) {
	t := m.mu.tablets[key]
	if t == nil {
		return
	}
	delete(m.mu.tablets, key)
	if m.mu.byID[t.ID] == t {
		delete(m.mu.byID, t.ID)
	}
	delete(m.mu.unassigned, t.ID)
	tb := m.mu.tables[t.Table]
	delete(tb.tablets, t.ID)
	if t.State != meta.Serving {
		tb.unserved--
	}
	m.dropTableLocked(t.Table)
	if o := m.mu.owners[t.Owner]; o != nil {
		delete(o.tablets, t.ID)
		delete(o.loading, t.ID)
		if o.perTable[t.Table]--; o.perTable[t.Table] == 0 {
			delete(o.perTable, t.Table)
		}
		if len(o.tablets) == 0 {
			delete(m.mu.owners, t.Owner)
		}
		m.touchLocked(t.Owner)
	}
}

// tableLocked returns the entry of a table, known or not.
func (m *mirror) tableLocked(id base.TableID) *table {
	tb := m.mu.tables[id]
	if tb == nil {
		tb = &table{tablets: map[base.TabletID]*tablet{}}
		m.mu.tables[id] = tb
	}
	return tb
}

// dropTableLocked forgets a table of which nothing is left.
func (m *mirror) dropTableLocked(id base.TableID) {
	if tb := m.mu.tables[id]; tb != nil && !tb.known && len(tb.tablets) == 0 {
		delete(m.mu.tables, id)
	}
}

func (m *mirror) setTableLocked(kv lockservice.KV, deleted bool) error {
	if deleted {
		id, err := strconv.ParseUint(strings.TrimPrefix(kv.Key, meta.TablePrefix), 16, 64)
		if tb := m.mu.tables[base.TableID(id)]; err == nil && tb != nil {
			tb.known = false
			delete(m.mu.deleted, base.TableID(id))
			m.dropTableLocked(base.TableID(id))
		}
		return nil
	}
	t, err := meta.DecodeTable(kv)
	if err != nil {
		return err
	}
	tb := m.tableLocked(t.ID)
	tb.Table, tb.known = t, true
	delete(m.mu.deleted, t.ID)
	if t.Record.Deleted {
		m.mu.deleted[t.ID] = struct{}{}
	}
	return nil
}

func (m *mirror) setServerLocked(kv lockservice.KV, deleted bool) error {
	e, err := base.ParseIncarnation(strings.TrimPrefix(kv.Key, meta.ServerPrefix))
	if err != nil {
		return fmt.Errorf("%w: key %q", base.ErrCorrupt, kv.Key)
	}
	_, had := m.mu.servers[e]
	if deleted {
		delete(m.mu.servers, e)
		delete(m.mu.released, e)
		if had {
			owned := 0
			if o := m.mu.owners[e]; o != nil {
				owned = len(o.tablets)
			}
			m.left(e, owned)
		}
		m.touchLocked(e)
		return nil
	}
	s, err := meta.DecodeServer(kv)
	if err == nil && s.Incarnation != e {
		err = fmt.Errorf("%w: record %q is of server %v", base.ErrCorrupt, kv.Key, s.Incarnation)
	}
	if err != nil {
		return err
	}
	m.mu.servers[e] = s
	if !had {
		m.started(s)
	}
	m.touchLocked(e)
	return nil
}

func (m *mirror) setLogLocked(kv lockservice.KV, deleted bool) error {
	e, err := base.ParseIncarnation(strings.TrimPrefix(kv.Key, meta.LogPrefix))
	if err != nil {
		return fmt.Errorf("%w: key %q", base.ErrCorrupt, kv.Key)
	}
	defer m.touchLocked(e)
	delete(m.mu.logs, e)
	if deleted {
		return nil
	}
	var rec metapb.LogRecord
	if err := proto.Unmarshal(kv.Value, &rec); err != nil {
		return fmt.Errorf("%w: record %q: %v", base.ErrCorrupt, kv.Key, err)
	}
	m.mu.logs[e] = logRecord{state: meta.LogState(rec.State), end: base.Position(rec.End)}
	return nil
}

func (m *mirror) setRefLocked(kv lockservice.KV, deleted bool) error {
	log, holder, _ := strings.Cut(strings.TrimPrefix(kv.Key, meta.RefPrefix), "/")
	e, err1 := base.ParseIncarnation(log)
	id, err2 := strconv.ParseUint(holder, 16, 64)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%w: key %q", base.ErrCorrupt, kv.Key)
	}
	holders := m.mu.refs[e]
	switch {
	case deleted:
		delete(holders, base.TabletID(id))
		if len(holders) == 0 {
			delete(m.mu.refs, e)
		}
	case holders == nil:
		m.mu.refs[e] = map[base.TabletID]struct{}{base.TabletID(id): {}}
	default:
		holders[base.TabletID(id)] = struct{}{}
	}
	m.touchLocked(e)
	return nil
}

// touchLocked derives anew what an incarnation needs done. One whose server
// record is gone is dead: record and log are made in one transaction, and the
// record goes only with the session.
func (m *mirror) touchLocked(e base.Incarnation) {
	_, live := m.mu.servers[e]
	l, logged := m.mu.logs[e]
	owns := m.mu.owners[e] != nil
	needed := len(m.mu.refs[e]) > 0
	_, indexed := m.mu.indexed[e]
	sealed := logged && l.state == meta.LogSealed
	put(m.mu.dead, e, !live && (owns || logged && !sealed))
	put(m.mu.collectable, e, !live && !owns && sealed && !needed)
	put(m.mu.unindexed, e, sealed && needed && !indexed)
	if !logged {
		delete(m.mu.indexed, e)
	}
}

func put(set map[base.Incarnation]struct{}, e base.Incarnation, in bool) {
	if in {
		set[e] = struct{}{}
	} else {
		delete(set, e)
	}
}
