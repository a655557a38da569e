package protocol_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// forgetful is a lock service that remembers no decisions, so that a retry is
// recognised by what stands on its keys only.
func forgetful() lockmem.Options {
	return lockmem.Options{State: state.Options{Decisions: -1}}
}

// TestH3CommitAfterDeath: the session dies while a flush is under way. Its
// files may be collected from then on, so that it must not be committed, nor
// may any other change of the record.
//
// To break: drop SessionAlive in meta.Flush (and, for the release, meta.Release).
func TestH3CommitAfterDeath(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "w")
		before := b.Record(b.ctx, tb)
		s[0].Deafen()
		s[0].Store.Once(tabletservertest.Put, base.ManifestPrefix, func() { b.Expire(b.ctx, tb.Owner) })
		flushed := b.background(func() error { return s[0].Flush(b.ctx, tb) })
		b.pause(time.Second)
		released := b.background(func() error { return s[0].Unload(b.ctx, tb) })
		b.pause(time.Second)
		if after := b.Record(b.ctx, tb); after.Revision != before.Revision {
			t.Fatalf("the record was changed for a dead session: %+v", after)
		}
		tb = b.FailOver(b.ctx, tb, s[1])
		b.wantRows(s[1], tb, "w")
		s[0].Hear()
		if err := <-flushed; err == nil {
			t.Error("the flush says that it was committed")
		}
		<-released
		b.wantRows(s[1], tb, "w")
	})
}

// TestH7CreatorsAreCompared: a commit that names files of another creator
// fails once that one's session is dead, for its files may be collected.
//
// To break: drop the loop over f.Creators in meta.Flush.
func TestH7CreatorsAreCompared(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		worker, err := b.Lock.Client().OpenSession(b.ctx, "worker", 0)
		b.Must(err)
		flush := func() error {
			rec := b.Record(b.ctx, tb)
			c, err := meta.Flush(rec, meta.Flushed{
				Manifest: base.FileNumber{Creator: tb.Owner, Number: 1 << 40}, ManifestVersion: rec.ManifestVersion + 1,
				Seq: rec.Flushed, From: rec.Logs[0].From, Creators: []base.Incarnation{worker.ID()},
			})
			b.Must(err)
			_, err = b.Meta.Commit(b.ctx, c)
			return err
		}
		b.Must(flush())
		worker.Abandon()
		b.Expire(b.ctx, worker.ID())
		b.want(flush(), base.ErrAborted)
	})
}

// TestH4LostReply: the transaction of a flush is applied and its reply lost;
// the retry finds the record changed, by nobody but itself.
//
// To break: in meta.Store.Commit, answer ErrAborted where res.Results is nil,
// and take it for a failure in tablet.commitChange.
func TestH4LostReply(t *testing.T) {
	for name, o := range map[string]lockmem.Options{"remembered": {}, "forgotten": forgetful()} {
		t.Run(name, func(t *testing.T) {
			historyOver(t, o, func(b *bubble) {
				s := b.servers(2)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.set(s[0], tb, "w")
				tabletFaults(s[0], lockmem.LoseReply, lockmem.LoseReply, lockmem.Deliver)
				b.Must(s[0].Flush(b.ctx, tb))
				rec := b.Record(b.ctx, tb)
				if rec.ManifestVersion != 1 || !b.exists(base.ManifestObject(rec.Manifest)) {
					t.Errorf("record names manifest %v, version %d", rec.Manifest, rec.ManifestVersion)
				}
				b.set(s[0], tb, "x")
				tabletFaults(s[0], lockmem.LandLate, lockmem.LoseReply, lockmem.Deliver)
				b.Must(s[0].Flush(b.ctx, tb))
				s[0].Lock.Land()
				b.set(s[0], tb, "y")
				b.Must(s[0].Flush(b.ctx, tb))
				b.wantRows(s[0], tb, "w", "x", "y")
				s[0].Kill()
				tb = b.FailOver(b.ctx, tb, s[1])
				b.wantRows(s[1], tb, "w", "x", "y")
			})
		})
	}
}

// TestH4FlushLandsLate: the transaction of a flush, then of a compaction, is
// given up without a reply and lands after further writes, or after a further
// flush began. Whatever the record says then can be read.
//
// To break: name the runs of the view's manifest only once, in tablet.commit
// (start from an empty list of runs).
func TestH4FlushLandsLate(t *testing.T) {
	for _, landing := range []string{"never", "before the next", "during the next"} {
		t.Run(landing, func(t *testing.T) {
			historyOver(t, forgetful(), func(b *bubble) {
				s := b.servers(2)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.set(s[0], tb, "a")
				b.Must(s[0].Flush(b.ctx, tb))
				b.set(s[0], tb, "b")
				land := func() {
					if landing != "never" {
						s[0].Lock.Land()
					}
				}
				for _, change := range []func() error{
					func() error { return s[0].Flush(b.ctx, tb) },
					func() error { return s[0].Compact(b.ctx, tb) },
				} {
					tabletFaults(s[0], lockmem.GiveUpLate)
					if err := change(); !errors.Is(err, base.ErrUndecided) {
						t.Fatalf("error %v, want ErrUndecided", err)
					}
					b.set(s[0], tb, "c")
					if landing == "before the next" {
						land()
					} else {
						s[0].Store.Once(tabletservertest.Put, base.ManifestPrefix, land)
					}
					if err := s[0].Flush(b.ctx, tb); err != nil { // it finds out what happened
						b.Must(s[0].Flush(b.ctx, tb))
					}
					b.set(s[0], tb, "d")
					b.wantRows(s[0], tb, "a", "b", "c", "d")
				}
				s[0].Kill()
				tb = b.FailOver(b.ctx, tb, s[1])
				b.wantRows(s[1], tb, "a", "b", "c", "d")
			})
		})
	}
}

// TestH4FlushNeverLands: the transaction of a flush is given up without a reply
// and never lands. The log is not truncated as if it had.
//
// To break: in tablet.commit, exchange the view also where the error is
// ErrUndecided.
func TestH4FlushNeverLands(t *testing.T) {
	historyOver(t, forgetful(), func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a")
		tabletFaults(s[0], lockmem.GiveUpLost)
		b.want(s[0].Flush(b.ctx, tb), base.ErrUndecided)
		b.set(s[0], tb, "b")
		b.pause(time.Second)
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		b.wantRows(s[1], tb, "a", "b")
	})
}

// TestH4UndecidedFilesStayInFlight: the files of a flush whose transaction got
// no reply are in flight until it is decided, for it may yet name them.
//
// To break: in tablet.commit, count them as decided whatever the error is.
func TestH4UndecidedFilesStayInFlight(t *testing.T) {
	historyOver(t, forgetful(), func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		b.set(a, tb, "w")
		tabletFaults(a, lockmem.GiveUpLate)
		b.want(a.Flush(b.ctx, tb), base.ErrUndecided)
		if f := a.Files().Floor(); f != 1 {
			t.Errorf("files below %d are decided; the SSTable and the manifest of the flush are not", f)
		}
		a.Lock.Land()
		if rec := b.Record(b.ctx, tb); rec.ManifestVersion != 1 {
			t.Errorf("the flush has not landed: %+v", rec)
		}
	})
}

// TestH4ReleaseLandsLate: a release is given up without a reply. The server
// must not serve again, for the release may still land; asking again decides
// it.
//
// To break: in tablet.Release, go back to Serving where commitChange fails.
func TestH4ReleaseLandsLate(t *testing.T) {
	for _, lands := range []bool{false, true} {
		historyOver(t, forgetful(), func(b *bubble) {
			s := b.servers(2)
			tb := b.Serve(b.ctx, b.table(), s[0])
			b.set(s[0], tb, "w")
			b.Must(s[0].Flush(b.ctx, tb)) // so that the release is the next transaction
			tabletFaults(s[0], lockmem.GiveUpLate)
			b.want(s[0].Unload(b.ctx, tb), base.ErrUndecided)
			b.want(s[0].Set(b.ctx, tb, "late", "cf", "q", 1000, "x"), base.ErrNotServing)
			if rec := b.Record(b.ctx, tb); rec.State != meta.Serving {
				t.Fatalf("the release has landed: %+v", rec)
			}
			if lands {
				s[0].Lock.Land()
				tb = b.Serve(b.ctx, b.Record(b.ctx, tb), s[1])
				b.want(s[0].Set(b.ctx, tb, "late", "cf", "q", 1000, "x"), base.ErrNotServing)
				b.wantRows(s[1], tb, "w")
			}
			b.Must(s[0].Unload(b.ctx, tb))
			if !lands {
				s[0].Lock.Land() // too late to change anything
				tb = b.Serve(b.ctx, b.Record(b.ctx, tb), s[1])
			}
			b.wantRows(s[1], tb, "w")
		})
	}
}
