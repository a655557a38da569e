package fsck_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/admin/fsck"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// world is a small cluster with everything a check looks at: two tablets with
// files and unflushed records, one of which was failed over and needs the
// sealed log of its dead owner.
type world struct {
	*tabletservertest.Fixture
	ctx         context.Context
	ls          lockservice.Client
	table       meta.Table
	left, right meta.Tablet
	dead        base.Incarnation
}

func newWorld(t *testing.T) *world {
	f := tabletservertest.New(t)
	f.Options.NoCompaction = true
	ctx := t.Context()
	w := &world{Fixture: f, ctx: ctx, ls: f.Lock.Client()}
	a, b := f.Open(ctx), f.Open(ctx)
	w.table = f.CreateTable(ctx, "m")
	tablets := f.Tablets(ctx, w.table)
	w.left, w.right = f.Serve(ctx, tablets[0], a), f.Serve(ctx, tablets[1], b)
	f.Must(a.Set(ctx, w.left, "a", "cf", "q", 1000, "one"))
	f.Must(a.Flush(ctx, w.left))
	f.Must(b.Set(ctx, w.right, "x", "cf", "q", 1000, "one"))
	f.Must(b.Flush(ctx, w.right))
	f.Must(b.Set(ctx, w.right, "y", "cf", "q", 1000, "two"))
	f.Must(a.Set(ctx, w.left, "b", "cf", "q", 1000, "two"))
	f.Must(a.Set(ctx, w.left, "c", "cf", "q", 1000, "three"))
	// The right tablet's owner dies; its log is sealed, and nobody loads yet.
	w.dead = b.Incarnation()
	b.Kill()
	f.Expire(ctx, w.dead)
	w.right = f.Bump(ctx, w.right)
	f.Seal(ctx, w.dead)
	now := f.Tablets(ctx, w.table)
	w.left, w.right = now[0], now[1]
	return w
}

func (w *world) check(deep bool) *fsck.Report {
	w.T.Helper()
	r, err := fsck.Run(w.ctx, fsck.Config{LockService: w.ls, Store: w.Store, Deep: deep})
	w.Must(err)
	return r
}

func (w *world) txn(ops ...lockservice.Op) {
	w.T.Helper()
	_, err := w.ls.Txn(w.ctx, lockservice.Txn{Then: ops})
	w.Must(err)
}

// manifestOf returns the key of a tablet's manifest.
func manifestOf(t meta.Tablet) string { return base.ManifestObject(t.Manifest) }

// first returns the key of the first object below a prefix.
func (w *world) first(prefix string) string {
	w.T.Helper()
	for info, err := range w.Store.List(w.ctx, prefix, "") {
		w.Must(err)
		return info.Key
	}
	w.T.Fatalf("nothing below %s", prefix)
	return ""
}

// flip changes a byte in the middle of an object.
func (w *world) flip(key string) {
	w.T.Helper()
	b, err := w.Store.Get(w.ctx, key)
	w.Must(err)
	b[len(b)/3] ^= 0x40
	w.Must(w.Store.Put(w.ctx, key, b))
}

func (w *world) remove(key string) { w.Must(w.Store.Delete(w.ctx, key)) }

// change rewrites a tablet's record without its references.
func (w *world) change(t meta.Tablet, f func(*meta.Tablet)) {
	w.T.Helper()
	f(&t)
	b, err := proto.Marshal(t.Proto())
	w.Must(err)
	w.txn(lockservice.Put(t.Key(), b))
}

func refKey(e base.Incarnation, t base.TabletID) string {
	return fmt.Sprintf("%s%v/%016x", meta.RefPrefix, e, uint64(t))
}

func TestSound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		steps := 0
		r, err := fsck.Run(w.ctx, fsck.Config{LockService: w.ls, Store: w.Store, Deep: true, Progress: func(done, total int) {
			if steps++; done != steps || done > total {
				t.Errorf("step %d: %d of %d", steps, done, total)
			}
		}})
		w.Must(err)
		if r.Problems() != 0 {
			t.Errorf("problems: %v", r.Findings)
		}
		// Noticed: the right tablet has no owner.
		if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].String(), "it is unassigned") {
			t.Errorf("findings: %v", r.Findings)
		}
		if r.Tables != 1 || r.Tablets != 2 || r.Logs != 2 || r.Manifests != 2 || r.SSTables != 2 || r.LogObjects == 0 || r.Bytes == 0 {
			t.Errorf("counted: %+v", r)
		}
		if steps == 0 {
			t.Error("no progress")
		}
	})
}

// TestFindsDamage does one kind of damage after the other to fresh clusters.
func TestFindsDamage(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(w *world)
		deep bool
		want string // in a problem; "": none may be found
	}{
		"sstable gone":         {func(w *world) { w.remove(w.first(base.SSTablePrefix)) }, false, "the SSTable is missing"},
		"sstable cut":          {func(w *world) { w.Must(w.Store.Put(w.ctx, w.first(base.SSTablePrefix), []byte("x"))) }, false, "the SSTable has 1 bytes"},
		"sstable flipped":      {func(w *world) { w.flip(w.first(base.SSTablePrefix)) }, true, "corrupt"},
		"flipped, not deep":    {func(w *world) { w.flip(w.first(base.SSTablePrefix)) }, false, ""},
		"manifest gone":        {func(w *world) { w.remove(manifestOf(w.left)) }, false, "the manifest of tablet 1 is missing"},
		"manifest flipped":     {func(w *world) { w.flip(manifestOf(w.left)) }, false, "the manifest of tablet 1: "},
		"wrong manifest":       {func(w *world) { w.change(w.left, func(t *meta.Tablet) { t.ManifestVersion++ }) }, false, "the record of tablet 1 says"},
		"hole before the seal": {func(w *world) { w.remove(base.LogObject(w.dead, w.lastNeeded())) }, false, "is missing; the log is sealed at"},
		"log object flipped":   {func(w *world) { w.flip(base.LogObject(w.dead, w.lastNeeded())) }, true, "corrupt"},
		"open log flipped":     {func(w *world) { w.flip(base.LogObject(w.left.Owner, w.left.Logs[0].From)) }, true, "corrupt"},
		"seal gone": {func(w *world) {
			l, err := w.Meta.Log(w.ctx, w.dead)
			w.Must(err)
			w.remove(base.LogObject(w.dead, l.End))
		}, false, "its seal at position"},
		"index flipped": {func(w *world) { w.flip(base.LogIndexObject(w.dead)) }, false, ""},
		"log forgotten": {func(w *world) {
			w.txn(lockservice.Delete(meta.LogPrefix+w.dead.String()), lockservice.Delete(meta.LowPrefix+w.dead.String()))
		}, false, "of which there is no record"},
		"low alone":     {func(w *world) { w.txn(lockservice.Delete(meta.LogPrefix + w.dead.String())) }, false, "stands without the log's record"},
		"no reference":  {func(w *world) { w.txn(lockservice.Delete(refKey(w.dead, w.right.ID))) }, false, "there is no reference that keeps the log"},
		"reference off": {func(w *world) { w.txn(lockservice.Put(refKey(w.dead, w.right.ID), make([]byte, 8))) }, false, "but its reference says 0"},
		"reference left over": {func(w *world) {
			w.txn(lockservice.Put(refKey(w.dead, 77), make([]byte, 8)))
		}, false, "tablet 77 is said to need it"},
		"bad reference":   {func(w *world) { w.txn(lockservice.Put(meta.RefPrefix+"x", nil)) }, false, "it is no reference to a log"},
		"hole in a table": {func(w *world) { w.txn(lockservice.Delete(w.left.Key())) }, false, `tablet 2 starts at "m", not at ""`},
		"end of a table":  {func(w *world) { w.txn(lockservice.Delete(w.right.Key())) }, false, `no tablet covers the rows from "m" on`},
		"no schema": {func(w *world) {
			w.txn(lockservice.DeleteRange(meta.TablePrefix, lockservice.PrefixEnd(meta.TablePrefix)))
		}, false, "it has 2 tablets but no schema"},
		"name lost":     {func(w *world) { w.txn(lockservice.Delete(meta.TableNamePrefix + w.table.Name)) }, false, "its name does not lead to it"},
		"name astray":   {func(w *world) { w.txn(lockservice.Put(meta.TableNamePrefix+"other", make([]byte, 8))) }, false, "its name leads to table 0, which is not it"},
		"bad record":    {func(w *world) { w.txn(lockservice.Put(w.left.Key(), []byte("garbage"))) }, false, "corrupt"},
		"serving alone": {func(w *world) { w.change(w.left, func(t *meta.Tablet) { t.Logs = nil }) }, false, "has no entry for its owner's log"},
		"owner of nothing": {func(w *world) {
			w.change(w.left, func(t *meta.Tablet) { t.State = meta.Unassigned })
		}, false, "it is unassigned, but its owner is"},
		"entry past the seal": {func(w *world) {
			w.change(w.right, func(t *meta.Tablet) { t.Logs[0].Closed, t.Logs[0].To = true, 1000 })
		}, false, "past the seal at"},
		"manifest of a backup gone":    {func(w *world) { w.remove(w.backup()) }, false, "the manifest is missing; backup b needs it"},
		"manifest of a backup flipped": {func(w *world) { w.flip(w.backup()) }, false, "backup b needs it: "},
		"sstable of a backup gone": {func(w *world) {
			w.backup()
			w.remove(w.first(base.SSTablePrefix)) // the left tablet's, which has another now
		}, false, "the SSTable is missing; backup b needs it"},
		"bad backup": {func(w *world) { w.txn(lockservice.Put(meta.BackupPrefix+"b", []byte{0xff})) }, false, "backup b"},
		"backup gone": {func(w *world) {
			w.remove(w.backup())
			w.txn(lockservice.Delete(meta.BackupPrefix + "b"))
		}, true, ""},
		"bad root": {func(w *world) { w.txn(lockservice.Put("root/a", []byte{0xff})) }, false, "root index"},
		"garbage is no harm": {func(w *world) {
			w.Must(w.Store.Put(w.ctx, base.SSTableObject(base.FileNumber{Creator: w.dead, Number: 999}), []byte("x")))
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				c.harm(w)
				r := w.check(c.deep)
				found := false
				for _, f := range r.Findings {
					found = found || f.Severity == fsck.Problem && strings.Contains(f.String(), c.want)
				}
				if found != (c.want != "") {
					t.Errorf("want a problem with %q; found %v", c.want, r.Findings)
				}
			})
		})
	}
}

// backup stores a backup "b" of the left tablet, which has other files then, and
// returns the key of the manifest that it alone names.
func (w *world) backup() string {
	w.T.Helper()
	value, err := proto.Marshal(&adminstorepb.Backup{Tablets: []*adminstorepb.BackupTablet{{Manifest: meta.FileNumberProto(w.left.Manifest)}}})
	w.Must(err)
	value, err = proto.Marshal(&adminstorepb.Object{Value: value})
	w.Must(err)
	w.txn(lockservice.Put(meta.BackupPrefix+"b", value))
	a := w.Server(w.left.Owner)
	w.Must(a.Flush(w.ctx, w.left))
	w.Must(a.Compact(w.ctx, w.left))
	return manifestOf(w.left)
}

// TestUnreferenced: what a collection keeps for a tablet, a table that may come
// back or a backup is not counted as unreferenced, and all else is: both take
// the same roots.
//
// To break: leave one of the kinds out of gc.Roots, or out of keepRoots.
func TestUnreferenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		a := w.Server(w.left.Owner)
		gone := w.CreateTable(w.ctx)
		tb := w.Serve(w.ctx, w.Tablets(w.ctx, gone)[0], a)
		w.Must(a.Set(w.ctx, tb, "r", "cf", "q", 1000, "v"))
		w.Must(a.Flush(w.ctx, tb))
		w.Must(a.Unload(w.ctx, tb))
		_, err := w.Meta.DeleteTable(w.ctx, gone, time.Now())
		w.Must(err)
		w.backup()
		c := gc.Config{LockService: w.ls, Store: w.Store, Manifest: manifest.Files(w.Store), DryRun: true, Ask: func(_ context.Context, v meta.Server) (gc.Server, error) {
			s := w.Server(v.Incarnation)
			return gc.Server{Floor: s.Files().Floor(), Pinned: s.Files().Pinned()}, nil
		}}
		for range 2 {
			g, err := gc.Run(w.ctx, c)
			w.Must(err)
			r := w.check(true)
			if r.Problems() != 0 || r.Backups != 1 {
				t.Errorf("%d backups, %v", r.Backups, r.Findings)
			}
			if g.Live.Objects == 0 || g.Deleted.Objects != 2 || g.Backups.Objects != 2 || g.Garbage.Objects == g.Removed && c.DryRun {
				t.Errorf("too little is tested: %+v", g)
			}
			if want := g.InFlight.Objects + g.Pinned.Objects + g.Garbage.Objects - g.Removed; r.Unreferenced != want {
				t.Errorf("%d are unreferenced, want %d: %+v", r.Unreferenced, want, g)
			}
			c.DryRun = false
		}
	})
}

// lastNeeded is the last position of the dead log that the right tablet needs.
func (w *world) lastNeeded() base.Position {
	l, err := w.Meta.Log(w.ctx, w.dead)
	w.Must(err)
	return l.End - 1
}

// TestWhileItWorks checks again and again while tablets are written, flushed,
// compacted and failed over: nothing may look wrong.
func TestWhileItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tabletservertest.New(t)
		defer f.Close()
		w := &world{Fixture: f, ctx: t.Context(), ls: f.Lock.Client()}
		s := []*tabletservertest.Server{f.Open(w.ctx), f.Open(w.ctx), f.Open(w.ctx)}
		tb := f.Serve(w.ctx, f.Tablets(w.ctx, f.CreateTable(w.ctx))[0], s[0])
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 60 {
				f.Must(s[i/30].Set(w.ctx, tb, fmt.Sprint("r", i%7), "cf", "q", int64(i+1)*1000, strings.Repeat("v", 100)))
				if i%3 == 0 {
					f.Must(s[i/30].Flush(w.ctx, tb))
				}
				if i == 29 {
					tb = f.FailOver(w.ctx, tb, s[1])
				}
				time.Sleep(200 * time.Millisecond)
			}
		}()
		for n := 0; ; n++ {
			if r := w.check(true); r.Problems() > 0 {
				t.Errorf("check %d: %v", n, r.Findings)
			}
			select {
			case <-done:
				return
			case <-time.After(70 * time.Millisecond):
			}
		}
	})
}
