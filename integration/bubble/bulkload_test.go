package bubble

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/client/bulkload"
	"github.com/tabletdb/tabletdb/internal/cluster"
)

// loader opens a loader into the table.
func (w *world) loader(o bulkload.Options) *bulkload.Loader {
	w.t.Helper()
	e, err := w.c.Env("loader")
	w.must(err)
	l, err := bulkload.Open(w.ctx, bulkload.Config{Cell: e.LockService, Store: e.Bucket.Data, Table: table, Options: o})
	w.must(err)
	return l
}

// TestBulkLoad: many small files of all tablets become visible, over what was
// written before and below what comes later.
func TestBulkLoad(t *testing.T) {
	inWorldWith(t, func(c *cluster.Config) {}, func(w *world) {
		w.fill("before")
		w.must(w.put(time.Minute, "a00001", "overwritten"))
		l := w.loader(bulkload.Options{FileBytes: 4 << 10, Memory: 64 << 10, Dir: t.TempDir()})
		defer l.Close(context.WithoutCancel(w.ctx))
		const n = 6000
		for i := range n {
			row := fmt.Sprintf("%c%05d", 'a'+i*7919%6, i)
			w.must(l.Add([]byte(row), "cf", []byte("q"), 1000, []byte("old")))
			w.must(l.Add([]byte(row), "cf", []byte("q"), 1000, []byte("loaded"+row)))
			w.written[row] = "loaded" + row
		}
		s, err := l.Commit(w.ctx)
		w.must(err)
		t.Logf("%+v", s)
		if s.Cells != n || s.Repeated != n || s.Files < 12 || s.Spilled == 0 {
			t.Errorf("%+v", s)
		}
		w.must(w.put(time.Minute, "a00006", "after"))
		w.verify()
		w.check()
		w.compact()
		w.verify()
		w.check()
		if loads, _, err := w.meta.AllBulkLoads(w.ctx); err != nil || len(loads) > 0 {
			t.Errorf("pending: %v, %v", loads, err)
		}
	})
}

// TestBulkLoadWhileTheClusterChanges: while loads are under way tablets are split,
// merged and moved, tablet servers and the active master die, and clients write.
// Loads that were committed are there, whole, over what was acknowledged before
// and below what came later; a loader that dies leaves all or nothing.
func TestBulkLoadWhileTheClusterChanges(t *testing.T) {
	adjust := func(c *cluster.Config) {
		small(c)
		c.Master.GCInterval = 5 * time.Second
	}
	inWorldWith(t, adjust, func(w *world) {
		rng := seedtest.New(t)
		value := func(round int, row string) string { return fmt.Sprintf("round %d of %s %0100d", round, row, 0) }
		for round := range 8 {
			l := w.loader(bulkload.Options{FileBytes: 4 << 10, Memory: 64 << 10, Dir: t.TempDir(), SessionTTL: 5 * time.Second})
			rows := map[string]string{}
			for range 1500 {
				row := fmt.Sprintf("%c%03d", 'a'+rng.IntN(6), rng.IntN(400))
				rows[row] = value(round, row)
				w.must(l.Add([]byte(row), "cf", []byte("q"), 1000, []byte(rows[row])))
			}
			done := make(chan error, 1)
			go func() {
				_, err := l.Commit(w.ctx)
				done <- errors.Join(err, l.Close(context.WithoutCancel(w.ctx)))
			}()
			w.disturb(rng, round)
			if err := <-done; err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			maps.Copy(w.written, rows)
			for range 20 { // over the load
				row := fmt.Sprintf("%c%03d", 'a'+rng.IntN(6), rng.IntN(400))
				w.must(w.put(time.Minute, row, value(round, row)+"!"))
			}
			w.verify()
		}
		w.until(time.Minute, "all tablets are served", func() bool {
			return !slices.ContainsFunc(w.records(), func(tb meta.Tablet) bool { return tb.State != meta.Serving })
		})
		w.check()
		if n := len(w.records()); n < 8 {
			t.Errorf("%d tablets: nothing was split", n)
		}
		time.Sleep(time.Minute) // collections
		w.verify()
		w.check()
	})
}

// disturb does something to the cluster.
func (w *world) disturb(rng *rand.Rand, round int) {
	w.t.Helper()
	time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	switch round % 4 {
	case 0:
		list := w.records()
		tb := list[rng.IntN(len(list))]
		_ = w.master(func(ctx context.Context, m controlpb.MasterClient) error { // it may be too small
			_, err := m.SplitTablet(ctx, &controlpb.SplitTabletRequest{Tablet: uint64(tb.ID)})
			return err
		})
	case 1:
		n, _ := w.owner()
		w.c.KillTabletServer(n)
		_, err := w.c.StartTabletServer(w.ctx)
		w.must(err)
	case 2:
		list := w.records()
		for range 3 {
			tb := list[rng.IntN(len(list))]
			_ = w.master(func(ctx context.Context, m controlpb.MasterClient) error {
				_, err := m.MoveTablet(ctx, &controlpb.MoveTabletRequest{Tablet: uint64(tb.ID)})
				return err
			})
		}
		i := rng.IntN(len(list) - 1)
		_ = w.master(func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.MergeTablets(ctx, &controlpb.MergeTabletsRequest{Left: uint64(list[i].ID), Right: uint64(list[i+1].ID)})
			return err
		})
	case 3:
		w.must(w.active().Close())
		w.must(w.c.StartMaster())
	}
}
