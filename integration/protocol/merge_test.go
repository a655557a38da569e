package protocol_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// pair serves a table of two tablets, cut at m, at a server.
func (b *bubble) pair(s *tabletservertest.Server) (left, right meta.Tablet) {
	b.t.Helper()
	list := b.Tablets(b.ctx, b.CreateTable(b.ctx, "m"))
	return b.Serve(b.ctx, list[0], s), b.Serve(b.ctx, list[1], s)
}

// TestH5Merge: two lineages, each with records that are not flushed and
// sequences that the other has too, become one. All that was acknowledged is in
// files before, and the merged tablet's sequences lie above both.
//
// To break: in meta.Merge, keep the entries of both; or begin at the lower of
// the two sequences (Last: min of both in merger.write).
func TestH5Merge(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		l, r := b.pair(s[0])
		b.set(s[0], l, "a", "b", "c", "d")
		b.set(s[0], r, "x")
		b.Must(s[0].Flush(b.ctx, l))
		b.set(s[0], l, "e")
		for _, old := range []string{"y", "z"} {
			b.Must(s[0].Set(b.ctx, r, old, "cf", "q", 1000, "old"))
		}
		m := b.merge(s[0], l, r)
		b.want(s[0].Set(b.ctx, l, "a", "cf", "q", 1000, "va"), base.ErrNotServing)
		b.want(s[0].Set(b.ctx, r, "x", "cf", "q", 1000, "vx"), base.ErrNotServing)
		if len(m.Logs) != 1 || m.NextSeq <= 5 {
			t.Errorf("merged: %+v", m)
		}
		b.failFlushes(s[0])
		b.set(s[0], m, "y", "z", "n") // over what came before: by sequence alone
		b.wantRows(s[0], m, "a", "b", "c", "d", "e", "n", "x", "y", "z")
		list := b.dieAndServe(m.Table, s[0], s[1])
		b.failFlushes(s[1])
		b.wantTable(s[1], list, "a", "b", "c", "d", "e", "n", "x", "y", "z")
		list = b.dieAndServe(m.Table, s[1], s[2])
		b.wantTable(s[2], list, "a", "b", "c", "d", "e", "n", "x", "y", "z")
	})
}

// TestH5MergeRefusals: what is not side by side at one server is not merged.
func TestH5MergeRefusals(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		list := b.Tablets(b.ctx, b.CreateTable(b.ctx, "g", "m"))
		for i := range list {
			list[i] = b.Serve(b.ctx, list[i], s[i/2])
		}
		other := b.Serve(b.ctx, b.table(), s[0])
		for _, pair := range [][2]meta.Tablet{{list[1], list[0]}, {list[0], other}, {list[0], list[0]}} {
			if _, err := s[0].Merge(b.ctx, pair[0], pair[1]); !errors.Is(err, base.ErrInvalid) {
				t.Errorf("merge of tablets %d and %d: %v", pair[0].ID, pair[1].ID, err)
			}
		}
		_, err := s[0].Merge(b.ctx, list[1], list[2])
		b.want(err, base.ErrNotServing)
		// Handed over, it is.
		b.Must(s[1].HandOver(b.ctx, list[2], s[0]))
		r := b.Record(b.ctx, list[2])
		if r.Owner != s[0].Incarnation() || r.State != meta.Assigned {
			t.Fatalf("handed over: %+v", r)
		}
		b.Tell(b.ctx, r, s[0])
		b.merge(s[0], list[1], b.AwaitServing(b.ctx, r))
	})
}

// TestH5MergeThatFails: the merge cannot write its files; both tablets go on.
func TestH5MergeThatFails(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		l, r := b.pair(s[0])
		b.set(s[0], l, "a")
		b.set(s[0], r, "x")
		b.Must(s[0].Flush(b.ctx, l))
		b.Must(s[0].Flush(b.ctx, r))
		s[0].Store.Hang(tabletservertest.Put, base.ManifestPrefix)
		merge := b.background(func() error { _, err := s[0].Merge(b.ctx, l, r); return err })
		b.running("the merge", merge)
		b.want(s[0].Set(b.ctx, l, "b", "cf", "q", 1000, "vb"), base.ErrNotServing)
		b.wantRows(s[0], l, "a")
		s[0].Kill()
		<-merge
		list := b.dieAndServe(l.Table, s[0], s[1])
		b.wantTable(s[1], list, "a", "x")
		b.failManifests(s[1])
		_, err := s[1].Merge(b.ctx, list[0], list[1])
		b.want(err, base.ErrUnavailable)
		b.set(s[1], list[0], "b")
		b.set(s[1], list[1], "y")
		s[1].Store.Before(nil)
		m := b.merge(s[1], b.Record(b.ctx, list[0]), b.Record(b.ctx, list[1]))
		b.wantRows(s[1], m, "a", "b", "x", "y")
		b.check()
	})
}

// TestH21MergeOfBounds: both children of a split share a file. One has
// compacted away a row of its part, with the deletion; the merger must not show
// the file without bounds, for it still has the row.
//
// To break: leave the bounds out in manifest.Clip, or drop them in
// manifest.Join.
func TestH21MergeOfBounds(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a", "b", "x", "y")
		b.Must(s[0].Flush(b.ctx, tb))
		s[0].Store.Before(nil)
		l, r := b.split(s[0], tb, "m")
		b.Must(s[0].Mutate(b.ctx, r, "x", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
		b.Must(s[0].Compact(b.ctx, r))
		b.set(s[0], l, "c")
		m := b.merge(s[0], b.Record(b.ctx, l), b.Record(b.ctx, r))
		b.wantRows(s[0], m, "a", "b", "c", "y")
		b.check()
		// And split elsewhere, with references that are cut already.
		ml, mr := b.split(s[0], m, "b")
		b.wantRows(s[0], ml, "a")
		b.wantRows(s[0], mr, "b", "c", "y")
		list := b.dieAndServe(tb.Table, s[0], s[1])
		b.wantTable(s[1], list, "a", "b", "c", "y")
		mm := b.merge(s[1], list[0], list[1])
		b.Must(s[1].Compact(b.ctx, mm))
		b.wantRows(s[1], mm, "a", "b", "c", "y")
		man, err := manifest.Read(b.ctx, b.Store, b.Record(b.ctx, mm).Manifest)
		b.Must(err)
		if len(man.Runs) != 1 || slices.ContainsFunc(man.Runs[0], func(f manifest.File) bool { return f.Clipped() }) {
			t.Errorf("compacted to %+v", man.Runs)
		}
	})
}

// failManifests makes all manifests of a server fail to be written.
func (b *bubble) failManifests(s *tabletservertest.Server) { b.failPuts(s, base.ManifestPrefix) }

// TestH2Split: the log of a tablet that was split and whose children moved away
// is kept as long as either needs it (R2).
//
// To break: in meta's reshapeTxn, leave the references of the new tablets out.
func TestH2Split(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		tb := b.Serve(b.ctx, b.table(), s[0])
		other := b.Serve(b.ctx, b.table(), s[0])
		b.failFlushes(s[0])
		b.set(s[0], tb, "a", "x")
		l, r := b.split(s[0], tb, "m")
		b.check() // both refer to the log
		s[0].Store.Before(nil)
		b.writeDuringFlush(s[0], r, "y")
		b.Must(s[0].Unload(b.ctx, r)) // right goes with an entry, and is not loaded
		for i := range 20 {           // and the log goes on
			b.set(s[0], other, string(rune('a'+i)))
		}
		b.Must(s[0].Flush(b.ctx, other))
		b.Must(s[0].Flush(b.ctx, l))
		b.pause(time.Second)
		r = b.Serve(b.ctx, b.Record(b.ctx, r), s[1])
		b.wantRows(s[1], r, "x", "y")
		b.wantRows(s[0], l, "a")
		b.check()
	})
}

// TestHandOverToTheDead: a server that was to get a tablet has died; the tablet
// is left without owner instead.
func TestHandOverToTheDead(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a")
		b.Expire(b.ctx, s[1].Incarnation())
		b.Must(s[0].HandOver(b.ctx, tb, s[1]))
		if r := b.Record(b.ctx, tb); r.State != meta.Unassigned {
			t.Fatalf("%+v", r)
		}
		tb = b.Serve(b.ctx, b.Record(b.ctx, tb), s[0])
		b.wantRows(s[0], tb, "a")
		// Nor is anything lost where the reply is.
		b.set(s[0], tb, "b")
		c := b.Open(b.ctx)
		tabletFaults(s[0], lockmem.Deliver) // the flush
		b.Must(s[0].Flush(b.ctx, tb))
		tabletFaults(s[0], lockmem.LoseReply, lockmem.Deliver)
		b.Must(s[0].HandOver(b.ctx, b.Record(b.ctx, tb), c))
		b.Tell(b.ctx, b.Record(b.ctx, tb), c)
		b.wantRows(c, b.AwaitServing(b.ctx, b.Record(b.ctx, tb)), "a", "b")
	})
}
