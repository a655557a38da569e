package protocol_test

import (
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// TestH1TruncateAfterDeath: a server whose session is dead, and which has
// forgotten a tablet that was taken from it, does not truncate its log.
//
// To break: drop both the loop over refs in tabletserver's truncate and
// SessionAlive in meta.Store.Truncate. The second alone: next test.
func TestH1TruncateAfterDeath(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "w")
		s[0].Deafen()
		b.Expire(b.ctx, s[0].Incarnation())
		bumped := b.Bump(b.ctx, tb)
		if err := s[0].Flush(b.ctx, tb); err == nil {
			t.Fatal("the flush of a dead session succeeded")
		}
		b.want(s[0].Set(b.ctx, tb, "x", "cf", "q", 1000, "late"), base.ErrNotServing) // it noticed
		b.pause(time.Second)
		if l := b.log(tb.Owner); l.Low != 0 {
			t.Errorf("low = %d after the session's death", l.Low)
		}
		b.Seal(b.ctx, tb.Owner)
		tb = b.Serve(b.ctx, bumped, s[1])
		b.wantRows(s[1], tb, "w")
	})
}

// TestH1TruncateComparesSession: low is frozen by the session's death alone,
// and by SEALING.
//
// To break: drop SessionAlive in meta.Store.Truncate.
func TestH1TruncateComparesSession(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		e := a.Incarnation()
		b.Must(b.Meta.Truncate(b.ctx, e, 0, 1))
		b.want(b.Meta.Truncate(b.ctx, e, 0, 2), base.ErrAborted) // not what low was
		a.Deafen()
		b.Expire(b.ctx, e)
		b.want(b.Meta.Truncate(b.ctx, e, 1, 2), base.ErrAborted)
		l, err := b.Meta.BeginSeal(b.ctx, e)
		b.Must(err)
		if l.Low != 1 {
			t.Errorf("low = %d, want 1", l.Low)
		}
	})
}

// fill writes enough to another tablet of s, and flushes it, for the log of s
// to be truncated as far as others let it.
func (b *bubble) fill(s *tabletservertest.Server, tb meta.Tablet) {
	b.t.Helper()
	for range 5 {
		b.set(s, tb, "fill")
	}
	b.Must(s.Flush(b.ctx, tb))
	b.pause(time.Second)
}

// TestH2MoveAway: a tablet moves away with records that are in the old owner's
// log only; the old owner lives on and truncates; the new owner dies before its
// first flush; the third one needs the first one's log.
//
// To break: drop the loop over refs in tabletserver's truncate.
func TestH2MoveAway(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		other := b.Serve(b.ctx, b.table(), s[0])
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "flushed")
		b.writeDuringFlush(s[0], tb, "logged")
		defer b.noFlushes(s[1])()
		tb = b.Move(b.ctx, tb, s[0], s[1])
		if n := len(tb.Logs); n != 2 || !tb.Logs[0].Closed || tb.Logs[0].Log != s[0].Incarnation() {
			t.Fatalf("entries %+v, want one of the old owner, closed, and one of the new", tb.Logs)
		}
		b.set(s[1], tb, "new")
		b.fill(s[0], other)
		if l := b.log(s[0].Incarnation()); l.Low > tb.Logs[0].From {
			t.Errorf("low = %d; the tablet needs the log from %d on", l.Low, tb.Logs[0].From)
		}
		s[1].Kill()
		tb = b.FailOver(b.ctx, tb, s[2])
		b.wantRows(s[2], tb, "flushed", "logged", "new")
		b.Must(s[2].Flush(b.ctx, tb))
		b.fill(s[0], other)
		if l := b.log(s[0].Incarnation()); l.Low <= tb.Logs[0].From {
			t.Errorf("low = %d: nobody needs position %d any more", l.Low, tb.Logs[0].From)
		}
		b.wantRows(s[2], tb, "flushed", "logged", "new")
	})
}

// TestH2MoveAwayAndBack: the tablet comes back to its first owner, which must
// count what it wrote before as well.
//
// To break: drop the loop over rec.Logs in tablet.Needs.
func TestH2MoveAwayAndBack(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		other := b.Serve(b.ctx, b.table(), s[0])
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "flushed")
		b.writeDuringFlush(s[0], tb, "first")
		defer b.noFlushes(s[1])()
		tb = b.Move(b.ctx, tb, s[0], s[1])
		from := tb.Logs[0].From
		b.set(s[1], tb, "second")

		// The second one dies; the first one takes the tablet back.
		s[1].Kill()
		defer b.noFlushes(s[0])()
		tb = b.FailOver(b.ctx, tb, s[0])
		b.set(s[0], tb, "third")
		if n := len(tb.Logs); n != 3 || tb.Logs[0].Log != s[0].Incarnation() {
			t.Fatalf("entries %+v, want three, two of the first owner", tb.Logs)
		}
		for range 5 {
			b.set(s[0], other, "fill")
		}
		b.pause(time.Second)
		if l := b.log(s[0].Incarnation()); l.Low > from {
			t.Errorf("low = %d; the tablet needs the log from %d on", l.Low, from)
		}
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[2])
		b.wantRows(s[2], tb, "first", "flushed", "second", "third")
	})
}
