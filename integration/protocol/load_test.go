package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// failureOf returns why a server stopped loading a tablet; "" while it loads or
// serves it, "absent" if it does not have it.
func (b *bubble) failureOf(s *tabletservertest.Server, t meta.Tablet) string {
	b.t.Helper()
	st, err := s.Control().Status(b.ctx, &controlpb.StatusRequest{})
	b.Must(err)
	i := slices.IndexFunc(st.Tablets, func(l *controlpb.TabletLoad) bool { return l.Tablet == uint64(t.ID) })
	if i < 0 {
		return "absent"
	}
	return st.Tablets[i].Error
}

// cancel takes an assignment back.
func (b *bubble) cancel(t meta.Tablet) meta.Tablet {
	b.t.Helper()
	c, err := meta.Cancel(b.Record(b.ctx, t), time.Now())
	b.Must(err)
	done, err := b.Meta.Commit(b.ctx, c)
	b.Must(err)
	return done[0]
}

// refused checks that a server neither reads nor writes a tablet.
func (b *bubble) refused(s *tabletservertest.Server, t meta.Tablet) {
	b.t.Helper()
	_, err := s.Read(b.ctx, t, &bigtablepb.ReadRowsRequest{})
	b.want(err, base.ErrNotServing)
	b.want(s.Set(b.ctx, t, "w", "cf", "q", 1000, "x"), base.ErrNotServing)
	_, err = b.noBranch(b.ctx, s, t, "w")
	b.want(err, base.ErrNotServing)
	_, err = s.Increment(b.ctx, t, "w", "cf", "n", 1)
	b.want(err, base.ErrNotServing)
}

// TestH15NoReadsBeforeRegistration: a server that loads a tablet answers
// nothing; the master may cancel the load, and another one serves.
//
// To break: in tablet.load, store the state Serving before register.
func TestH15NoReadsBeforeRegistration(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "w")
		s[0].Kill()
		dead := tb.Owner
		b.Must(b.Lock.Client().Revoke(b.ctx, dead, false)) // its lease may still run (R15)
		b.Seal(b.ctx, dead)
		loading := b.Assign(b.ctx, b.Bump(b.ctx, tb), s[1])
		b.Tell(b.ctx, loading, s[1])
		b.pause(time.Second)
		b.refused(s[1], loading)
		elsewhere := b.Assign(b.ctx, b.cancel(loading), s[2])
		b.Tell(b.ctx, elsewhere, s[2])
		now := b.AwaitServing(b.ctx, elsewhere)
		b.pause(time.Second)
		b.refused(s[1], loading)
		if why := b.failureOf(s[1], tb); why != "absent" {
			t.Errorf("the cancelled load ended with %q", why)
		}
		b.wantRows(s[2], now, "w")
	})
}

// TestH15OnlyLoadsAreCancelled: a registered owner loses the tablet by its own
// transaction, or by its session's death.
//
// To break: drop the check of the state in meta.Cancel, or the revisions in
// meta's txn, or SessionDead in meta.Bump, or in meta.Assign.
func TestH15OnlyLoadsAreCancelled(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		assigned := b.Assign(b.ctx, b.table(), s[0])
		cancel, err := meta.Cancel(assigned, time.Now())
		b.Must(err)
		b.Tell(b.ctx, assigned, s[0])
		tb := b.AwaitServing(b.ctx, assigned)
		commit := func(c meta.Change) error { _, err := b.Meta.Commit(b.ctx, c); return err }
		b.want(commit(cancel), base.ErrAborted) // it came too late
		_, err = meta.Cancel(tb, time.Now())
		b.want(err, base.ErrPrecondition)
		b.want(commit(meta.Bump(tb, time.Now())), base.ErrAborted)
		b.want(commit(meta.Assign(tb, meta.Server{Incarnation: s[1].Incarnation()}, time.Now())), base.ErrAborted)
		b.set(s[0], tb, "w")
		b.wantRows(s[0], tb, "w")
	})
}

// TestH15UnloadDuringLoad: a server is told to give up a tablet that it loads,
// at the moment it registers. The tablet must not end as served in the record
// and nowhere else.
//
// To break: in tablet.register, store Serving whatever the state is.
func TestH15UnloadDuringLoad(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		rec := b.Assign(b.ctx, b.table(), s[0])
		goOn := b.holdRegistering(rec, s[0])
		b.Must(s[0].Unload(b.ctx, rec))
		goOn()
		b.pause(time.Second)
		now := b.Record(b.ctx, rec)
		switch now.State {
		case meta.Unassigned:
			now = b.Serve(b.ctx, now, s[1])
			b.set(s[1], now, "w")
		default:
			b.Tell(b.ctx, now, s[0])
			now = b.AwaitServing(b.ctx, now)
			b.pause(time.Second)
			b.set(s[0], now, "w")
		}
	})
}

// holdRegistering tells a server to load a tablet, and returns when its
// transaction that registers the tablet is on its way, where it stays until
// goOn is called.
func (b *bubble) holdRegistering(rec meta.Tablet, s *tabletservertest.Server) (goOn func()) {
	registering, held := make(chan struct{}), make(chan struct{})
	s.Lock.SetHook(func(x lockservice.Txn, _ int) (f lockmem.Fault) {
		if writesTablet(x) {
			s.Lock.SetHook(nil)
			close(registering)
			<-held
		}
		return f
	})
	b.Tell(b.ctx, rec, s)
	<-registering
	return func() { close(held) }
}

// TestH15SecondLoad: a load is abandoned while it registers, and the server is
// told again to load the tablet before that is over. One of the two loads must
// not give away what the other one serves.
//
// To break: in tabletserver's load, replace a stopped tablet whose Load has not
// returned.
func TestH15SecondLoad(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		rec := b.Assign(b.ctx, b.table(), s[0])
		goOn := b.holdRegistering(rec, s[0])
		b.Must(s[0].Unload(b.ctx, rec))
		b.Tell(b.ctx, rec, s[0])
		b.pause(time.Second)
		var acked []string
		write := func(row string) {
			if s[0].Set(b.ctx, b.Record(b.ctx, rec), row, "cf", "q", 1000, "v"+row) == nil {
				acked = append(acked, row)
			}
		}
		write("a")
		goOn()
		b.pause(time.Second)
		write("b")
		now := b.Record(b.ctx, rec)
		if now.State == meta.Unassigned {
			now = b.Serve(b.ctx, now, s[1])
		} else {
			s[0].Kill()
			now = b.FailOver(b.ctx, now, s[1])
		}
		b.wantRows(s[1], now, acked...)
	})
}

// TestH15OldHint: a server reads the record of a tablet it is told to load, and
// by the time it acts on that the assignment was taken back and the server
// serves the tablet at a later epoch.
//
// To break: in tabletserver's load, replace whatever has another epoch.
func TestH15OldHint(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		old := b.Assign(b.ctx, b.table(), a)
		var tb meta.Tablet
		a.AfterGet(meta.TabletPrefix, func() {
			tb = b.Serve(b.ctx, b.cancel(old), a)
			b.set(a, tb, "w")
		})
		b.Tell(b.ctx, old, a)
		b.pause(time.Second)
		b.wantRows(a, tb, "w")
	})
}

// TestH16LeaseOfRevokedOwner: a session is revoked without proof that its
// process is dead. The process may go on to answer reads until its deadline; a
// new owner seals and loads at once, but serves nothing before.
//
// To break: in meta.Register, compare SessionDead instead of SessionGone.
func TestH16LeaseOfRevokedOwner(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "w")
		s[0].Lock.Partition(true) // it does not hear of it
		revoked := time.Now()
		b.Must(b.Lock.Client().Revoke(b.ctx, tb.Owner, false))
		b.Seal(b.ctx, tb.Owner)
		next := b.Assign(b.ctx, b.Bump(b.ctx, tb), s[1])
		b.Tell(b.ctx, next, s[1])
		reads := 0
		for {
			b.pause(50 * time.Millisecond)
			serving := b.Record(b.ctx, tb).State == meta.Serving
			ctx, cancel := context.WithTimeout(b.ctx, time.Millisecond)
			_, err := s[0].Read(ctx, tb, &bigtablepb.ReadRowsRequest{})
			cancel()
			if err == nil {
				reads++
			}
			if err == nil && serving {
				t.Fatal("old and new owner both answer reads")
			}
			if serving {
				break
			}
		}
		if waited := time.Since(revoked); waited < tabletservertest.TTL-100*time.Millisecond || waited > tabletservertest.TTL+time.Second {
			t.Errorf("the new owner serves %v after the revocation, want about %v", waited, tabletservertest.TTL)
		}
		if reads == 0 {
			t.Error("the old owner answered no reads; the test shows nothing")
		}
		b.wantRows(s[1], b.Record(b.ctx, tb), "w")
	})
}

// TestH25EntryBelowLow: a tablet without writes registered at position 0; the
// log was truncated far beyond by others. Loading it is not an error.
//
// To break: in wal.Bounds.Clip, take From as it is.
func TestH25EntryBelowLow(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		clean := b.Serve(b.ctx, b.table(), s[0])
		other := b.Serve(b.ctx, b.table(), s[0])
		b.fill(s[0], other)
		if l := b.log(s[0].Incarnation()); clean.Logs[0].From >= l.Low {
			t.Fatalf("low = %d, the entry starts at %d; the test shows nothing", l.Low, clean.Logs[0].From)
		}
		s[0].Kill()
		clean = b.FailOver(b.ctx, clean, s[1])
		b.wantRows(s[1], clean)
	})
}

// TestH25EntryBeyondEnd: a tablet registered behind batches that never became
// durable: its entry starts beyond the end of the log.
//
// To break: in wal.Replay, return early only where from == to.
func TestH25EntryBeyondEnd(t *testing.T) {
	history(t, func(b *bubble) {
		b.Options.Linger = time.Millisecond
		s := b.servers(2)
		other := b.Serve(b.ctx, b.table(), s[0])
		s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(other.Owner))
		for _, row := range []string{"x", "y", "z"} {
			b.pending(s[0], other, row)
			b.pause(10 * time.Millisecond)
		}
		tb := b.Serve(b.ctx, b.table(), s[0])
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		if l := b.log(s[0].Incarnation()); l.End != 0 {
			t.Fatalf("end = %d; the test shows nothing", l.End)
		}
		b.wantRows(s[1], tb)
		b.set(s[1], tb, "w")
		b.wantRows(s[1], tb, "w")
	})
}

// TestH25LoaderLostTablet: while a server reads a log for a tablet, the tablet
// is given to another, served, flushed, and the log is collected. The server
// stops quietly.
//
// To break: in tablet.lostOr, do not read the record again.
func TestH25LoaderLostTablet(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "w")
		s[0].Kill()
		b.Expire(b.ctx, tb.Owner)
		b.Seal(b.ctx, tb.Owner)
		s[1].Store.Once(tabletservertest.Get, base.LogObject(tb.Owner, 0), func() {
			now := b.Serve(b.ctx, b.cancel(tb), s[2])
			b.Must(s[2].Flush(b.ctx, now))
			b.Must(b.Store.Delete(b.ctx, base.LogObject(tb.Owner, 0)))
		})
		b.Tell(b.ctx, b.Assign(b.ctx, b.Bump(b.ctx, tb), s[1]), s[1])
		b.pause(time.Second)
		if why := b.failureOf(s[1], tb); why != "absent" {
			t.Errorf("the load that lost its tablet ended with %q", why)
		}
		b.wantRows(s[2], b.Record(b.ctx, tb), "w")
	})
}

// TestH25MissingObject: an object that the tablet needs is gone. The tablet is
// not served as if it had never been there.
//
// To break: in tablet.replay, go on after objstore.ErrNotFound.
func TestH25MissingObject(t *testing.T) {
	for _, what := range []string{"log object", "manifest"} {
		t.Run(what, func(t *testing.T) {
			history(t, func(b *bubble) {
				s := b.servers(2)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.set(s[0], tb, "a")
				b.Must(s[0].Flush(b.ctx, tb))
				b.set(s[0], tb, "b")
				rec := b.Record(b.ctx, tb)
				s[0].Kill()
				b.Expire(b.ctx, tb.Owner)
				b.Seal(b.ctx, tb.Owner)
				missing := base.LogObject(tb.Owner, rec.Logs[0].From)
				if what == "manifest" {
					missing = base.ManifestObject(rec.Manifest)
				}
				b.Must(b.Store.Delete(b.ctx, missing))
				next := b.Assign(b.ctx, b.Bump(b.ctx, tb), s[1])
				b.Tell(b.ctx, next, s[1])
				b.pause(time.Second)
				why := b.failureOf(s[1], tb)
				if !strings.Contains(why, base.ErrCorrupt.Error()) || !strings.Contains(why, missing) {
					t.Errorf("failure %q; want corruption that names %s", why, missing)
				}
				if err := s[1].Set(b.ctx, next, "row", "cf", "q", 1000, "x"); !errors.Is(err, base.ErrCorrupt) {
					t.Errorf("a write to the damaged tablet gave %v", err)
				}
			})
		})
	}
}

// TestH26CleanTabletsReadNoLog: tablets that left nothing in the dead server's
// log load without reading any of its objects, but for one index read for all.
//
// To break: in tablet.Logs.index, return nil; or forget the index in look.
func TestH26CleanTabletsReadNoLog(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		var splits []string
		for i := range 20 {
			splits = append(splits, fmt.Sprintf("%02d", i))
		}
		tablets := b.Tablets(b.ctx, b.CreateTable(b.ctx, splits...))
		for i := range tablets {
			tablets[i] = b.Serve(b.ctx, tablets[i], s[0])
		}
		dirty := tablets[0]
		for range 30 {
			b.set(s[0], dirty, "!")
		}
		dead := s[0].Incarnation()
		s[0].Kill()
		b.Expire(b.ctx, dead)
		b.Seal(b.ctx, dead)
		s[1].Store.Reset()
		for _, tb := range tablets[1:] {
			b.Serve(b.ctx, b.Bump(b.ctx, tb), s[1])
		}
		index := s[1].Store.Count(tabletservertest.Get, base.LogIndexObject(dead))
		if all := s[1].Store.Count(tabletservertest.Get, base.LogPrefix(dead)); index != 1 || all != 1 {
			t.Errorf("%d reads of the log, %d of them of its index; want the one", all, index)
		}
		b.Serve(b.ctx, b.Bump(b.ctx, dirty), s[1])
		if n := s[1].Store.Count(tabletservertest.Get, base.LogPrefix(dead)); n != 31 {
			t.Errorf("%d reads of the log for a tablet with 30 extents, want 1 + 30", n)
		}
	})
}

// TestLoadWithOldSchema: a family was created and written to a moment before
// its tablet's server died; the next server has not heard of the family. It
// must not take the cells for those of a family that was dropped, and lose them
// at its first flush.
//
// To break: in tablet.load, do not refresh the schema.
func TestLoadWithOldSchema(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		table := b.CreateTable(b.ctx)
		tb := b.Serve(b.ctx, b.Tablets(b.ctx, table)[0], s[0])
		b.set(s[0], tb, "w")
		release := s[1].HoldWatches()
		rec := proto.CloneOf(table.Record)
		rec.Families = append(rec.Families, &metapb.Family{Id: 3, Name: "young"})
		rec.NextFamily = 4
		_, err := b.Meta.UpdateTable(b.ctx, table, rec)
		b.Must(err)
		b.Must(s[0].Set(b.ctx, tb, "w", "young", "q", 1000, "x"))
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		b.Must(s[1].Flush(b.ctx, tb))
		release()
		b.pause(time.Second)
		if got := s[1].All(b.ctx, tb); !slices.Equal(got, []string{"w cf:q@1000=vw young:q@1000=x"}) {
			t.Errorf("rows %q", got)
		}
	})
}
