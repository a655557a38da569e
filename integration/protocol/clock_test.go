package protocol_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
)

// skewed makes a server whose clock is off serve a tablet, write one cell
// (v1:q of the row) at the server's time, and die. It is made by hand from the
// parts of a server, for a bubble has one clock.
func (b *bubble) skewed(t meta.Tablet, row, value string, at int64) (dead base.Incarnation) {
	b.t.Helper()
	session, err := b.Lock.Client().OpenSession(b.ctx, "skewed", 0)
	b.Must(err)
	e := session.ID()
	b.Must(b.Meta.RegisterServer(b.ctx, &metapb.ServerRecord{Incarnation: meta.IncarnationProto(e), Address: "skewed"}))
	log, err := commitlog.Open(commitlog.Config{Store: b.Store, Incarnation: e, Nonce: [16]byte{1}, Logger: b.Logger()})
	b.Must(err)
	done, err := b.Meta.Commit(b.ctx, meta.Assign(t, meta.Server{Incarnation: e}, time.Now()))
	b.Must(err)
	done, err = b.Meta.Commit(b.ctx, meta.Register(done[0], log.NextPosition(), make([]bool, len(t.Logs)), time.Now()))
	b.Must(err)
	rec := mutation.NewBuilder(nil, []byte(row))
	rec.CellAtServerTime(base.KindSet, 2, []byte("q"), []byte(value))
	b.Must(mutation.AssignTime(rec.Bytes(), at))
	batch, err := log.NewStream(t.ID, done[0].Epoch, func(base.Seq, base.Position) {}).Append(t.Flushed+1, t.Flushed+1, rec.Bytes())
	b.Must(err)
	b.Must(batch.Wait(b.ctx))
	b.Must(log.Close(b.ctx))
	session.Abandon()
	b.Expire(b.ctx, e)
	return e
}

// TestH19ServerTime: the clock of the owner that died was ahead. What the next
// owners write at their own time is not older than what it replaces, whether
// they learn of it from the log or from the manifest.
//
// To break: drop the max in tablet.replayRecord (first move), or LastTimestamp
// in tablet.load or commit (the later ones).
func TestH19ServerTime(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		tb := b.table()
		ahead := time.Now().Add(time.Hour).UnixMicro()
		ahead -= ahead % 1000
		dead := b.skewed(tb, "r", "old", ahead)
		bumped := b.Bump(b.ctx, tb)
		b.Seal(b.ctx, dead)
		tb = b.Serve(b.ctx, bumped, s[0])
		last := ahead
		check := func(i int, want string) {
			t.Helper()
			rows := s[i].All(b.ctx, tb)
			var ts int64
			if len(rows) != 1 || !strings.HasSuffix(rows[0], "="+want) {
				t.Fatalf("rows %q, want the cell %q", rows, want)
			}
			if _, err := fmt.Sscanf(rows[0], "r v1:q@%d=", &ts); err != nil {
				t.Fatal(err)
			}
			if ts < last {
				t.Errorf("timestamp %d of %q is older than %d", ts, want, last)
			}
			last = ts
		}
		check(0, "old")
		b.Must(s[0].Set(b.ctx, tb, "r", "v1", "q", -1, "one"))
		check(0, "one")
		// What it replaced goes, also from the files, and the record of the
		// log is forgotten: the manifest alone knows the time.
		b.Must(s[0].Mutate(b.ctx, tb, "r", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
		b.Must(s[0].Compact(b.ctx, tb))
		tb = b.Move(b.ctx, tb, s[0], s[1])
		b.Must(s[1].Set(b.ctx, tb, "r", "v1", "q", -1, "two"))
		check(1, "two")
		s[1].Kill()
		tb = b.FailOver(b.ctx, tb, s[2])
		b.Must(s[2].Set(b.ctx, tb, "r", "v1", "q", -1, "three"))
		check(2, "three")
		n, err := s[2].Increment(b.ctx, tb, "r", "v1", "n", 1)
		b.Must(err)
		if n != 1 {
			t.Errorf("counter %d, want 1", n)
		}
	})
}
