package master

import (
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// mirror is a copy of the records in memory, with the indexes that make each
// decision cost what it decides on, not what there is. Keys are written in the
// order of revisions: the watch delivers all changes up to revision; what the
// master itself commits is noted ahead of the watch. Records handed out are
// values that nobody changes. Methods may be called concurrently.
type mirror struct {
	now func() time.Time
	// events tell of servers that come and go. They are called with the lock
	// held and must not call the mirror.
	started func(meta.Server)
	left    func(e base.Incarnation, owned int)

	mu struct {
		sync.Mutex
		revision lockservice.Revision
		changed  chan struct{} // closed at the next change

		keys       map[string]lockservice.Revision // of each mirrored key
		tablets    map[string]*tablet              // by key
		byID       map[base.TabletID]*tablet
		unassigned map[base.TabletID]*tablet
		owners     map[base.Incarnation]*owner
		tables     map[base.TableID]*table
		servers    map[base.Incarnation]meta.Server
		logs       map[base.Incarnation]logRecord
		refs       map[base.Incarnation]map[base.TabletID]struct{}
		released   map[base.Incarnation]time.Time // when a live server last gave a tablet up
		corrupt    map[string]error
		deleted    map[base.TableID]struct{} // tables
		marks      map[string]string

		// What follows from the above about one incarnation; see touchLocked.
		dead        map[base.Incarnation]struct{}
		collectable map[base.Incarnation]struct{}
		unindexed   map[base.Incarnation]struct{}
		indexed     map[base.Incarnation]struct{}
	}
}

// tablet is a record with what the master remembers of it.
type tablet struct {
	meta.Tablet
	seen time.Time // when this state and epoch were seen first
	// told is how often the owner was told of the tablet, next when to tell it
	// again.
	told int
	next time.Time
	// failed is the server from which the last load was taken back, or that
	// released the tablet: it is not the one to get it again.
	failed base.Incarnation
}

// owner is what one incarnation owns.
type owner struct {
	tablets  map[base.TabletID]*tablet
	loading  map[base.TabletID]*tablet
	perTable map[base.TableID]int
}

// table is a schema, once known, with the tablets of the table.
type table struct {
	meta.Table
	known    bool
	tablets  map[base.TabletID]*tablet
	unserved int
}

type logRecord struct {
	state meta.LogState
	end   base.Position
}

func newMirror(now func() time.Time) *mirror {
	m := &mirror{now: now, started: func(meta.Server) {}, left: func(base.Incarnation, int) {}}
	m.mu.changed = make(chan struct{})
	m.mu.keys = map[string]lockservice.Revision{}
	m.mu.tablets = map[string]*tablet{}
	m.mu.byID = map[base.TabletID]*tablet{}
	m.mu.unassigned = map[base.TabletID]*tablet{}
	m.mu.owners = map[base.Incarnation]*owner{}
	m.mu.tables = map[base.TableID]*table{}
	m.mu.servers = map[base.Incarnation]meta.Server{}
	m.mu.logs = map[base.Incarnation]logRecord{}
	m.mu.refs = map[base.Incarnation]map[base.TabletID]struct{}{}
	m.mu.released = map[base.Incarnation]time.Time{}
	m.mu.corrupt = map[string]error{}
	m.mu.deleted = map[base.TableID]struct{}{}
	m.mu.marks = map[string]string{}
	m.mu.dead = map[base.Incarnation]struct{}{}
	m.mu.collectable = map[base.Incarnation]struct{}{}
	m.mu.unindexed = map[base.Incarnation]struct{}{}
	m.mu.indexed = map[base.Incarnation]struct{}{}
	return m
}

// apply takes a response of the watch.
func (m *mirror) apply(r lockservice.WatchResponse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range r.Events {
		if ev.KV.ModRevision > m.mu.revision {
			m.setLocked(ev.KV, ev.Kind == lockservice.EventDelete)
		}
	}
	m.mu.revision = max(m.mu.revision, r.Revision)
	m.changedLocked()
}

// load replaces everything by what stood in kvs at revision rev, except what is
// known to be newer, and returns how many keys differed that should not have.
func (m *mirror) load(kvs []lockservice.KV, rev lockservice.Revision) (repaired int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.mu.revision
	present := make(map[string]struct{}, len(kvs))
	for _, kv := range kvs {
		present[kv.Key] = struct{}{}
		if m.mu.keys[kv.Key] < kv.ModRevision {
			if kv.ModRevision <= old {
				repaired++
			}
			m.setLocked(kv, false)
		}
	}
	for key, at := range m.mu.keys {
		if _, ok := present[key]; !ok && at <= rev {
			if rev <= old {
				repaired++
			}
			m.setLocked(lockservice.KV{Key: key, ModRevision: rev}, true)
		}
	}
	m.mu.revision = max(m.mu.revision, rev)
	m.changedLocked()
	return repaired
}

// differs reports whether load of kvs, which may lack values, would change
// anything.
func (m *mirror) differs(kvs []lockservice.KV, rev lockservice.Revision) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	present := 0
	for _, kv := range kvs {
		at, ok := m.mu.keys[kv.Key]
		if ok {
			present++
		}
		if at < kv.ModRevision {
			return true
		}
	}
	if present == len(m.mu.keys) {
		return false
	}
	// Keys that are here and not there are fine if they are newer.
	there := make(map[string]struct{}, len(kvs))
	for _, kv := range kvs {
		there[kv.Key] = struct{}{}
	}
	for key, at := range m.mu.keys {
		if _, ok := there[key]; !ok && at <= rev {
			return true
		}
	}
	return false
}

// note takes records that this master committed or read, ahead of the watch.
func (m *mirror) note(tablets ...meta.Tablet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range tablets {
		if key := t.Key(); t.Revision > m.mu.revision && t.Revision > m.mu.keys[key] {
			m.mu.keys[key] = t.Revision
			delete(m.mu.corrupt, key)
			m.setTabletLocked(key, t)
		}
	}
	m.changedLocked()
}

func (m *mirror) changedLocked() {
	close(m.mu.changed)
	m.mu.changed = make(chan struct{})
}

// watch returns a channel that is closed at the next change.
func (m *mirror) watch() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.changed
}
