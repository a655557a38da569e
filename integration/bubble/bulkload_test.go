package bubble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/client/bulkload"
	"github.com/tabletdb/tabletdb/client/masterclient"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore/faulty"
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
	inWorld(t, func(w *world) {
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
		if loads, _, _, err := w.meta.AllBulkLoads(w.ctx); err != nil || len(loads) > 0 {
			t.Errorf("pending: %v, %v", loads, err)
		}
	})
}

// TestBulkLoadWhileTheClusterChanges: while loads are under way tablets are split,
// merged and moved, tablet servers and the active master die, and clients write.
// What was loaded is there, over what was acknowledged before and below what
// came later.
func TestBulkLoadWhileTheClusterChanges(t *testing.T) {
	adjust := func(c *cluster.Config) {
		small(c)
		c.Master.GCInterval = 5 * time.Second
	}
	rng := rand.New(rand.NewPCG(seedtest.New(t).Uint64(), 1))
	inWorldWith(t, adjust, func(w *world) {
		op := w.operator()
		defer op.Close()
		w.store.SetRules(faulty.Rule{Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow, Delay: 5 * time.Millisecond, Jitter: 30 * time.Millisecond}})
		value := func(round int, row string) string { return fmt.Sprintf("round %d of %s %0100d", round, row, 0) }
		did := map[string]int{}
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
			w.disturb(op, rng, round, did)
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
		t.Logf("changes: %v", did)
		if did["split"]+did["merge"] < 3 || did["move"] == 0 {
			t.Errorf("changes: %v; little was tested", did)
		}
		time.Sleep(time.Minute) // collections
		w.verify()
		w.check()
	})
}

// disturb changes the cluster for a while.
func (w *world) disturb(op *masterclient.Client, rng *rand.Rand, round int, did map[string]int) {
	w.t.Helper()
	time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
	switch round % 4 {
	case 1:
		n, _ := w.owner()
		w.c.KillTabletServer(n)
		_, err := w.c.StartTabletServer(w.ctx)
		w.must(err)
	case 3:
		for _, m := range w.c.Masters() {
			if m.Active() {
				w.must(m.Close())
				break
			}
		}
		w.must(w.c.StartMaster())
	default:
		for range 6 {
			if what, err := w.change(op, rng); err == nil { // else something else is under way
				did[what]++
			}
		}
	}
}
