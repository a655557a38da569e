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
