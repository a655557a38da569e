package protocol_test

import (
	"errors"
	"fmt"
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
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

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
