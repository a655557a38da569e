package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/fsck"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// split splits a tablet and must succeed.
func (b *bubble) split(s *tabletservertest.Server, t meta.Tablet, row string) (left, right meta.Tablet) {
	b.t.Helper()
	c, err := s.Split(b.ctx, t, row)
	b.Must(err)
	return c[0], c[1]
}

// merge merges two tablets and must succeed.
func (b *bubble) merge(s *tabletservertest.Server, left, right meta.Tablet) meta.Tablet {
	b.t.Helper()
	m, err := s.Merge(b.ctx, left, right)
	b.Must(err)
	return m
}

// dieAndServe kills the owner of all tablets of a table and serves them at
// another server.
func (b *bubble) dieAndServe(table base.TableID, from, to *tabletservertest.Server) []meta.Tablet {
	b.t.Helper()
	from.Kill()
	b.Expire(b.ctx, from.Incarnation())
	b.Seal(b.ctx, from.Incarnation())
	list, err := b.Meta.Tablets(b.ctx, table, lockservice.ReadOptions{})
	b.Must(err)
	for i, t := range list {
		if t.Owner == from.Incarnation() {
			t = b.Bump(b.ctx, t)
		}
		if t.State == meta.Unassigned {
			t = b.Serve(b.ctx, t, to)
		}
		if t.State == meta.Assigned {
			for _, s := range b.all {
				if s.Incarnation() == t.Owner {
					b.Tell(b.ctx, t, s)
				}
			}
			t = b.AwaitServing(b.ctx, t)
		}
		list[i] = t
	}
	return list
}

// wantTable checks that the tablets, all at one server, have exactly these rows.
func (b *bubble) wantTable(s *tabletservertest.Server, list []meta.Tablet, rows ...string) {
	b.t.Helper()
	var got, want []string
	for _, t := range list {
		got = append(got, s.All(b.ctx, t)...)
	}
	slices.Sort(rows)
	for _, row := range rows {
		want = append(want, fmt.Sprintf("%s cf:q@1000=v%s", row, row))
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("rows %q, want %q", got, want)
	}
	b.check()
}

// check runs the check of the whole cluster.
func (b *bubble) check() {
	b.t.Helper()
	r, err := fsck.Run(b.ctx, fsck.Config{LockService: b.Lock.Client(), Store: b.Store, Deep: true})
	b.Must(err)
	for _, f := range r.Findings {
		if f.Severity == fsck.Problem {
			b.t.Error(f)
		}
	}
}

// TestSplit: the children serve at once and hold what the parent held, whether
// it was in files, frozen or being written; the parent is not there any more.
func TestSplit(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a", "x")
		b.Must(s[0].Flush(b.ctx, tb))
		b.set(s[0], tb, "b", "y")
		release := s[0].Store.Hang(tabletservertest.Put, base.SSTablePrefix) // a split writes none; the children flush later
		l, r := b.split(s[0], tb, "m")
		release()
		b.wantRows(s[0], l, "a", "b")
		b.wantRows(s[0], r, "x", "y")
		b.want(s[0].Set(b.ctx, tb, "c", "cf", "q", 1000, "vc"), base.ErrNotServing)
		b.want(s[0].Set(b.ctx, l, "z", "cf", "q", 1000, "vz"), base.ErrWrongTablet)
		b.set(s[0], l, "c")
		b.set(s[0], r, "z")
		if _, err := s[0].Split(b.ctx, tb, "f"); !errors.Is(err, base.ErrNotServing) {
			t.Errorf("split of what is split: %v", err)
		}
		if _, err := s[0].Split(b.ctx, l, "x"); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("split outside of the tablet: %v", err)
		}
		b.pause(time.Second) // they flush and compact
		b.check()
		list := b.dieAndServe(tb.Table, s[0], s[1])
		b.wantTable(s[1], list, "a", "b", "c", "x", "y", "z")
	})
}

// TestH6Split: the children of a split die before they have flushed anything.
// What was unflushed in the parent is replayed from its entry, each row in one
// child only, and what the children wrote after it has later sequences.
//
// To break: in tablet.become, count from the flushed sequence on; or in
// meta.Split, relabel the entries with the child's id; or in
// tablet.replayRecord, drop contains.
func TestH6Split(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(3)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.failFlushes(s[0])
		for range 3 { // overwritten in the children: by sequence alone
			b.Must(s[0].Set(b.ctx, tb, "a", "cf", "q", 1000, "old"))
			b.Must(s[0].Set(b.ctx, tb, "x", "cf", "q", 1000, "old"))
		}
		l, r := b.split(s[0], tb, "m")
		b.set(s[0], l, "a", "b")
		b.set(s[0], r, "x", "y")
		ll, lr := b.split(s[0], l, "b") // and again
		b.set(s[0], ll, "aa")
		b.set(s[0], lr, "c")
		b.failFlushes(s[1])
		list := b.dieAndServe(tb.Table, s[0], s[1])
		b.wantTable(s[1], list, "a", "aa", "b", "c", "x", "y")
		list = b.dieAndServe(tb.Table, s[1], s[2])
		b.wantTable(s[2], list, "a", "aa", "b", "c", "x", "y")
		b.pause(time.Second)
		b.check()
	})
}

// TestH6UnacknowledgedAtSplit: a write is on its way to the log when the tablet
// is split. The split waits for it, reads go on meanwhile, and the write is in
// the child, also after its death.
//
// To break: in tablet.drain, do not wait for the batch.
func TestH6UnacknowledgedAtSplit(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.set(s[0], tb, "a")
		b.failFlushes(s[0])
		release := s[0].LogStore.Hang(tabletservertest.Put, "wal/")
		write := b.background(func() error { return s[0].Set(b.ctx, tb, "x", "cf", "q", 1000, "vx") })
		b.running("the write", write)
		split := b.background(func() error { _, err := s[0].Split(b.ctx, tb, "m"); return err })
		b.running("the split", split)
		b.wantRows(s[0], tb, "a")
		b.want(s[0].Set(b.ctx, tb, "b", "cf", "q", 1000, "vb"), base.ErrNotServing)
		release()
		b.Must(<-write)
		b.Must(<-split)
		list := b.dieAndServe(tb.Table, s[0], s[1])
		if len(list) != 2 {
			t.Fatalf("%d tablets", len(list))
		}
		b.wantTable(s[1], list, "a", "x")
	})
}

// TestH6SplitWhileLogStalls: where the log takes nothing, the split is put off
// and the tablet goes on.
func TestH6SplitWhileLogStalls(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		release := s[0].LogStore.Hang(tabletservertest.Put, "wal/")
		write := b.background(func() error { return s[0].Set(b.ctx, tb, "x", "cf", "q", 1000, "vx") })
		_, err := s[0].Split(b.ctx, tb, "m")
		b.want(err, base.ErrUnavailable)
		later := b.background(func() error { return s[0].Set(b.ctx, tb, "y", "cf", "q", 1000, "vy") })
		b.running("a write after the split that failed", later)
		release()
		b.Must(<-write)
		b.Must(<-later)
		l, r := b.split(s[0], tb, "m")
		b.set(s[0], l, "a")
		b.wantRows(s[0], r, "x", "y")
		list := b.dieAndServe(tb.Table, s[0], s[1])
		b.wantTable(s[1], list, "a", "x", "y")
	})
}

// TestH6FlushOfUnknownOutcome: a flush got no reply; it lands before or during
// the split. The manifests of the children hold what the record says is flushed.
//
// To break: drop tablet.settle, and the comparison in tablet.planSplit.
func TestH6FlushOfUnknownOutcome(t *testing.T) {
	for _, landing := range []string{"before", "during"} {
		t.Run(landing, func(t *testing.T) {
			historyOver(t, forgetful(), func(b *bubble) {
				s := b.servers(2)
				tb := b.Serve(b.ctx, b.table(), s[0])
				b.set(s[0], tb, "A", "X")
				b.Must(s[0].Flush(b.ctx, tb))
				b.set(s[0], tb, "a", "x")
				tabletFaults(s[0], lockmem.GiveUpLate)
				b.want(s[0].Flush(b.ctx, tb), base.ErrUndecided)
				if landing == "before" {
					s[0].Lock.Land()
				} else {
					s[0].Store.Once(tabletservertest.Put, base.ManifestPrefix, func() { s[0].Lock.Land() })
				}
				b.set(s[0], tb, "b", "y")
				c, err := s[0].Split(b.ctx, tb, "m")
				if err != nil { // it found out; now all is known
					c, err = s[0].Split(b.ctx, tb, "m")
				}
				b.Must(err)
				b.set(s[0], c[0], "c")
				b.check()
				list := b.dieAndServe(tb.Table, s[0], s[1])
				b.wantTable(s[1], list, "A", "X", "a", "b", "c", "x", "y")
			})
		})
	}
}

// TestH4LostReplyOfSplit: the reply of the split's transaction is lost in every
// way; it has happened once, and everything is there.
//
// To break: in Store.Reshape, conclude from a compare that failed that the
// tablets are others'.
func TestH4LostReplyOfSplit(t *testing.T) {
	faults := map[string][]lockmem.Fault{
		"request":        {lockmem.LoseRequest, lockmem.Deliver},
		"reply":          {lockmem.LoseReply, lockmem.LoseReply, lockmem.Deliver},
		"late":           {lockmem.LandLate, lockmem.Deliver},
		"given up":       {lockmem.GiveUpLost},
		"applied":        {lockmem.GiveUpApplied},
		"given up, late": {lockmem.GiveUpLate},
	}
	for name, fault := range faults {
		for how, o := range map[string]lockmem.Options{"remembered": {}, "forgotten": forgetful()} {
			t.Run(name+", "+how, func(t *testing.T) {
				historyOver(t, o, func(b *bubble) {
					s := b.servers(2)
					tb := b.Serve(b.ctx, b.table(), s[0])
					b.set(s[0], tb, "a", "x")
					b.Must(s[0].Flush(b.ctx, tb))
					b.set(s[0], tb, "b", "y")
					reshapeFaults(s[0], fault...)
					l, r := b.split(s[0], tb, "m")
					s[0].Lock.Land()
					b.set(s[0], l, "c")
					b.set(s[0], r, "z")
					b.pause(time.Second)
					reshapeFaults(s[0], fault...)
					m := b.merge(s[0], b.Record(b.ctx, l), b.Record(b.ctx, r))
					s[0].Lock.Land()
					b.set(s[0], m, "d")
					b.wantRows(s[0], m, "a", "b", "c", "d", "x", "y", "z")
					list := b.dieAndServe(tb.Table, s[0], s[1])
					b.wantTable(s[1], list, "a", "b", "c", "d", "x", "y", "z")
				})
			})
		}
	}
}

// failFlushes makes all flushes of a server fail; they are tried again.
func (b *bubble) failFlushes(s *tabletservertest.Server) { b.failPuts(s, base.SSTablePrefix) }

func (b *bubble) failPuts(s *tabletservertest.Server, prefix string) {
	s.Store.Before(func(_ context.Context, c tabletservertest.Call) error {
		if c.Op == tabletservertest.Put && strings.HasPrefix(c.Key, prefix) {
			return base.ErrUnavailable
		}
		return nil
	})
}

// reshapeFaults makes the n-th attempt of a server's next split or merge suffer
// faults[n].
func reshapeFaults(s *tabletservertest.Server, faults ...lockmem.Fault) {
	s.Lock.SetHook(func(x lockservice.Txn, attempt int) lockmem.Fault {
		if !reshapes(x) {
			return lockmem.Deliver
		}
		if attempt+1 >= len(faults) {
			s.Lock.SetHook(nil)
		}
		return faults[attempt]
	})
}

// reshapes reports whether a transaction splits or merges tablets.
func reshapes(x lockservice.Txn) bool {
	n := 0
	for _, o := range x.Then {
		if strings.HasPrefix(o.Key, meta.TabletPrefix) {
			n++
		}
	}
	return n > 1
}
