package protocol_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// manifest reads the manifest that a tablet's record names.
func (b *bubble) manifest(t meta.Tablet) *manifest.Manifest {
	b.t.Helper()
	m, err := manifest.Read(b.ctx, b.Store, b.Record(b.ctx, t).Manifest)
	b.Must(err)
	return m
}

// TestDropLasts: rows that were dropped stay away and those that were written
// afterwards stay, whatever happens to the tablet, and wherever the rows were.
//
// To break: let replay skip the record; flush without spansOver, or without the
// drops in the manifest; let a compaction not look at drops.
func TestDropLasts(t *testing.T) {
	for name, after := range map[string]func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int){
		"nothing": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) { return tb, 0 },
		"crash": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			s[0].Kill()
			return b.FailOver(b.ctx, tb, s[1]), 1
		},
		"crash, crash": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			s[0].Kill()
			tb = b.FailOver(b.ctx, tb, s[1])
			s[1].Kill()
			return b.FailOver(b.ctx, tb, s[2]), 2
		},
		"flush, crash": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			b.Must(s[0].Flush(b.ctx, tb))
			s[0].Kill()
			return b.FailOver(b.ctx, tb, s[1]), 1
		},
		"compaction, move": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			b.Must(s[0].Compact(b.ctx, tb))
			return b.Move(b.ctx, tb, s[0], s[1]), 1
		},
		"split, merge, crash": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			left, right := b.split(s[0], tb, "b3") // within what was dropped
			b.wantRows(s[0], left, "a", "b2")
			b.wantRows(s[0], right, "b4", "c", "d", "x1")
			b.Must(s[0].Drop(b.ctx, right, nil, "b5", "b6"))
			tb = b.merge(s[0], left, right)
			b.wantRows(s[0], tb, "a", "b2", "b4", "c", "d", "x1")
			s[0].Kill()
			return b.FailOver(b.ctx, tb, s[1]), 1
		},
		"flush, split, drop of a half, merge": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			b.Must(s[0].Flush(b.ctx, tb))
			left, right := b.split(s[0], tb, "b3")
			b.set(s[0], right, "b5") // goes again; what the left has stays
			b.Must(s[0].Drop(b.ctx, right, nil, "b5", "b6"))
			b.wantRows(s[0], right, "b4", "c", "d", "x1")
			return b.merge(s[0], left, right), 0
		},
		"the drop again": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			b.Must(s[0].Drop(b.ctx, tb, nil, "x", "")) // others
			b.Must(s[0].Flush(b.ctx, tb))
			b.pause(time.Hour)
			b.Must(s[0].Compact(b.ctx, tb))
			return b.FailOver(b.ctx, tb, s[1]), 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			history(t, func(b *bubble) {
				b.Options.NoCompaction = true
				s := b.servers(3)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.set(s[0], tb, "a", "b", "b1", "c", "x1")
				b.Must(s[0].Flush(b.ctx, tb))
				b.set(s[0], tb, "b2", "b3", "d")
				b.Must(s[0].Drop(b.ctx, tb, nil, "b", "c"))
				b.wantRows(s[0], tb, "a", "c", "d", "x1")
				b.set(s[0], tb, "b2", "b4")
				b.wantRows(s[0], tb, "a", "b2", "b4", "c", "d", "x1")
				want := []string{"a", "b2", "b4", "c", "d", "x1"}
				if name == "the drop again" {
					want = want[:5]
				}
				tb, at := after(b, s, tb)
				b.wantRows(s[at], tb, want...)
				b.Must(s[at].Compact(b.ctx, tb))
				b.wantRows(s[at], tb, want...)
				if n := b.entries(tb); n != uint64(len(want)) {
					t.Errorf("%d entries are left of %d rows", n, len(want))
				}
			})
		})
	}
}

// TestDropPending: readers do not see a drop before it is durable, and where it
// never is nothing was dropped.
//
// To break: in spansOver, do not look at snapshot.
func TestDropPending(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("lost ", lost), func(t *testing.T) {
			history(t, func(b *bubble) {
				s := b.servers(2)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.set(s[0], tb, "a", "b")
				b.Must(s[0].Flush(b.ctx, tb))
				b.set(s[0], tb, "c")
				release := s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
				drop := b.background(func() error { return s[0].Drop(b.ctx, tb, nil, "", "") })
				b.running("the drop", drop)
				b.wantRows(s[0], tb, "a", "b", "c")
				if lost {
					s[0].Kill()
					if <-drop == nil {
						t.Error("a lost drop was acknowledged")
					}
					b.wantRows(s[1], b.FailOver(b.ctx, tb, s[1]), "a", "b", "c")
					return
				}
				// What is evaluated against all that was appended sees it.
				check := b.background(func() error {
					matched, err := b.noBranch(b.ctx, s[0], tb, "c")
					if matched {
						t.Error("a conditional write saw a row that was dropped before it")
					}
					return err
				})
				b.running("the answer that saw the drop", check)
				release()
				b.Must(<-drop)
				b.Must(<-check)
				if rows := s[0].All(b.ctx, tb); !slices.Equal(rows, []string{"c cf:q@1000=made"}) {
					t.Errorf("rows %q", rows)
				}
			})
		})
	}
}

// TestDropDuringIncrement: an increment that has read the old sum when the row
// is dropped does not write it back.
//
// To break: in appendTimed, do not look at seen.
func TestDropDuringIncrement(t *testing.T) {
	history(t, func(b *bubble) {
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		_, err := a.Increment(b.ctx, tb, "r", "v1", "n", 100)
		b.Must(err)
		b.Must(a.Flush(b.ctx, tb))
		release := a.Store.Hang(tabletservertest.Get, base.SSTablePrefix)
		increment := b.background(func() error {
			n, err := a.Increment(b.ctx, tb, "r", "v1", "n", 1)
			if err == nil && n != 1 {
				t.Errorf("the sum is %d after a drop", n)
			}
			return err
		})
		b.running("the increment", increment)
		b.Must(a.Drop(b.ctx, tb, nil, "", ""))
		release()
		b.Must(<-increment)
	})
}

// TestDropReadsNothing: neither a drop, nor a scan over what was dropped, nor the
// flush reads any of the files that it covers; they are gone at the flush. The
// drop itself is forgotten when it hides nothing and no repeat can ask for it.
//
// To break: drop the first loop of runIter.needed, or what applyDrops deletes.
func TestDropReadsNothing(t *testing.T) {
	history(t, func(b *bubble) {
		b.Options.NoCompaction = true
		b.Options.Tablet.FileBytes = 4 << 10
		b.Options.Tablet.BlockBytes = 4 << 10
		a := b.Open(b.ctx)
		tb := b.Serve(b.ctx, b.table(), a)
		for range 2 {
			for i := range 3000 {
				b.set(a, tb, fmt.Sprintf("r%04d", i))
			}
			b.Must(a.Flush(b.ctx, tb))
		}
		files := 0
		for _, r := range b.manifest(tb).Runs {
			files += len(r)
		}
		a.Store.Reset()
		b.Must(a.Drop(b.ctx, tb, nil, "r0002", "r2998"))
		b.wantRows(a, tb, "r0000", "r0001", "r2998", "r2999")
		rows, err := a.Read(b.ctx, tb, &bigtablepb.ReadRowsRequest{Reversed: true})
		if b.Must(err); len(rows) != 4 {
			t.Errorf("rows %q", rows)
		}
		b.Must(a.Flush(b.ctx, tb))
		if n := a.Store.Count(tabletservertest.Get, base.SSTablePrefix); n > 20 || files < 50 {
			t.Errorf("%d reads of %d files", n, files)
		}
		left := 0
		m := b.manifest(tb)
		for _, r := range m.Runs {
			left += len(r)
		}
		if left != 4 || len(m.Drops) != 1 {
			t.Errorf("%d files and %d drops are left, want the 4 at the ends and 1", left, len(m.Drops))
		}
		b.Must(a.Compact(b.ctx, tb))
		b.pause(base.SystemRetention)
		b.set(a, tb, "s")
		b.Must(a.Flush(b.ctx, tb))
		if m := b.manifest(tb); len(m.Drops) != 0 {
			t.Errorf("drops %v are left", m.Drops)
		}
		b.wantRows(a, tb, "r0000", "r0001", "r2998", "r2999", "s")
	})
}

// TestDropForgetsRequests: what a row remembered went with it. A repeat that
// comes after a drop is not applied again, but it cannot be answered either; one
// that comes when no repeat can belong to the time before is applied.
//
// To break: drop droppedLately.
func TestDropForgetsRequests(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		_, err := s[0].IncrementOnce(b.ctx, tb, attempt(1, 0), "r", "v1", "n", 1)
		b.Must(err)
		b.Must(s[0].Drop(b.ctx, tb, attempt(2, 1), "", ""))
		b.want(s[0].Drop(b.ctx, tb, attempt(2, 0), "", ""), base.ErrUnknownOutcome) // late
		b.Must(s[0].Flush(b.ctx, tb))
		for n := range uint32(2) {
			_, err = s[n].IncrementOnce(b.ctx, tb, attempt(1, n+1), "r", "v1", "n", 1)
			b.want(err, base.ErrAborted)
			if n == 0 {
				tb = b.FailOver(b.ctx, tb, s[1])
			}
		}
		b.wantRows(s[1], tb)
		if n, err := s[1].IncrementOnce(b.ctx, tb, attempt(3, 0), "r", "v1", "n", 1); err != nil || n != 1 {
			t.Errorf("a new request: %d, %v", n, err)
		}
		b.pause(base.SystemRetention)
		if n, err := s[1].IncrementOnce(b.ctx, tb, attempt(4, 1), "r", "v1", "n", 1); err != nil || n != 2 {
			t.Errorf("a repeat long after: %d, %v", n, err)
		}
	})
}
