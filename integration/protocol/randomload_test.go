package protocol_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tabletdb/tabletdb/client/bulkload"
	"github.com/tabletdb/tabletdb/meta"
)

// load starts a loader, unless one runs: it makes the next write of some of its
// rows, all in one load.
func (w *world) load() {
	if w.loading.Swap(true) {
		return
	}
	r := rand.New(rand.NewPCG(w.rand.Uint64(), 3))
	w.clients.Go(func() {
		defer w.loading.Store(false)
		rows := map[string]int64{}
		for _, row := range w.bulk {
			if r.IntN(2) == 0 {
				rows[row] = w.model.begin(row)
			}
		}
		o := w.loadRows(r, rows)
		for row, k := range rows {
			w.model.end(row, k, o)
		}
	})
}

// loadRows loads write k of each row, and returns what became of it. The loader
// may die at any moment.
func (w *world) loadRows(r *rand.Rand, rows map[string]int64) outcome {
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(r.Int64N(int64(20*time.Second))))
	defer cancel()
	ls := w.Lock.Client()
	l, err := bulkload.Open(ctx, bulkload.Config{Cell: ls, Store: w.Store, Table: w.table.Name, Options: bulkload.Options{
		FileBytes: 1 << 10, Dir: w.t.TempDir(), SessionTTL: 3 * time.Second,
	}})
	if err != nil {
		return refused
	}
	defer l.Close(canceled(ctx)) // so that its session lives on for a while
	if r.IntN(4) == 0 {          // it is cut off
		time.AfterFunc(time.Duration(r.Int64N(int64(3*time.Second))), func() { ls.Partition(true) })
	}
	for row, k := range rows {
		v := []byte(strconv.FormatInt(k, 10))
		for _, c := range []string{"cf:q", "cf:r", "v1:last"} {
			err = errors.Join(err, l.Add([]byte(row), c[:2], []byte(c[3:]), k*1000, v))
		}
		err = errors.Join(err, l.AddInt([]byte(row), "sum", []byte("n"), 0, 1))
	}
	if err != nil {
		w.fail("a cell was refused: %v", err)
		return refused
	}
	switch _, err = l.Commit(ctx); {
	case err == nil:
		return acked
	case errors.Is(err, bulkload.ErrPending), errors.Is(err, bulkload.ErrUnknownOutcome):
		if errors.Is(err, bulkload.ErrPending) {
			w.mu.Lock()
			w.decided = append(w.decided, rows)
			w.mu.Unlock()
		}
		return unknown
	}
	return refused
}

// adoptSome does what a master does about loads that are pending, or some of it.
func (w *world) adoptSome(some func() bool) (pending int) {
	loads, err := w.Meta.BulkLoads(w.ctx, w.table.ID)
	w.Must(err)
	for _, b := range loads {
		list := w.Tablets(w.ctx, w.table)
		if !slices.ContainsFunc(list, func(t meta.Tablet) bool { return !t.Adopted(b.ID) }) {
			if some() {
				w.Must(w.Meta.FinishLoad(w.ctx, b))
				w.loads.Add(1)
			}
			continue
		}
		for _, t := range list {
			if s := w.server(t.Owner); s != nil && !t.Adopted(b.ID) && some() {
				w.ask(func() error { return s.Adopt(w.ctx, t, b.ID) })
			}
		}
	}
	return len(loads)
}

// adoptTheRest has all loads adopted that are decided: they are as good as
// acknowledged.
func (w *world) adoptTheRest() {
	for range 200 {
		if w.adoptSome(func() bool { return true }) == 0 {
			for _, rows := range w.decided {
				for row, k := range rows {
					w.model.end(row, k, acked)
				}
			}
			return
		}
		time.Sleep(100 * time.Millisecond) // fake time
		w.reconcile(true)
	}
	w.t.Error("a load is not adopted in the end")
}
