package protocol_test

import (
	"testing"
	"testing/synctest"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// pending starts writes, one after the other, that wait for the log.
func (b *bubble) pending(s *tabletservertest.Server, t meta.Tablet, rows ...string) []<-chan error {
	var done []<-chan error
	for _, row := range rows {
		done = append(done, b.background(func() error { return s.Set(b.ctx, t, row, "cf", "q", 1000, "v"+row) }))
	}
	return done
}

// TestH13FromOfSharedBatch: a batch of the log holds the last record that is
// flushed and the first that is not. After the flush the tablet's entry begins
// at that batch, not behind it.
//
// To break: in tablet.ownFrom, return NextPosition whatever the memtables hold.
func TestH13FromOfSharedBatch(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		release := s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
		writes := b.pending(s[0], tb, "a", "b") // positions 0 and 1, the latter open
		flushed := b.background(func() error { return s[0].Flush(b.ctx, tb) })
		writes = append(writes, b.pending(s[0], tb, "c")...) // joins position 1
		b.running("the flush of what is not acknowledged", flushed)
		release()
		for _, w := range writes {
			b.Must(<-w)
		}
		b.Must(<-flushed)
		rec := b.Record(b.ctx, tb)
		if rec.Flushed != 2 || rec.Logs[0].From != 1 {
			t.Errorf("flushed up to %d, from %d; want 2 and 1", rec.Flushed, rec.Logs[0].From)
		}
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		b.wantRows(s[1], tb, "a", "b", "c")
	})
}

// TestH13RegistrationIntoOpenBatch: a tablet registers while a batch is open,
// and its first record joins that batch.
//
// To break: in tablet.register, use NextPosition() + 1.
func TestH13RegistrationIntoOpenBatch(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		other := b.Serve(b.ctx, b.table(), s[0])
		release := s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(other.Owner))
		writes := b.pending(s[0], other, "x", "y") // y is in the open batch
		tb := b.Assign(b.ctx, b.table(), s[0])
		b.Tell(b.ctx, tb, s[0])
		synctest.Wait()
		tb = b.Record(b.ctx, tb)
		writes = append(writes, b.pending(s[0], tb, "a")...)
		release()
		for _, w := range writes {
			b.Must(<-w)
		}
		if from := tb.Logs[0].From; tb.State != meta.Serving || from != 1 {
			t.Errorf("%v from %d, want serving from 1", tb.State, from)
		}
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		b.wantRows(s[1], tb, "a")
	})
}

// TestH13FlushesDoNotGoBack: what an older flush would make of the record is
// refused before it is sent.
//
// To break: drop the check of f.Seq in meta.Flush.
func TestH13FlushesDoNotGoBack(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		b.set(a, tb, "a", "b")
		b.Must(a.Flush(b.ctx, tb))
		rec := b.Record(b.ctx, tb)
		good := meta.Flushed{
			Manifest: base.FileNumber{Creator: tb.Owner, Number: 99}, ManifestVersion: rec.ManifestVersion + 1,
			Seq: rec.Flushed, From: rec.Logs[0].From,
		}
		for name, spoil := range map[string]func(*meta.Flushed){
			"sequence":                           func(f *meta.Flushed) { f.Seq-- },
			"position":                           func(f *meta.Flushed) { f.From-- },
			"version":                            func(f *meta.Flushed) { f.ManifestVersion -= 2 },
			"the same version, another manifest": func(f *meta.Flushed) { f.ManifestVersion-- },
		} {
			bad := good
			spoil(&bad)
			if _, err := meta.Flush(rec, bad); err == nil {
				t.Errorf("%s: a flush that goes back is accepted", name)
			}
		}
		if _, err := meta.Flush(rec, good); err != nil {
			t.Error(err)
		}
	})
}

// TestH13ConcurrentFlushes: flushes that are asked for at once, with writes
// between them, commit one after the other.
//
// To break: in tablet.Flush, do not take the change lock.
func TestH13ConcurrentFlushes(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a")
		release := b.noFlushes(s[0])
		first := b.background(func() error { return s[0].Flush(b.ctx, tb) })
		b.set(s[0], tb, "b")
		s[0].Store.Before(nil) // the second could overtake the first
		second := b.background(func() error { return s[0].Flush(b.ctx, tb) })
		b.running("the second flush", second)
		release()
		b.Must(<-first)
		b.Must(<-second)
		if rec := b.Record(b.ctx, tb); rec.Flushed != 2 || rec.ManifestVersion != 2 {
			t.Errorf("flushed %d in version %d, want 2 in 2", rec.Flushed, rec.ManifestVersion)
		}
		s[0].Kill()
		tb = b.FailOver(b.ctx, tb, s[1])
		b.wantRows(s[1], tb, "a", "b")
	})
}
