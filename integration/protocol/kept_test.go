package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// keeper takes snapshots of a world's table, makes tables of them and of it,
// and deletes, undeletes and drops those, at random. A table is called
// .../tables/random-<n>, after the image that it was made of, and holds at least
// what was acknowledged or read before that was asked for.
type keeper struct {
	*snapshot.Service
	mu struct {
		sync.Mutex
		images map[int]*image
		tables map[string]int // which image a table was made of
		names  int
		did    map[string]int
	}
}

// image is what is known of an image: what is in it at least, by row, and what
// was read of it, which never changes.
type image struct {
	must map[string]past
	read map[string]string
}

const randomTable = "projects/p/instances/i/tables/random"

// newKeeper returns a keeper whose transactions suffer like those of servers.
func (w *world) newKeeper() *keeper {
	lock := w.Lock.Client()
	lock.SetHook(w.mishap())
	w.keeperLock = lock
	k := &keeper{Service: snapshot.New(meta.NewStore(lock), w.Net.Node("keeper"))}
	k.mu.images, k.mu.tables, k.mu.did = map[int]*image{}, map[string]int{}, map[string]int{}
	return k
}

func (k *keeper) note(what string, err error) {
	if err != nil {
		what += ", failed"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.did[what]++
}

// draw returns the number of a new image, of now.
func (w *world) draw() int {
	i := &image{must: map[string]past{}, read: map[string]string{}}
	for _, row := range w.rows {
		i.must[row] = w.model.past(row)
	}
	w.keeper.mu.Lock()
	defer w.keeper.mu.Unlock()
	w.keeper.mu.names++
	w.keeper.mu.images[w.keeper.mu.names] = i
	return w.keeper.mu.names
}

// newTable returns the name of a new table of an image.
func (k *keeper) newTable(image int) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.names++
	name := fmt.Sprintf("%s-%d", randomTable, k.mu.names)
	k.mu.tables[name] = image
	return name
}

func snapshotName(n int) string { return fmt.Sprintf("%s/snapshots/%d", admCluster, n) }

// imageOf returns the number of the image of a snapshot.
func imageOf(name string) (n int) {
	_, _ = fmt.Sscanf(name, admCluster+"/snapshots/%d", &n)
	return n
}

// clones returns the tables that were made of images.
func (w *world) clones() []meta.Table {
	tables, _, err := w.Meta.ListTables(w.ctx, randomTable+"-", lockservice.ReadOptions{})
	w.Must(err)
	return tables
}

// keep does one of the things that a keeper does, in the background.
func (w *world) keep() {
	const patience, most = 30 * time.Second, 6
	do := func(what string, f func(ctx context.Context) error) {
		w.ask(func() error {
			ctx, cancel := context.WithTimeout(w.ctx, patience)
			defer cancel()
			err := f(ctx)
			if errors.Is(err, base.ErrCorrupt) {
				w.fail("%s: %v", what, err)
			}
			w.keeper.note(what, err)
			return err
		})
	}
	clones := w.clones()
	items, err := snapshot.New(w.Meta, nil).List(w.ctx, "")
	w.Must(err)
	switch n := w.rand.IntN(100); {
	case n < 25 && len(items) < most:
		do("snapshot", func(ctx context.Context) error {
			_, err := w.keeper.Create(ctx, snapshotName(w.draw()), randomTable, snapshot.Options{})
			return err
		})
	case n < 45 && len(items) > 0 && len(clones) < most:
		name := items[w.rand.IntN(len(items))].Name
		do("clone of a snapshot", func(ctx context.Context) error {
			_, err := w.keeper.Clone(ctx, name, w.keeper.newTable(imageOf(name)))
			return err
		})
	case n < 60 && len(clones) < most:
		do("clone", func(ctx context.Context) error {
			_, _, err := w.keeper.CloneTable(ctx, randomTable, w.keeper.newTable(w.draw()), time.Time{})
			return err
		})
	case n < 70 && len(items) > 0:
		name := items[w.rand.IntN(len(items))].Name
		do("deletion of a snapshot", func(ctx context.Context) error { return w.keeper.Delete(ctx, name) })
	case n < 80 && len(clones) > 0:
		t := clones[w.rand.IntN(len(clones))]
		_, err := w.Meta.DeleteTable(w.ctx, t, time.Now())
		w.keeper.note("deletion", err)
	case n < 100:
		w.undeleteOrDrop()
	}
}

// undeleteOrDrop brings a table back that was deleted, or, where all of its
// tablets are released, ends it.
func (w *world) undeleteOrDrop() {
	w.keeper.mu.Lock()
	names := slices.Sorted(maps.Keys(w.keeper.mu.tables))
	w.keeper.mu.Unlock()
	if len(names) == 0 {
		return
	}
	t, err := w.Meta.DeletedTable(w.ctx, names[w.rand.IntN(len(names))])
	if err != nil {
		return
	}
	if w.rand.IntN(2) == 0 {
		_, err := w.Meta.UndeleteTable(w.ctx, t)
		w.keeper.note("undeletion", err)
		return
	}
	tablets := w.Tablets(w.ctx, t)
	if slices.ContainsFunc(tablets, func(tb meta.Tablet) bool { return tb.State != meta.Unassigned }) {
		return
	}
	w.keeper.note("drop", w.Meta.DropTablets(w.ctx, t, tablets, true))
}

// everyTablet returns the tablets of all tables, and which tables are deleted.
func (w *world) everyTablet() (list []meta.Tablet, deleted map[base.TableID]bool) {
	list, _, err := w.Meta.All(w.ctx, lockservice.ReadOptions{})
	w.Must(err)
	tables, _, err := w.Meta.ListTables(w.ctx, "", lockservice.ReadOptions{})
	w.Must(err)
	deleted = map[base.TableID]bool{}
	for _, tb := range list {
		deleted[tb.Table] = !slices.ContainsFunc(tables, func(t meta.Table) bool { return t.ID == tb.Table })
	}
	return list, deleted
}

// release takes a tablet of a deleted table from its owner.
func (w *world) release(tb meta.Tablet) {
	switch s := w.server(tb.Owner); {
	case tb.State == meta.Assigned:
		c, err := meta.Cancel(tb, time.Now())
		w.Must(err)
		w.commit(c)
	case tb.State == meta.Serving && s != nil:
		w.ask(func() error { return s.Unload(w.ctx, tb) })
	}
}

// readClone reads a row of a table that was made of an image and checks it.
func (w *world) readClone(t meta.Table, row string, patience time.Duration) bool {
	list, err := w.Meta.Locate(w.ctx, t.ID, []byte(row), 0, lockservice.ReadOptions{})
	if err != nil {
		return false // it is gone
	}
	s := w.server(list[0].Owner)
	if s == nil || w.isDeaf(s) {
		return false
	}
	w.keeper.mu.Lock()
	image := w.keeper.mu.images[w.keeper.mu.tables[t.Name]]
	w.keeper.mu.Unlock()
	if image == nil {
		w.fail("nobody made table %s", t.Name)
		return false
	}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	var got rowRead
	err = s.Scan(ctx, list[0], &bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte(row)}}}, got.add)
	if errors.Is(err, base.ErrCorrupt) {
		w.fail("read table %s: %v", t.Name, err)
	}
	if err != nil || w.isDeaf(s) {
		return false
	}
	p := image.must[row]
	p.must = maps.Clone(p.must)
	if got.err == nil {
		got.err = w.model.check(row, &got, p)
	}
	if got.err != nil {
		w.fail("table %s: %v", t.Name, got.err)
	}
	now := fmt.Sprint(got.ids, got.sum, got.last, got.counter)
	w.keeper.mu.Lock()
	defer w.keeper.mu.Unlock()
	if before, ok := image.read[row]; ok && before != now {
		w.fail("table %s: row %s was %s and is %s", t.Name, row, before, now)
	}
	image.read[row] = now
	w.keeper.mu.did["read"]++
	return true
}

// cloneReader reads what was made of images.
func (w *world) cloneReader(r *rand.Rand) {
	for !w.stop.Load() {
		time.Sleep(time.Duration(r.Int64N(int64(100 * time.Millisecond)))) // fake time
		if clones := w.clones(); len(clones) > 0 {
			w.readClone(clones[r.IntN(len(clones))], w.rows[r.IntN(len(w.rows))], time.Duration(r.Int64N(int64(2*time.Second))))
		}
	}
}

// verifyKept makes a table of each snapshot, and checks all that were made, the
// bucket, and that it holds nothing else.
func (w *world) verifyKept() {
	items, err := w.keeper.List(w.ctx, "")
	w.Must(err)
	for _, it := range items {
		_, err := w.keeper.Clone(w.ctx, it.Name, w.keeper.newTable(imageOf(it.Name)))
		w.Must(err)
	}
	for range 20 {
		w.reconcile(true)
		time.Sleep(100 * time.Millisecond) // fake time
	}
	for _, t := range w.clones() {
		for _, row := range w.rows {
			if !w.readClone(t, row, time.Minute) {
				w.t.Errorf("row %s of table %s is not served at the end", row, t.Name)
			}
		}
		for _, tb := range w.Tablets(w.ctx, t) {
			w.verifyObjects(tb)
		}
	}
	w.check()
}

// mustHaveKept checks that the keeper did something.
func (w *world) mustHaveKept() {
	w.keeper.mu.Lock()
	defer w.keeper.mu.Unlock()
	did := w.keeper.mu.did
	var list []string
	for _, what := range slices.Sorted(maps.Keys(did)) {
		list = append(list, fmt.Sprintf("%s %d", what, did[what]))
	}
	w.t.Logf("kept: %s", strings.Join(list, "; "))
	if did["snapshot"]+did["clone"] == 0 || did["read"] == 0 {
		w.t.Error("nothing was kept, or read of it; little was tested")
	}
}

// tell tells a server of a tablet that is its own.
func (w *world) tell(t meta.Tablet) {
	if s := w.server(t.Owner); s != nil && t.ID != 0 {
		// A tablet that is served is told of again; nothing happens.
		_, _ = s.Control().Load(w.ctx, &controlpb.LoadRequest{Tablets: []*controlpb.TabletID{{
			Table: uint64(t.Table), Tablet: uint64(t.ID), End: t.End, Tepoch: uint64(t.Epoch),
		}}})
	}
}
