package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

func (b *bubble) collectNow() *gc.Report {
	b.t.Helper()
	r, err := b.tryCollect()
	b.Must(err)
	return r
}

// tryCollect collects; an error voids the round.
func (b *bubble) tryCollect() (*gc.Report, error) { return gc.Run(b.ctx, b.gc(b.Store)) }

// TestCollect: what compactions, drops and fail-overs leave behind goes, what a
// tablet, a deleted table or a backup names stays.
//
// To break: leave one of the ranges out of gc.roots.
func TestCollect(t *testing.T) {
	history(t, func(b *bubble) {
		b.Options.NoCompaction = true
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		for i := range 4 {
			b.set(s[0], tb, fmt.Sprint("r", i))
			b.Must(s[0].Flush(b.ctx, tb))
		}
		if r := b.collectNow(); r.Live != (gc.Count{Objects: 5, Bytes: r.Live.Bytes}) || r.Removed != 3 { // old manifests
			t.Errorf("%+v", r)
		}
		// A backup of this, then everything is rewritten.
		rec := b.Record(b.ctx, tb)
		backup := &adminstorepb.Backup{Tablets: []*adminstorepb.BackupTablet{{Manifest: meta.FileNumberProto(rec.Manifest)}}}
		value, err := proto.Marshal(backup)
		b.Must(err)
		value, err = proto.Marshal(&adminstorepb.Object{Value: value})
		b.Must(err)
		ls := b.Lock.Client()
		_, err = ls.Txn(b.ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Put(meta.BackupPrefix+"b", value)}})
		b.Must(err)
		b.Must(s[0].Compact(b.ctx, tb))
		tb = b.FailOver(b.ctx, tb, s[1])
		if r := b.collectNow(); r.Live.Objects != 2 || r.Backups.Objects != 5 || r.Removed != 0 {
			t.Errorf("%+v", r)
		}
		_, err = ls.Txn(b.ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Delete(meta.BackupPrefix + "b")}})
		b.Must(err)
		if r := b.collectNow(); r.Removed != 5 {
			t.Errorf("%+v", r)
		}
		table, err := b.Meta.Table(b.ctx, tb.Table)
		b.Must(err)
		_, err = b.Meta.DeleteTable(b.ctx, table, time.Now())
		b.Must(err)
		if r := b.collectNow(); r.Deleted.Objects != 2 || r.Removed != 0 {
			t.Errorf("%+v", r)
		}
		table, err = b.Meta.Table(b.ctx, tb.Table)
		b.Must(err)
		_, err = b.Meta.UndeleteTable(b.ctx, table)
		b.Must(err)
		b.pause(time.Second)
		b.wantRows(s[1], tb, "r0", "r1", "r2", "r3")
		b.Must(s[1].Drop(b.ctx, tb, nil, "", ""))
		b.Must(s[1].Flush(b.ctx, tb))
		b.pause(time.Second)
		if r := b.collectNow(); r.Live.Objects != 1 || r.Removed == 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestH4InFlightFiles: a flush has written its file and not committed yet: a
// collection in between leaves it alone, for the server says that it is in
// flight. A dry run, and a round in which a server does not answer, delete
// nothing.
//
// To break: in gc.decide, do not look at the floor.
func TestH4InFlightFiles(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		b.set(a, tb, "r")
		release := a.Store.Hang(tabletservertest.Put, base.ManifestPrefix)
		flush := b.background(func() error { return a.Flush(b.ctx, tb) })
		b.running("the flush", flush)
		if r := b.collectNow(); r.InFlight.Objects != 1 || r.Removed != 0 {
			t.Errorf("%+v", r)
		}
		release()
		b.Must(<-flush)
		b.Must(a.Compact(b.ctx, tb))
		c := b.gc(b.Store)
		c.DryRun = true
		r, err := gc.Run(b.ctx, c)
		if b.Must(err); r.Removed != 0 {
			t.Errorf("%+v", r)
		}
		c = b.gc(b.Store)
		c.Ask = func(context.Context, meta.Server) (gc.Server, error) { return gc.Server{}, base.ErrUnavailable }
		if _, err := gc.Run(b.ctx, c); !errors.Is(err, base.ErrUnavailable) {
			t.Errorf("a server did not answer: %v", err)
		}
		b.wantRows(a, tb, "r")
		tb = b.FailOver(b.ctx, tb, b.Open(b.ctx))
		b.collectNow()
		b.wantRows(b.Server(tb.Owner), tb, "r")
	})
}

// TestH3ZombiesFile: a file of a server whose session has ended is collected,
// and its commit cannot name it any more.
func TestH3ZombiesFile(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "r")
		release := s[0].Store.Hang(tabletservertest.Put, base.ManifestPrefix)
		flush := b.background(func() error { return s[0].Flush(b.ctx, tb) })
		b.running("the flush", flush)
		s[0].Deafen()
		b.Expire(b.ctx, tb.Owner)
		if r := b.collectNow(); r.Removed != 1 {
			t.Errorf("%+v", r)
		}
		release()
		b.pause(time.Second) // it tries
		tb = b.FailOver(b.ctx, tb, s[1])
		if <-flush == nil {
			t.Error("a zombie has committed a flush")
		}
		b.wantRows(s[1], tb, "r")
	})
}
