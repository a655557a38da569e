package router

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// table is the cache of one table id.
type table struct {
	r    *Router
	name string
	id   base.TableID

	list atomic.Pointer[locations]
	gone atomic.Bool // the name does not mean this id any more

	flights flights
	nudge   chan struct{} // tells drive of new waiters

	mu struct {
		sync.Mutex
		clock   uint64 // counts what was learned
		waiters map[*location]*waiter
		driven  bool   // drive runs
		watched uint64 // the clock when the watch began; 0: there is none
	}
}

func newTable(r *Router, name string, id base.TableID) *table {
	t := &table{r: r, name: name, id: id}
	t.list.Store(new(locations))
	t.nudge = make(chan struct{}, 1)
	t.mu.waiters = map[*location]*waiter{}
	return t
}

// errTableGone makes the caller resolve the name again.
var errTableGone = errors.New("the table of that name is another one now")

// cached returns the table of that name if the cache has it.
func (r *Router) cached(name []byte) *table { return (*r.tables.Load())[string(name)] }

// table returns the table of that name. base.ErrNotFound is the answer of a
// linearizable read, base.ErrInvalid is for what is no name of a table.
func (r *Router) table(ctx context.Context, name []byte) (*table, error) {
	if t := r.cached(name); t != nil && !t.gone.Load() {
		return t, nil
	}
	n := string(name)
	if r.whole != nil {
		return r.wholeTable(n), nil
	}
	if _, err := schema.ParseName(n); err != nil {
		return nil, err
	}
	if err := r.names.do(ctx, r, n, func(ctx context.Context) error { return r.resolve(ctx, n) }); err != nil {
		return nil, err
	}
	if t := r.cached(name); t != nil {
		return t, nil
	}
	return nil, schema.NotFound(n) // deleted meanwhile
}

// wholeTable puts a table of one location into the cache.
func (r *Router) wholeTable(name string) *table {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.tables.Load()
	if t := old[name]; t != nil {
		return t
	}
	t := newTable(r, name, 0)
	t.list.Store(&locations{{state: meta.Serving, addr: "gateway", server: &server{addr: "gateway", whole: r.whole(name)}}})
	tables := maps.Clone(old)
	tables[name] = t
	r.tables.Store(&tables)
	return t
}

// resolve reads what name means and puts that into the cache.
func (r *Router) resolve(ctx context.Context, name string) error {
	rec, err := r.meta.TableByName(ctx, name)
	r.stats.lookups.Add(1)
	if errors.Is(err, base.ErrNotFound) {
		r.forget(name, nil)
		return schema.NotFound(name)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.tables.Load()
	if t := old[name]; t != nil {
		if t.id == rec.ID && !t.gone.Load() {
			return nil
		}
		t.abandon()
	}
	tables := maps.Clone(old)
	tables[name] = newTable(r, name, rec.ID)
	r.tables.Store(&tables)
	return nil
}

// forget drops a table from the cache; t, if not nil, only that one.
func (r *Router) forget(name string, t *table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.tables.Load()
	was := old[name]
	if was == nil || (t != nil && was != t) {
		return
	}
	was.abandon()
	tables := maps.Clone(old)
	delete(tables, name)
	r.tables.Store(&tables)
}

// Forget drops what is cached of the table of that name, which was deleted or
// is another one now.
func (r *Router) Forget(table string) {
	if r.whole == nil {
		r.forget(table, nil)
	}
}

// abandon wakes all who wait for tablets of a table that is no more.
func (t *table) abandon() {
	t.gone.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	for loc, w := range t.mu.waiters {
		close(w.woken)
		delete(t.mu.waiters, loc)
	}
}

// checkName reads whether the name still means this table and forgets the
// table if it does not.
func (t *table) checkName(ctx context.Context) error {
	if t.r.whole != nil {
		return nil
	}
	rec, err := t.r.meta.TableByName(ctx, t.name)
	t.r.stats.lookups.Add(1)
	if err == nil && rec.ID == t.id && !rec.Record.GetDeleted() {
		return nil
	}
	if err == nil || errors.Is(err, base.ErrNotFound) {
		t.r.forget(t.name, t)
		return errTableGone
	}
	return err
}

// find returns the location of row in the cache, or nil.
func (t *table) find(row []byte) *location { return (*t.list.Load()).find(row) }

// location converts a record.
func (t *table) location(rec *meta.Tablet) *location {
	l := &location{start: rec.Start, end: rec.End, state: rec.State, since: rec.Since,
		owner: rec.Owner, addr: rec.OwnerAddress, revision: rec.Revision}
	l.target.Tablet, l.target.Epoch = rec.ID, rec.Epoch
	if l.state == meta.Serving {
		l.server = t.r.server(l.addr)
	}
	return l
}

// now returns the table's clock, to be taken before a linearizable read.
func (t *table) now() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.clock
}

// learn puts records, in order of their rows, into the cache. asOf is the clock
// before a linearizable read, or 0 where the read may be stale. Current says
// that the records are no older than the call. It returns the locations that
// were read.
func (t *table) learn(recs []meta.Tablet, asOf uint64, current bool) locations {
	read := make(locations, 0, len(recs))
	for i := range recs {
		read = append(read, t.location(&recs[i]))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.clock++
	for _, l := range read {
		l.seen = t.mu.clock
		if current {
			l.confirmed.Store(t.mu.clock)
		}
	}
	t.storeLocked((*t.list.Load()).with(read, asOf))
	return read
}

// learnEvents brings a watch response into the cache.
func (t *table) learnEvents(events []lockservice.Event) error {
	last := map[string]lockservice.Event{}
	for _, e := range events {
		last[e.KV.Key] = e
	}
	var recs []meta.Tablet
	deleted := map[string]lockservice.Revision{}
	for key, e := range last {
		if e.Kind == lockservice.EventDelete {
			deleted[key] = e.KV.ModRevision
			continue
		}
		rec, err := meta.DecodeTablet(e.KV)
		if err != nil {
			return err
		}
		recs = append(recs, rec)
	}
	// What stands at one revision does not overlap, so the order is total.
	slices.SortFunc(recs, func(a, b meta.Tablet) int { return bytes.Compare(a.Start, b.Start) })
	t.learn(recs, 0, true)
	if len(deleted) > 0 {
		t.drop(func(l *location) bool {
			rev, ok := deleted[meta.TabletKey(t.id, l.end)]
			return ok && l.revision < rev
		})
	}
	return nil
}

// drop removes locations from the cache.
func (t *table) drop(which func(*location) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.storeLocked((*t.list.Load()).without(which))
}

// storeLocked publishes the list and wakes those for whom it holds news.
func (t *table) storeLocked(ls locations) {
	t.list.Store(&ls)
	for old, w := range t.mu.waiters {
		if l := ls.find(w.row); l != nil && l.server != nil && l != old {
			close(w.woken)
			delete(t.mu.waiters, old)
		}
	}
}
