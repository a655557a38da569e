package meta_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
)

// serve assigns and registers a tablet.
func (c *cell) serve(t meta.Tablet, s meta.Server, from base.Position) meta.Tablet {
	c.t.Helper()
	needed := make([]bool, len(t.Logs))
	for i := range needed {
		needed[i] = true
	}
	return c.commit(meta.Register(c.commit(meta.Assign(t, s, time.Now())), from, needed, time.Now()))
}

func (c *cell) ids() [2]base.TabletID {
	c.t.Helper()
	n, err := c.NewIDs(c.ctx, "tablet", 2)
	c.must(err)
	return [2]base.TabletID{base.TabletID(n), base.TabletID(n + 1)}
}

// reshape commits and compares what is returned with what is stored.
func (c *cell) reshape(r meta.Reshape, err error) []meta.Tablet {
	c.t.Helper()
	c.must(err)
	done, err := c.Reshape(c.ctx, r)
	c.must(err)
	for _, t := range done {
		stored, err := c.Tablet(c.ctx, t.Table, t.End, t.ID)
		c.must(err)
		if stored.Revision != t.Revision {
			c.t.Errorf("returned %+v, stored is %+v", t, stored)
		}
	}
	return done
}

// TestLifeOfSplit: the children inherit entries, sequences and references, and
// no log loses its holder in between (R2, R8).
func TestLifeOfSplit(t *testing.T) {
	c := newCell(t)
	tbl, list := c.create("t", "m")
	old, so := c.server()
	_, sa := c.server()
	now := time.Now()
	// An entry of a former owner that is still needed.
	first := c.serve(list[0], so, 3)
	release, err := meta.Release(first, 3, 5, now)
	c.must(err)
	parent := c.serve(c.commit(release), sa, 7)
	ids := c.ids()
	s := meta.Splitting{Row: []byte("f"), IDs: ids, From: 8, To: 11, Begin: 12, NextSeq: 40, Why: "asked for"}

	for _, row := range []string{"", "m", "z"} {
		bad := s
		bad.Row = []byte(row)
		_, err = meta.Split(parent, bad, now)
		c.want(err, base.ErrInvalid)
	}
	bad := s
	bad.NextSeq = 0
	_, err = meta.Split(parent, bad, now)
	c.want(err, base.ErrPrecondition)
	_, err = meta.Split(list[0], s, now)
	c.want(err, base.ErrNotServing)

	children := c.reshape(meta.Split(parent, s, now))
	if wrong := meta.CheckTiling(c.tablets(tbl)); wrong != nil || len(c.tablets(tbl)) != 3 {
		t.Fatal(wrong)
	}
	for i, ch := range children {
		want := []meta.LogEntry{
			{Log: old.ID(), Tablet: parent.ID, Epoch: first.Epoch, From: 3, To: 5, Closed: true},
			{Log: sa.Incarnation, Tablet: parent.ID, Epoch: parent.Epoch, From: 8, To: 11, Closed: true},
			{Log: sa.Incarnation, Tablet: ids[i], Epoch: parent.Epoch + 1, From: 12},
		}
		if !slices.Equal(ch.Logs, want) || ch.NextSeq != 40 || ch.State != meta.Serving || ch.OwnEntry() != 2 || ch.Parents[0] != parent.ID {
			t.Errorf("child %+v", ch)
		}
	}
	c.refs(meta.Ref{Log: old.ID(), Holder: ids[0], From: 3}, meta.Ref{Log: old.ID(), Holder: ids[1], From: 3},
		meta.Ref{Log: sa.Incarnation, Holder: ids[0], From: 8}, meta.Ref{Log: sa.Incarnation, Holder: ids[1], From: 8})
	if _, err := c.Commit(c.ctx, meta.Touch(parent)); !errors.Is(err, base.ErrAborted) {
		t.Errorf("the parent was changed after its split: %v", err)
	}
	again, err := meta.Split(parent, meta.Splitting{Row: []byte("g"), IDs: c.ids(), NextSeq: 41}, now)
	c.must(err)
	_, err = c.Reshape(c.ctx, again)
	c.want(err, base.ErrAborted)

	// A tablet without unflushed records leaves no entry behind.
	right := c.serve(list[1], sa, 20)
	for _, ch := range c.reshape(meta.Split(right, meta.Splitting{Row: []byte("t"), IDs: c.ids(), From: 25, To: 20, Begin: 25, NextSeq: 1}, now)) {
		if len(ch.Logs) != 1 {
			t.Errorf("child of a clean tablet: %+v", ch.Logs)
		}
	}
}

// TestLifeOfMerge: what is merged is clean, and everything else is refused
// (R9, H5).
func TestLifeOfMerge(t *testing.T) {
	c := newCell(t)
	tbl, list := c.create("t", "g", "m")
	a, sa := c.server()
	_, sb := c.server()
	now := time.Now()
	left, right, far := c.serve(list[0], sa, 3), c.serve(list[1], sa, 4), c.serve(list[2], sb, 5)
	flush, err := meta.Flush(right, meta.Flushed{Manifest: base.FileNumber{Creator: a.ID(), Number: 1}, ManifestVersion: 1, Seq: 30, From: 6})
	c.must(err)
	right = c.commit(flush)
	m := meta.Merging{ID: c.ids()[0], Manifest: base.FileNumber{Creator: a.ID(), Number: 2}, ManifestVersion: 2, Last: 33, Begin: 9, Why: "cold"}
	_, err = meta.Merge(left, far, m, now)
	c.want(err, base.ErrInvalid)
	_, err = meta.Merge(right, left, m, now)
	c.want(err, base.ErrInvalid)
	_, err = meta.Merge(right, far, m, now)
	c.want(err, base.ErrPrecondition)
	for _, spoil := range []func(*meta.Merging){
		func(m *meta.Merging) { m.Last = 29 }, func(m *meta.Merging) { m.ManifestVersion = 1 }, func(m *meta.Merging) { m.Manifest = base.FileNumber{} },
	} {
		bad := m
		spoil(&bad)
		_, err = meta.Merge(left, right, bad, now)
		c.want(err, base.ErrPrecondition)
	}
	x, err := meta.Merge(left, right, m, now)
	c.must(err)
	touched := c.commit(meta.Touch(left))
	_, err = c.Reshape(c.ctx, x)
	c.want(err, base.ErrAborted)

	merged := c.reshape(meta.Merge(touched, right, m, now))[0]
	if merged.Flushed != 33 || merged.NextSeq != 34 || len(merged.Logs) != 1 || merged.OwnEntry() != 0 || !bytes.Equal(merged.End, []byte("m")) || len(merged.Start) > 0 {
		t.Errorf("merged: %+v", merged)
	}
	if wrong := meta.CheckTiling(c.tablets(tbl)); wrong != nil || len(c.tablets(tbl)) != 2 {
		t.Error(wrong)
	}
	c.refs(meta.Ref{Log: a.ID(), Holder: merged.ID, From: 9}, meta.Ref{Log: sb.Incarnation, Holder: far.ID, From: 5})
	c.end(a)
	x, err = meta.Split(merged, meta.Splitting{Row: []byte("c"), IDs: c.ids(), NextSeq: 34, ManifestVersion: 3,
		Manifests: [2]base.FileNumber{{Creator: a.ID(), Number: 3}, {Creator: a.ID(), Number: 4}}}, now)
	c.must(err)
	_, err = c.Reshape(c.ctx, x)
	c.want(err, base.ErrAborted)
}

// TestHandOver gives a tablet from one server to the other in one step, and not
// to one that cannot take it.
func TestHandOver(t *testing.T) {
	c := newCell(t)
	_, list := c.create("t")
	_, sa := c.server()
	b, sb := c.server()
	serving := c.serve(list[0], sa, 3)
	x, err := meta.HandOver(serving, 4, 9, sb, "balance", time.Now())
	c.must(err)
	given := c.commit(x)
	if given.Owner != sb.Incarnation || given.State != meta.Assigned || given.Epoch <= serving.Epoch || !given.Logs[0].Closed || given.Logs[0].To != 9 || given.Why != "balance" {
		t.Errorf("handed over: %+v", given)
	}
	back := c.commit(meta.Register(given, 0, []bool{true}, time.Now()))
	x, err = meta.HandOver(back, 0, 0, sa, "", time.Now())
	c.must(err)
	back = c.commit(x)
	back = c.commit(meta.Register(back, 3, []bool{true}, time.Now()))
	c.end(b)
	x, err = meta.HandOver(back, 0, 0, sb, "", time.Now())
	c.must(err)
	c.refused("hand over to the dead", x)
}

// TestH4LostReplyOfReshape: a split or merge whose reply was lost is recognised
// by its ids, also after the children were changed; one that never applied is
// not taken for done.
func TestH4LostReplyOfReshape(t *testing.T) {
	for _, change := range []bool{false, true} {
		t.Run(fmt.Sprintf("changed again %v", change), func(t *testing.T) {
			c := newCell(t)
			tbl, list := c.create("t")
			_, sa := c.server()
			parent := c.serve(list[0], sa, 3)
			other := c.other()
			c.ls.SetHook(func(_ lockservice.Txn, attempt int) mem.Fault {
				if attempt == 0 {
					return mem.LoseReply
				}
				if change {
					for _, ch := range c.tablets(tbl) {
						if ch.ID != parent.ID {
							_, err := other.Commit(c.ctx, meta.Touch(ch))
							c.must(err)
						}
					}
				}
				return mem.Deliver
			})
			x, err := meta.Split(parent, meta.Splitting{Row: []byte("f"), IDs: c.ids(), Begin: 4, NextSeq: 1}, time.Now())
			c.must(err)
			done, err := c.Reshape(c.ctx, x)
			c.ls.SetHook(nil)
			c.must(err)
			for i, ch := range done {
				if ch.ID != x.New[i].ID || ch.State != meta.Serving {
					t.Errorf("committed %+v", ch)
				}
				c.commit(meta.Touch(ch))
			}
		})
	}
}

// TestH20SplitAndMerge splits and merges tablets at random while the meta
// ranges are cut as finely as can be: no lookup misses, no range ends where
// there is no record (R19).
func TestH20SplitAndMerge(t *testing.T) {
	rng := seedtest.New(t)
	c := newCell(t)
	c.create("before", "a", "m")
	tbl, list := c.create("t", "m")
	c.create("after", "a")
	a, sa := c.server()
	var file uint64
	number := func() base.FileNumber {
		file++
		return base.FileNumber{Creator: a.ID(), Number: file}
	}
	for _, tb := range list {
		c.serve(tb, sa, 0)
	}
	for range 300 {
		tablets := c.tablets(tbl)
		i := rng.IntN(len(tablets))
		now := time.Now()
		if rng.IntN(len(tablets)+1) < 8 {
			row := []byte{byte('a' + rng.IntN(26)), byte('a' + rng.IntN(26))}
			p := tablets[slices.IndexFunc(tablets, func(x meta.Tablet) bool { return x.Contains(row) })]
			if bytes.Equal(row, p.Start) {
				continue
			}
			s := meta.Splitting{Row: row, IDs: c.ids(), NextSeq: max(p.NextSeq, p.Flushed+1)}
			if !p.Manifest.IsZero() {
				s.Manifests, s.ManifestVersion = [2]base.FileNumber{number(), number()}, p.ManifestVersion+1
			}
			c.reshape(meta.Split(p, s, now))
		} else if i+1 < len(tablets) {
			l, r := tablets[i], tablets[i+1]
			c.reshape(meta.Merge(l, r, meta.Merging{ID: c.ids()[0], Manifest: number(),
				ManifestVersion: max(l.ManifestVersion, r.ManifestVersion) + 1, Last: max(l.Flushed, r.Flushed)}, now))
		}
		if rng.IntN(2) == 0 {
			_, err := c.SplitRanges(c.ctx, 1+rng.IntN(3))
			c.must(err)
		}
		c.checkRanges()
		if wrong := meta.CheckTiling(c.tablets(tbl)); wrong != nil {
			t.Fatal(wrong)
		}
		row := []byte{byte('a' + rng.IntN(26)), byte('a' + rng.IntN(26))}
		got, err := c.Locate(c.ctx, tbl.ID, row, 0, lockservice.ReadOptions{})
		c.must(err)
		if !got[0].Contains(row) {
			t.Fatalf("row %q: tablet %d", row, got[0].ID)
		}
	}
}

// checkRanges checks that every meta range but the last ends at a record.
func (c *cell) checkRanges() {
	c.t.Helper()
	ranges, err := c.Ranges(c.ctx, lockservice.ReadOptions{})
	c.must(err)
	all, _, err := c.All(c.ctx, lockservice.ReadOptions{})
	c.must(err)
	for _, r := range ranges[:len(ranges)-1] {
		if !slices.ContainsFunc(all, func(t meta.Tablet) bool { return t.Key() == r.Last }) {
			c.t.Fatalf("a meta range ends at %q, where there is no record", r.Last)
		}
	}
}
