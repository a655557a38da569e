package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// stepLock and stepStore let a test step in before each call that a collection
// makes; each key is deleted by itself.
type stepLock struct {
	lockservice.Client
	before func(what string) error
}

func (l stepLock) Sessions(ctx context.Context) ([]lockservice.SessionInfo, lockservice.Revision, error) {
	if err := l.before("sessions"); err != nil {
		return nil, 0, err
	}
	return l.Client.Sessions(ctx)
}

func (l stepLock) List(ctx context.Context, start, end string, o lockservice.ReadOptions) ([]lockservice.KV, lockservice.Revision, error) {
	if err := l.before("list " + start); err != nil {
		return nil, 0, err
	}
	return l.Client.List(ctx, start, end, o)
}

func (l stepLock) ListRanges(ctx context.Context, r [][2]string, o lockservice.ReadOptions) ([][]lockservice.KV, lockservice.Revision, error) {
	if err := l.before("ranges from " + r[0][0]); err != nil {
		return nil, 0, err
	}
	return l.Client.ListRanges(ctx, r, o)
}

type stepStore struct {
	objstore.Store
	before func(what string) error
}

func (s stepStore) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if err := s.before("list " + prefix); err != nil {
		return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, err) }
	}
	return s.Store.List(ctx, prefix, after)
}

func (s stepStore) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.before("get " + key); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

func (s stepStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := s.before("delete " + key); err != nil {
			return err
		}
		if err := s.Store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// stepped returns a collection that calls before before each of its steps, and
// ends where that returns an error.
func (b *bubble) stepped(before func(what string) error) gc.Config {
	c := b.gc(b.Store)
	store, ask := stepStore{b.Store, before}, c.Ask
	c.LockService, c.Store, c.Manifest = stepLock{c.LockService, before}, store, manifest.Files(store)
	c.Ask = func(ctx context.Context, s meta.Server) (gc.Server, error) {
		if err := before("ask"); err != nil {
			return gc.Server{}, err
		}
		return ask(ctx, s)
	}
	return c
}

func (b *bubble) backups() adminstore.Collection[*adminstorepb.Backup] {
	return adminstore.Of[*adminstorepb.Backup](b.Lock.Client(), adminstore.Backup, "Backup")
}

// backUp stores a backup of tablets that are flushed, as a gateway does.
func (b *bubble) backUp(name string, list []meta.Tablet) error {
	v := &adminstorepb.Backup{}
	var cond []lockservice.Compare
	for _, t := range list {
		v.Tablets = append(v.Tablets, &adminstorepb.BackupTablet{
			Start: t.Start, End: t.End, Manifest: meta.FileNumberProto(t.Manifest), ManifestVersion: t.ManifestVersion,
			Flushed: uint64(t.Flushed), NextSeq: uint64(max(t.NextSeq, t.Flushed+1)),
		})
		cond = append(cond, lockservice.ModRevisionIs(t.Key(), t.Revision))
	}
	_, err := b.backups().Create(b.ctx, name, 0, v, cond...)
	return err
}

func (b *bubble) deleteBackup(name string) error { return b.backups().Delete(b.ctx, name, nil) }

// restore makes a table of a backup, as a gateway does, of what it read of it.
func (b *bubble) restore(from adminstore.Item[*adminstorepb.Backup], like meta.Table, name string) (meta.Table, error) {
	var list []meta.Tablet
	for _, t := range from.Value.Tablets {
		list = append(list, meta.Tablet{
			Start: t.Start, End: t.End, Manifest: meta.FileNumber(t.Manifest), ManifestVersion: t.ManifestVersion,
			Flushed: base.Seq(t.Flushed), NextSeq: base.Seq(t.NextSeq),
		})
	}
	rec := like.Record
	rec.Name = like.Name + "-" + name
	return b.Meta.RestoreTable(b.ctx, rec, list, time.Now(), lockservice.ModRevisionIs(adminstore.Backup.Key(from.Name), from.Revision))
}

// TestH8RootsFromOneView: a file goes from one kind of root to another while the
// roots are read. A backup alone names it, is restored, and deleted; or a tablet
// names it, is backed up, and dropped with its table.
//
// To break: read the roots of gc.roots range by range, in whichever order.
func TestH8RootsFromOneView(t *testing.T) {
	for _, toTablet := range []bool{true, false} {
		for n := range 4 { // before which reading of roots, 3: after all
			t.Run(fmt.Sprintf("to a tablet %v, before read %d", toTablet, n), func(t *testing.T) {
				history(t, func(b *bubble) {
					b.Options.NoCompaction = true
					s := b.Open(b.ctx)
					table := b.CreateTable(b.ctx)
					tb := b.Serve(b.ctx, b.Tablets(b.ctx, table)[0], s)
					b.set(s, tb, "r")
					b.Must(s.Flush(b.ctx, tb))
					move := func() {
						b.Must(b.backUp("b", b.Tablets(b.ctx, table)))
						b.dropTable(s, table)
					}
					if toTablet {
						move()
						b.pause(time.Second) // nothing has the file open any more
						move = func() {
							it, err := b.backups().Get(b.ctx, "b")
							b.Must(err)
							_, err = b.restore(it, table, "restored")
							b.Must(err)
							b.Must(b.deleteBackup("b"))
						}
					}
					reads := 0
					_, err := gc.Run(b.ctx, b.stepped(func(what string) error {
						roots := len(what) > 5 && (what[:5] == "range" || slices.ContainsFunc(gc.RootPrefixes(), func(p string) bool { return what == "list "+p }))
						if roots || what[:3] == "get" {
							if reads == n || what[:3] == "get" && reads <= n {
								reads = n
								move()
								reads++
							}
							reads++
						}
						return nil
					}))
					b.Must(err)
					if reads <= n {
						move()
					}
					b.check()
				})
			})
		}
	}
}

// dropTable deletes a table for good.
func (b *bubble) dropTable(s *tabletservertest.Server, t meta.Table) {
	b.t.Helper()
	for _, tb := range b.Tablets(b.ctx, t) {
		if tb.State == meta.Serving {
			b.Must(s.Unload(b.ctx, tb))
		}
	}
	t, err := b.Meta.Table(b.ctx, t.ID)
	b.Must(err)
	_, err = b.Meta.DeleteTable(b.ctx, t, time.Now())
	b.Must(err)
	t, err = b.Meta.Table(b.ctx, t.ID)
	b.Must(err)
	b.Must(b.Meta.DropTablets(b.ctx, t, b.Tablets(b.ctx, t), true))
}

// TestH7CopiesOfReferences: who copies a reference to files has no session and
// is slow; meanwhile the files lose their last name and are collected. Neither a
// backup nor a restored table may name them then.
//
// To break: in meta.RestoreTable, leave out cond.
func TestH7CopiesOfReferences(t *testing.T) {
	history(t, func(b *bubble) {
		b.Options.NoCompaction = true
		s := b.Open(b.ctx)
		table := b.CreateTable(b.ctx)
		tb := b.Serve(b.ctx, b.Tablets(b.ctx, table)[0], s)
		rewrite := func(row string) {
			b.set(s, tb, row)
			b.Must(s.Flush(b.ctx, tb))
			b.Must(s.Compact(b.ctx, tb))
			b.pause(time.Second)
		}
		rewrite("a")
		read := b.Tablets(b.ctx, table)
		b.Must(b.backUp("b", read))
		it, err := b.backups().Get(b.ctx, "b")
		b.Must(err)
		rewrite("b")
		b.Must(b.deleteBackup("b"))
		if r := b.collectNow(); r.Removed < 2 {
			t.Errorf("%+v", r)
		}
		_, err = b.restore(it, table, "late")
		b.want(err, base.ErrAborted)
		b.want(b.backUp("late", read), base.ErrAborted)
		b.check()
		b.wantRows(s, tb, "a", "b")
	})
}

// TestH9BackupNeedsNoLog: the log goes on, is truncated and its server dies: the
// backup has what was acknowledged before it, without a record of a log, and a
// collection keeps all that it needs.
//
// To break: take the backup before the flush has committed (without the flush).
func TestH9BackupNeedsNoLog(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		table := b.CreateTable(b.ctx)
		tb := b.Serve(b.ctx, b.Tablets(b.ctx, table)[0], s[0])
		b.set(s[0], tb, "a", "w")
		b.Must(s[0].Flush(b.ctx, tb))
		b.Must(b.backUp("b", b.Tablets(b.ctx, table)))
		e := tb.Owner
		b.set(s[0], tb, "x")
		b.Must(s[0].Flush(b.ctx, tb))
		b.Must(s[0].Compact(b.ctx, tb))
		b.pause(5 * time.Second)
		if b.log(e).Low == 0 {
			t.Error("the backup keeps the log")
		}
		tb = b.FailOver(b.ctx, tb, s[1])
		s[0].Kill()
		b.Must(s[1].Flush(b.ctx, tb))
		b.dropTable(s[1], table)
		b.pause(5 * time.Second)
		b.collectNow()
		it, err := b.backups().Get(b.ctx, "b")
		b.Must(err)
		restored, err := b.restore(it, table, "restored")
		b.Must(err)
		b.Must(b.deleteBackup("b"))
		b.collectNow()
		back := b.Serve(b.ctx, b.Tablets(b.ctx, restored)[0], s[1])
		if len(back.Logs) != 1 || back.Logs[0].Log != s[1].Incarnation() {
			t.Errorf("it needs logs %+v", back.Logs)
		}
		b.wantRows(s[1], back, "a", "w")
		b.check()
	})
}

// yard is a cluster with all kinds of files, garbage among them.
type yard struct {
	*stage
	table, kept meta.Table // kept is deleted and may come back
	item        adminstore.Item[*adminstorepb.Backup]
	restored    meta.Table // where there is one
	release     func()     // of a flush that hangs
	flush       <-chan error
}

func newYard(b *bubble) *yard {
	b.Options.NoCompaction = true
	y := &yard{stage: &stage{bubble: b}}
	y.s = b.servers(3)
	l, r := b.pair(y.s[0])
	y.list = []meta.Tablet{l, r}
	var err error
	y.table, err = b.Meta.Table(b.ctx, l.Table)
	b.Must(err)
	y.put("a", "g", "n", "x")
	y.flushAll()
	y.put("b", "o")
	y.flushAll()
	b.Must(b.backUp("b", b.Tablets(b.ctx, y.table)))
	y.item, err = b.backups().Get(b.ctx, "b")
	b.Must(err)
	y.put("c", "p")
	b.Must(y.s[0].Compact(b.ctx, l))
	y.kept = b.CreateTable(b.ctx)
	tb := b.Serve(b.ctx, b.Tablets(b.ctx, y.kept)[0], y.s[1])
	b.set(y.s[1], tb, "k")
	b.Must(y.s[1].Unload(b.ctx, tb))
	_, err = b.Meta.DeleteTable(b.ctx, y.kept, time.Now())
	b.Must(err)
	dead := b.Open(b.ctx)
	b.Must(b.Store.PutIfAbsent(b.ctx, base.SSTableObject(base.FileNumber{Creator: dead.Incarnation(), Number: 1}), []byte("orphan")))
	dead.Kill()
	b.Expire(b.ctx, dead.Incarnation())
	b.pause(time.Second)
	return y
}

func (y *yard) at(row string) meta.Tablet {
	if row < "m" {
		return y.list[0]
	}
	return y.list[1]
}

func (y *yard) put(rows ...string) {
	for _, row := range rows {
		y.set(y.s[0], y.at(row), row)
		y.rows = append(y.rows, row)
	}
}

func (y *yard) flushAll() {
	for _, tb := range y.list {
		y.Must(y.s[0].Flush(y.ctx, tb))
	}
}

// hang begins a flush that does not get to write its manifest.
func (y *yard) hang() {
	y.put("d")
	y.release = y.s[0].Store.Hang(tabletservertest.Put, base.ManifestPrefix)
	y.flush = y.background(func() error { return y.s[0].Flush(y.ctx, y.list[0]) })
	y.running("the flush", y.flush)
}

// hangCommit begins a flush that has written its manifest, which is not named
// yet: the transaction is lost again and again.
func (y *yard) hangCommit() {
	y.put("d")
	y.s[0].Lock.SetHook(func(x lockservice.Txn, _ int) lockmem.Fault {
		if writesTablet(x) {
			return lockmem.LoseRequest
		}
		return lockmem.Deliver
	})
	y.release = func() { y.s[0].Lock.SetHook(nil) }
	y.flush = y.background(func() error { return y.s[0].Flush(y.ctx, y.list[0]) })
	y.running("the flush", y.flush)
}

func (y *yard) letGo() {
	y.release()
	y.Must(<-y.flush)
}

// verify checks that everything is there, also after a last fail-over and
// collection, what may come back included.
func (y *yard) verify(when string) {
	y.t.Helper()
	y.check()
	list := y.dieAndServe(y.table.ID, y.s[0], y.s[2])
	y.wantRowsAnywhere(when, list)
	y.collectNow()
	y.pause(time.Second)
	y.collectNow()
	if r := y.collectNow(); r.Garbage.Objects != 0 {
		y.t.Errorf("%s: garbage is left: %+v", when, r)
	}
	y.check()
	y.wantRowsAnywhere(when, y.Tablets(y.ctx, y.table))
	kept, err := y.Meta.Table(y.ctx, y.kept.ID)
	y.Must(err)
	if kept.Record.Deleted {
		_, err = y.Meta.UndeleteTable(y.ctx, kept)
		y.Must(err)
	}
	y.wantRows(y.s[2], y.Serve(y.ctx, y.Tablets(y.ctx, kept)[0], y.s[2]), "k")
	if y.restored.ID == 0 {
		y.restored, err = y.restore(y.item, y.table, "at the end")
		y.Must(err)
	}
	halves := y.Tablets(y.ctx, y.restored)
	y.wantRows(y.s[2], y.Serve(y.ctx, halves[0], y.s[2]), "a", "b", "g")
	y.wantRows(y.s[2], y.Serve(y.ctx, halves[1], y.s[2]), "n", "o", "x")
	y.check()
}

// TestCollectorDies kills a collection before each of its steps: the listings,
// the questions, the roots, each manifest and each deletion. Nothing that is
// named is lost, and the next collection finishes the work.
//
// To break: in gc.decide, take backups for unnamed.
func TestCollectorDies(t *testing.T) {
	killed := errors.New("killed")
	points := 0
	for reached := true; reached; points++ {
		history(t, func(b *bubble) {
			y := newYard(b)
			var n atomic.Int64
			_, err := gc.Run(b.ctx, b.stepped(func(string) error {
				if n.Add(1) > int64(points) {
					return killed
				}
				return nil
			}))
			if reached = err != nil; reached && !errors.Is(err, killed) {
				t.Fatal(err)
			}
			y.verify(fmt.Sprintf("killed at step %d", points))
		})
	}
	if t.Logf("%d crash points", points); points < 15 {
		t.Errorf("%d crash points: little was tested", points)
	}
}

// TestCollectMeanwhile does everything that changes what is named, or who may
// name something, before each step of a collection. A collection may give up,
// but what is named stays.
//
// To break: in gc.Run, read the roots before asking the servers, or list last; in
// gc.decide, do not look at the floor, or take backups for unnamed.
func TestCollectMeanwhile(t *testing.T) {
	type event struct{ before, at, after func(y *yard) }
	for name, e := range map[string]event{
		"flush":                           {at: func(y *yard) { y.put("e"); y.flushAll() }},
		"compaction":                      {at: func(y *yard) { y.Must(y.s[0].Compact(y.ctx, y.list[1])) }},
		"flush begins":                    {at: (*yard).hang, after: (*yard).letGo},
		"flush commits":                   {before: (*yard).hang, at: (*yard).letGo},
		"flush is undecided":              {at: (*yard).hangCommit, after: (*yard).letGo},
		"flush was undecided":             {before: (*yard).hangCommit, at: (*yard).letGo},
		"flush of unknown outcome, death": {before: (*yard).hangCommit, at: func(y *yard) { y.s[0].Kill(); y.Expire(y.ctx, y.s[0].Incarnation()) }},
		"split and flush": {at: func(y *yard) {
			l, r := y.split(y.s[0], y.list[0], "f")
			y.Must(y.s[0].Flush(y.ctx, l))
			y.Must(y.s[0].Compact(y.ctx, r))
		}},
		"merge": {at: func(y *yard) { y.merge(y.s[0], y.list[0], y.list[1]) }},
		"move and compaction": {at: func(y *yard) {
			tb := y.Move(y.ctx, y.list[0], y.s[0], y.s[1])
			y.Must(y.s[1].Compact(y.ctx, tb))
		}},
		"death": {at: func(y *yard) {
			y.s[0].Kill()
			y.Expire(y.ctx, y.s[0].Incarnation())
		}},
		"death in a flush": {before: (*yard).hang, at: func(y *yard) {
			y.s[0].Deafen()
			y.Expire(y.ctx, y.s[0].Incarnation())
			y.release()
		}},
		"another server": {at: func(y *yard) {
			s := y.Open(y.ctx)
			tb := y.Move(y.ctx, y.list[1], y.s[0], s)
			y.set(s, tb, "z")
			y.rows = append(y.rows, "z")
			y.Must(s.Flush(y.ctx, tb))
			y.list[1] = y.Move(y.ctx, tb, s, y.s[0])
		}},
		"drop of rows": {at: func(y *yard) {
			y.Must(y.s[0].Drop(y.ctx, y.list[0], nil, "b", "d"))
			y.Must(y.s[0].Flush(y.ctx, y.list[0]))
			y.rows = slices.DeleteFunc(y.rows, func(r string) bool { return r == "b" || r == "c" })
		}},
		"restore, and the backup goes": {at: func(y *yard) {
			var err error
			y.restored, err = y.restore(y.item, y.table, "meanwhile")
			y.Must(err)
			y.Must(y.deleteBackup("b"))
		}},
		"backup, and the files change": {at: func(y *yard) {
			y.Must(y.backUp("c", y.Tablets(y.ctx, y.table)))
			y.Must(y.s[0].Compact(y.ctx, y.list[1]))
		}},
		"undelete": {at: func(y *yard) {
			kept, err := y.Meta.Table(y.ctx, y.kept.ID)
			y.Must(err)
			_, err = y.Meta.UndeleteTable(y.ctx, kept)
			y.Must(err)
		}},
		"deletion of a restored table": {at: func(y *yard) {
			x, err := y.restore(y.item, y.table, "for a moment")
			y.Must(err)
			y.dropTable(y.s[1], x)
		}},
		"another collector": {at: func(y *yard) { y.collectNow() }},
	} {
		t.Run(name, func(t *testing.T) {
			points := 0
			for reached := true; reached; points++ {
				history(t, func(b *bubble) {
					y := newYard(b)
					if e.before != nil {
						e.before(y)
					}
					var n atomic.Int64
					_, err := gc.Run(b.ctx, b.stepped(func(string) error {
						if n.Add(1) == int64(points)+1 {
							e.at(y)
						}
						return nil
					}))
					if err != nil && !errors.Is(err, base.ErrUnavailable) && !errors.Is(err, objstore.ErrNotFound) {
						t.Errorf("step %d: %v", points, err)
					}
					if reached = n.Load() > int64(points); !reached {
						e.at(y)
					}
					if e.after != nil {
						e.after(y)
					}
					y.verify(fmt.Sprintf("%s before step %d", name, points))
				})
			}
			if points < 15 {
				t.Errorf("%d points: little was tested", points)
			}
		})
	}
}
