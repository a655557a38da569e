package offload

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

const (
	// progressInterval is how often a worker says that it is alive.
	progressInterval = 2 * time.Second
	// keptWork is how many jobs that ended are remembered.
	keptWork = 100
	// tails is the memory for filters and indexes of the inputs of a job.
	tails = 64 << 20
	// busyFor is for how long a worker without a free slot is left alone.
	busyFor = time.Second
)

// work is one job under way.
type work struct {
	about   *compactorpb.Job
	input   int64
	started time.Time

	readBytes, readEntries, written, files atomic.Uint64
}

// Merge implements compactorpb.Compactor.
func (w *Worker) Merge(st grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	job, err := decodeJob(first.GetJob())
	if err != nil {
		return err
	}
	x, err := w.begin(first.GetJob(), job)
	if err != nil {
		return err
	}
	made, err := w.do(st, x, job)
	w.ended(x, err) // before the answer: whoever gets it may use the slot again
	if err != nil {
		return fmt.Errorf("merge for tablet %d: %w", job.Tablet, err)
	}
	return st.Send(&compactorpb.MergeResponse{Step: &compactorpb.MergeResponse_Result{Result: made}})
}

// begin takes a slot for a job.
func (w *Worker) begin(about *compactorpb.Job, job *compact.Job) (*work, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.mu.closing:
		return nil, errClosed
	case len(w.mu.running) >= w.cfg.Options.Slots:
		w.mu.totals.refused++
		return nil, &base.OverloadError{After: busyFor, Reason: fmt.Sprintf("the compactor has %d slots", w.cfg.Options.Slots)}
	}
	x := &work{about: about, input: job.Size(), started: time.Now()}
	w.mu.running[x] = struct{}{}
	w.jobs.Add(1)
	return x, nil
}

// ended gives the slot of a job back.
func (w *Worker) ended(x *work, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.mu.running, x)
	t := &w.mu.totals
	t.readBytes += x.readBytes.Load()
	t.writtenBytes += x.written.Load()
	p := x.proto()
	if err == nil {
		t.done++
	} else {
		t.failed++
		p.Error = err.Error()
	}
	if len(w.mu.recent) >= keptWork {
		w.mu.recent = slices.Delete(w.mu.recent, 0, 1)
	}
	w.mu.recent = append(w.mu.recent, p)
	w.jobs.Done()
}

// do does a job and returns the result. It ends with the call, or the worker.
func (w *Worker) do(st grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse], x *work, job *compact.Job) (*compactorpb.Result, error) {
	ctx, cancel := context.WithCancelCause(st.Context())
	defer cancel(nil)
	defer context.AfterFunc(w.life, func() { cancel(errClosed) })()
	c := &call{st: st, names: make(chan base.FileNumber)}
	go func() { cancel(c.receive(ctx)) }() // ends with the call
	var beating sync.WaitGroup
	stop, quiet := context.WithCancel(ctx)
	beating.Go(func() { c.beat(stop, x) })
	res, err := w.merge(ctx, c, x, job)
	quiet()
	beating.Wait()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	made := &compactorpb.Result{ReadEntries: res.Read}
	for _, r := range res.Runs {
		made.Runs = append(made.Runs, manifest.RunProto(r))
	}
	return made, nil
}

// merge reads and writes; c gives the names.
func (w *Worker) merge(ctx context.Context, c *call, x *work, job *compact.Job) (compact.Result, error) {
	ctx = limit.WithClass(ctx, limit.Background)
	var stored uint64
	store := &counted{Store: w.cfg.Store, n: &x.readBytes}
	files := tablet.NewFiles(store, sstable.NewCache(0), tails, base.Incarnation{})
	return tablet.MergeFiles(ctx, files, job, w.cfg.Options.Readahead, tablet.FileSink{
		Draw: c.draw,
		Put: func(ctx context.Context, n base.FileNumber, data []byte) error {
			stored += uint64(len(data))
			x.written.Store(stored)
			x.files.Add(1)
			return tablet.PutFile(ctx, w.cfg.Store, n, data)
		},
		Progress: func(read uint64, written int64) {
			x.readEntries.Store(read)
			x.written.Store(uint64(written))
		},
	})
}

// counted counts what is read of a store.
type counted struct {
	objstore.Store
	n *atomic.Uint64
}

// GetRange implements objstore.Store.
func (c *counted) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := c.Store.GetRange(ctx, key, off, n)
	c.n.Add(uint64(len(b)))
	return b, err
}

// call is the worker's end of a call.
type call struct {
	st    grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]
	names chan base.FileNumber
	mu    sync.Mutex // held while sending
}

func (c *call) send(r *compactorpb.MergeResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.Send(r)
}

// receive passes names on until the call ends, and returns why that was.
func (c *call) receive(ctx context.Context) error {
	for {
		r, err := c.st.Recv()
		if err != nil {
			return fmt.Errorf("%w: the tablet server has gone: %w", base.ErrAborted, err)
		}
		n := r.GetName()
		if n == nil {
			return fmt.Errorf("%w: the call goes on with something else than a name", base.ErrInvalid)
		}
		select {
		case c.names <- meta.FileNumber(n):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// draw asks the caller for a name.
func (c *call) draw(ctx context.Context) (n base.FileNumber, err error) {
	if err := c.send(&compactorpb.MergeResponse{Step: &compactorpb.MergeResponse_Draw{Draw: &compactorpb.Draw{}}}); err != nil {
		return n, err
	}
	select {
	case n = <-c.names:
	case <-ctx.Done():
		return n, context.Cause(ctx)
	}
	if n.IsZero() {
		return n, fmt.Errorf("%w: a file without a name", base.ErrInvalid)
	}
	return n, nil
}

// beat tells how far the job is, again and again.
func (c *call) beat(ctx context.Context, x *work) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p := &compactorpb.Progress{ReadBytes: x.readBytes.Load(), ReadEntries: x.readEntries.Load(), WrittenBytes: x.written.Load()}
		if c.send(&compactorpb.MergeResponse{Step: &compactorpb.MergeResponse_Progress{Progress: p}}) != nil {
			return // whoever receives finds out why
		}
	}
}

// proto returns the job as people see it.
func (x *work) proto() *compactorpb.Work {
	return &compactorpb.Work{
		Server: x.about.Server, Table: x.about.Table.GetId(), Tablet: x.about.Input.GetTablet(), Reason: x.about.Reason,
		StartedUs: x.started.UnixMicro(), ElapsedUs: time.Since(x.started).Microseconds(), InputBytes: uint64(x.input),
		ReadBytes: x.readBytes.Load(), WrittenBytes: x.written.Load(), Files: uint32(x.files.Load()),
	}
}

// Status implements compactorpb.Compactor.
func (w *Worker) Status(context.Context, *compactorpb.StatusRequest) (*compactorpb.StatusResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.mu.totals
	r := &compactorpb.StatusResponse{
		Record: w.mu.record, Done: t.done, Failed: t.failed, Refused: t.refused, ReadBytes: t.readBytes, WrittenBytes: t.writtenBytes,
	}
	for x := range w.mu.running {
		p := x.proto()
		r.ReadBytes += p.ReadBytes
		r.WrittenBytes += p.WrittenBytes
		r.Running = append(r.Running, p)
	}
	slices.SortFunc(r.Running, func(a, b *compactorpb.Work) int { return int(a.StartedUs - b.StartedUs) })
	r.Recent = slices.Clone(w.mu.recent)
	slices.Reverse(r.Recent)
	return r, nil
}
