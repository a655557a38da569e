package offload_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// yard is a server with a tablet, and what its workers are.
type yard struct {
	*tabletservertest.Fixture
	t   *testing.T
	ctx context.Context
	s   *tabletservertest.Server
	tb  meta.Tablet
}

// inYard runs f in a bubble, after workers were opened by open.
func inYard(t *testing.T, open func(y *yard), f func(y *yard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		y := &yard{Fixture: tabletservertest.New(t), t: t, ctx: t.Context()}
		defer y.Close()
		y.Options.OffloadBytes = 1
		open(y)
		synctest.Wait()
		y.s = y.Open(y.ctx)
		y.tb = y.Serve(y.ctx, y.Tablets(y.ctx, y.CreateTable(y.ctx))[0], y.s)
		f(y)
	})
}

// runs makes n runs of a few rows each, and returns the rows there must be.
func (y *yard) runs(n int) (want []string) {
	y.t.Helper()
	for i := range n {
		for j := range 3 {
			row := fmt.Sprintf("r%02d", i+j)
			y.Must(y.s.Set(y.ctx, y.tb, row, "v1", "q", int64(1000*(i+1)), fmt.Sprint(i)))
		}
		y.Must(y.s.Flush(y.ctx, y.tb))
	}
	for r := range n + 2 {
		i := min(r, n-1)
		want = append(want, fmt.Sprintf("r%02d v1:q@%d=%d", r, 1000*(i+1), i))
	}
	return want
}

// settle waits until the tablet has few runs.
func (y *yard) settle() {
	y.t.Helper()
	for range 600 {
		d, err := y.s.Control().Describe(y.ctx, &controlpb.DescribeRequest{Tablet: uint64(y.tb.ID)})
		y.Must(err)
		if a := y.activity(); len(d.Manifest.Runs) < 4 && len(a.Running) == 0 && a.CompactionQueue == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond) // fake time
	}
	y.t.Fatal("the tablet was not compacted")
}

func (y *yard) activity() *controlpb.ActivityResponse {
	y.t.Helper()
	a, err := y.s.Control().Activity(y.ctx, &controlpb.ActivityRequest{})
	y.Must(err)
	return a
}

// merged counts the compactions that were done, here and at workers, and the
// attempts that failed.
func (y *yard) merged() (here, away, failed int) {
	y.t.Helper()
	for _, j := range y.activity().Recent {
		switch {
		case j.Kind != "compaction":
		case j.Error != "":
			failed++
		case strings.Contains(j.Detail, "at worker "):
			away++
		default:
			here++
		}
	}
	return here, away, failed
}

func (y *yard) want(rows []string) {
	y.t.Helper()
	if got := y.s.All(y.ctx, y.tb); strings.Join(got, "\n") != strings.Join(rows, "\n") {
		y.t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(rows, "\n"))
	}
}

// between is a service in the place of a worker's.
type between struct {
	compactorpb.CompactorServer
	merge func(grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]) error
}

func (b *between) Merge(st grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]) error {
	return b.merge(st)
}

// TestWorkerMerges: a worker that is there is given what there is to merge, and
// the server does nothing itself.
func TestWorkerMerges(t *testing.T) {
	var w *tabletservertest.Worker
	inYard(t, func(y *yard) { w = y.OpenWorker(y.ctx, 2, nil) }, func(y *yard) {
		want := y.runs(8) // as many as there may be: nothing is urgent
		y.settle()
		y.Must(y.s.Compact(y.ctx, y.tb))
		y.want(want)
		here, away, failed := y.merged()
		if here != 0 || away < 2 || failed != 0 {
			t.Errorf("%d compactions were done here, %d away, %d failed", here, away, failed)
		}
		st, err := w.Status(y.ctx, nil)
		y.Must(err)
		if int(st.Done) != away || st.Failed != 0 || len(st.Running) != 0 || len(st.Recent) != away || st.ReadBytes == 0 || st.WrittenBytes == 0 {
			t.Errorf("the worker says %v", st)
		}
	})
}

// TestWorkersFail: whatever a worker does wrong, the server notices and merges
// by itself; what it does not believe is named by nobody.
func TestWorkersFail(t *testing.T) {
	type stream = grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]
	// lie lets the worker work and changes what it says.
	lie := func(f func(*compactorpb.Result)) func(compactorpb.CompactorServer) func(stream) error {
		return func(s compactorpb.CompactorServer) func(stream) error {
			return func(st stream) error {
				return s.Merge(&liar{st, func(r *compactorpb.MergeResponse) {
					if x := r.GetResult(); x != nil {
						f(x)
					}
				}})
			}
		}
	}
	forget := func(r *compactorpb.Result) { r.Runs[0].Files = r.Runs[0].Files[1:] }
	for name, c := range map[string]struct {
		merge   func(compactorpb.CompactorServer) func(stream) error
		refused bool
	}{
		"an error": {merge: func(compactorpb.CompactorServer) func(stream) error {
			return func(stream) error { return base.ErrCorrupt }
		}},
		"silence": {merge: func(compactorpb.CompactorServer) func(stream) error {
			return func(st stream) error { <-st.Context().Done(); return st.Context().Err() }
		}},
		"gets nowhere": {merge: func(compactorpb.CompactorServer) func(stream) error {
			return func(st stream) error {
				for st.Context().Err() == nil {
					st.Send(&compactorpb.MergeResponse{Step: &compactorpb.MergeResponse_Progress{Progress: &compactorpb.Progress{ReadBytes: 7}}})
					time.Sleep(time.Second) // fake time
				}
				return st.Context().Err()
			}
		}},
		"an answer without sense": {merge: func(compactorpb.CompactorServer) func(stream) error {
			return func(st stream) error { return st.Send(&compactorpb.MergeResponse{}) }
		}},
		"a file is missing":          {lie(forget), true},
		"nothing is left":            {lie(func(r *compactorpb.Result) { r.Runs[0].Files = nil }), true},
		"the name of another":        {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].File.Number += 1000 }), true},
		"another row":                {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].Smallest = []byte("a\x00\x01") }), true},
		"too many entries":           {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].Entries += 1000 }), true},
		"one entry too many":         {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].RawBytes++ }), true},
		"entries that were not read": {lie(func(r *compactorpb.Result) { r.ReadEntries-- }), true},
		"another sequence":           {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].MaxSeq += 1000 }), true},
		"another time":               {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].MaxTimestamp++ }), true},
		"a drop that was none":       {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].Settled = 1 }), true},
		"bounds":                     {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].Upper = []byte("r03") }), true},
		"another size":               {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].Size-- }), true},
		"another tail":               {lie(func(r *compactorpb.Result) { r.Runs[0].Files[0].TailOffset++ }), true},
	} {
		t.Run(name, func(t *testing.T) {
			inYard(t, func(y *yard) {
				y.OpenWorker(y.ctx, 2, func(s compactorpb.CompactorServer) compactorpb.CompactorServer { return &between{s, c.merge(s)} })
			}, func(y *yard) {
				want := y.runs(8)
				began := time.Now()
				y.Must(y.s.Compact(y.ctx, y.tb))
				y.settle()
				y.want(want)
				here, away, failed := y.merged()
				if here == 0 || away != 0 || failed == 0 {
					t.Errorf("%d compactions were done here, %d away, %d failed", here, away, failed)
				}
				if took := time.Since(began); took > 5*time.Minute {
					t.Errorf("it took %v", took)
				}
				if refused := y.metric("tabletdb_tabletserver_offload_refused_total"); refused > 0 != c.refused {
					t.Errorf("%v results were refused", refused)
				}
			})
		})
	}
}

// liar changes what is sent through it.
type liar struct {
	grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]
	change func(*compactorpb.MergeResponse)
}

func (l *liar) Send(r *compactorpb.MergeResponse) error {
	l.change(r)
	return l.BidiStreamingServer.Send(r)
}

// metric returns a metric of the server.
func (y *yard) metric(name string) float64 {
	y.t.Helper()
	r := prometheus.NewRegistry()
	y.Must(r.Register(tabletserver.NewMetrics(func() *tabletserver.Server { return y.s.Server })))
	all, err := r.Gather()
	y.Must(err)
	for _, m := range all {
		if m.GetName() == name {
			x := m.Metric[0]
			return x.GetCounter().GetValue() + x.GetGauge().GetValue()
		}
	}
	y.t.Fatalf("no metric %s", name)
	return 0
}

// TestWorkerDies: the death of a worker at any moment costs its job only, which
// is done again; when it is back, it is asked again.
func TestWorkerDies(t *testing.T) {
	for _, put := range []bool{false, true} { // in its first read, its first write
		t.Run(fmt.Sprint(put), func(t *testing.T) {
			var w *tabletservertest.Worker
			inYard(t, func(y *yard) { w = y.OpenWorker(y.ctx, 2, nil) }, func(y *yard) {
				op := map[bool]tabletservertest.Op{true: tabletservertest.Put, false: tabletservertest.Get}[put]
				w.Store.Hang(op, base.SSTablePrefix)
				want := y.runs(4)
				time.Sleep(time.Second)
				if a := y.activity(); len(a.Running) != 1 || !strings.Contains(a.Running[0].Detail, "at worker "+w.Name()) {
					t.Fatalf("under way: %v", a.Running)
				}
				w.Kill()
				y.settle()
				y.want(want)
				if here, away, failed := y.merged(); here != 1 || away != 0 || failed == 0 {
					t.Errorf("%d compactions were done here, %d away, %d failed", here, away, failed)
				}
				time.Sleep(2 * tabletservertest.TTL)
				if n := y.metric("tabletdb_tabletserver_offload_workers"); n != 0 {
					t.Errorf("%v workers are alive", n)
				}
				y.OpenWorker(y.ctx, 1, nil)
				synctest.Wait()
				y.want(y.runs(4))
				y.settle()
				if _, away, _ := y.merged(); away == 0 {
					t.Error("the worker that came back does nothing")
				}
			})
		})
	}
}

// TestJobIsCancelled: when the tablet is released, the worker stops.
func TestJobIsCancelled(t *testing.T) {
	var w *tabletservertest.Worker
	inYard(t, func(y *yard) { w = y.OpenWorker(y.ctx, 2, nil) }, func(y *yard) {
		release := w.Store.Hang(tabletservertest.Put, base.SSTablePrefix)
		want := y.runs(4)
		time.Sleep(time.Second)
		st, err := w.Status(y.ctx, nil)
		y.Must(err)
		if len(st.Running) != 1 || st.Running[0].Server != y.s.Name || st.Running[0].Tablet != uint64(y.tb.ID) {
			t.Fatalf("under way: %v", st.Running)
		}
		other := y.Open(y.ctx)
		y.tb = y.Move(y.ctx, y.tb, y.s, other)
		synctest.Wait()
		if st, err = w.Status(y.ctx, nil); err != nil || len(st.Running) > 1 || len(st.Running) == 1 && st.Running[0].Server != other.Name || st.Failed != 1 {
			t.Errorf("after the release: %v, %v", st, err)
		}
		y.s = other
		release()
		y.want(want)
		y.settle()
		y.want(want)
	})
}

// TestBusyWorker: what can wait does so for a while when all slots are taken;
// what is urgent does not.
func TestBusyWorker(t *testing.T) {
	var w *tabletservertest.Worker
	inYard(t, func(y *yard) {
		w = y.OpenWorker(y.ctx, 1, nil)
		y.Options.OffloadPatience = 30 * time.Second
	}, func(y *yard) {
		release := w.Store.Hang(tabletservertest.Put, base.SSTablePrefix)
		defer release()
		y.runs(4) // occupies the slot
		time.Sleep(time.Second)
		first := y.tb
		y.tb = y.Serve(y.ctx, y.Tablets(y.ctx, y.CreateTable(y.ctx))[0], y.s)
		began := time.Now()
		want := y.runs(4)
		time.Sleep(time.Second)
		if a := y.activity(); a.CompactionQueue != 1 || len(a.Running) != 1 {
			t.Errorf("waiting: %d, under way: %v", a.CompactionQueue, a.Running)
		}
		y.want(want)
		for y.activity().CompactionQueue > 0 {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took < 29*time.Second || took > 35*time.Second {
			t.Errorf("it waited for %v", took)
		}
		y.Options.NoCompaction = true
		began = time.Now()
		want = y.runs(30)
		for {
			d, err := y.s.Control().Describe(y.ctx, &controlpb.DescribeRequest{Tablet: uint64(y.tb.ID)})
			y.Must(err)
			if len(d.Manifest.Runs) <= 8 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("too many runs stayed for %v", took)
		}
		y.want(want)
		y.tb = first
	})
}

// TestPartition: a worker that the server cannot reach any more, while both are
// alive, is given up; what it writes then is named by nobody, and when the
// network is back it is asked again.
func TestPartition(t *testing.T) {
	var w *tabletservertest.Worker
	inYard(t, func(y *yard) { w = y.OpenWorker(y.ctx, 2, nil) }, func(y *yard) {
		release := w.Store.Hang(tabletservertest.Put, base.SSTablePrefix)
		want := y.runs(4)
		time.Sleep(time.Second)
		y.Net.Partition(y.s.Name, w.Name())
		time.Sleep(time.Minute)
		release() // the worker has not noticed: its file comes late
		y.settle()
		y.want(want)
		if here, away, failed := y.merged(); here != 1 || away != 0 || failed == 0 {
			t.Errorf("%d compactions were done here, %d away, %d failed", here, away, failed)
		}
		time.Sleep(5 * time.Minute)
		y.Net.Join(y.s.Name, w.Name())
		time.Sleep(5 * time.Minute)
		y.want(y.runs(4))
		y.settle()
		if _, away, _ := y.merged(); away == 0 {
			t.Error("the worker that is back does nothing")
		}
	})
}

// TestSessionExpires: a worker whose session has expired, though it lives, goes
// on with its job, and registers again.
func TestSessionExpires(t *testing.T) {
	var w *tabletservertest.Worker
	inYard(t, func(y *yard) { w = y.OpenWorker(y.ctx, 2, nil) }, func(y *yard) {
		release := w.Store.Hang(tabletservertest.Put, base.SSTablePrefix)
		want := y.runs(4)
		time.Sleep(time.Second)
		st, err := w.Status(y.ctx, nil)
		y.Must(err)
		y.Expire(y.ctx, meta.Incarnation(st.Record.Incarnation))
		time.Sleep(time.Second)
		release()
		y.settle()
		y.want(want)
		if here, away, failed := y.merged(); here != 0 || away != 1 || failed != 0 {
			t.Errorf("%d compactions were done here, %d away, %d failed", here, away, failed)
		}
		if n := y.metric("tabletdb_tabletserver_offload_workers"); n != 1 {
			t.Errorf("%v workers are alive", n)
		}
	})
}

// TestOrderlyStop: a worker that is closed ends what it is at.
func TestOrderlyStop(t *testing.T) {
	var w *tabletservertest.Worker
	inYard(t, func(y *yard) { w = y.OpenWorker(y.ctx, 2, nil) }, func(y *yard) {
		release := w.Store.Hang(tabletservertest.Put, base.SSTablePrefix)
		y.runs(4)
		time.Sleep(time.Second)
		done := make(chan error, 1)
		go func() { done <- w.Close(context.WithoutCancel(y.ctx)) }()
		time.Sleep(time.Second)
		y.want(y.runs(8)) // not given to it any more
		release()
		y.Must(<-done)
		y.settle()
		if here, away, failed := y.merged(); here == 0 || away != 1 || failed != 0 {
			t.Errorf("%d compactions were done here, %d away, %d failed", here, away, failed)
		}
	})
}
