package protocol_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
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
