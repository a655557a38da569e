package offload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

const (
	// silence is how long a worker may say nothing, which it does every few
	// seconds, and stall how long it may be at a job and get nowhere.
	silence = 20 * time.Second
	stall   = 2 * time.Minute
)

var (
	errSilent  = fmt.Errorf("%w: nothing was heard of the compactor for %v", base.ErrUnavailable, silence)
	errStalled = fmt.Errorf("%w: the compactor got nowhere for %v", base.ErrUnavailable, stall)
)

// Slot implements tablet.Elsewhere.
var _ tablet.Elsewhere = (*Slot)(nil)

// String returns the name of the worker.
func (s *Slot) String() string { return s.m.record.Name }

// Takes reports whether a job is worth the way.
func (s *Slot) Takes(job *compact.Job) bool { return job.Size() >= s.p.cfg.MinBytes }

// Merge lets the worker do a job. draw returns the names of files; progress is
// told how many bytes are written. It returns when the worker has done it, or
// has failed, or is given up because nothing is heard of it; where ctx ends the
// job is cancelled.
func (s *Slot) Merge(ctx context.Context, job *compact.Job, reason string, draw func() base.FileNumber, progress func(written int64)) (compact.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // ends the call
	defer context.AfterFunc(s.p.life, func() { cancel(context.Cause(s.p.life)) })()
	watch := newWatch(cancel)
	defer watch.stop()
	res, err := s.merge(ctx, encodeJob(job, s.p.cfg.Name, reason), draw, progress, watch)
	switch cause := context.Cause(ctx); {
	case err == nil:
	case errors.Is(cause, errSilent), errors.Is(cause, errStalled):
		err = cause
	case cause != nil: // the caller's
		return compact.Result{}, cause
	}
	s.settle(err)
	return res, err
}

// merge is the call itself.
func (s *Slot) merge(ctx context.Context, job *compactorpb.Job, draw func() base.FileNumber, progress func(int64), watch *watch) (compact.Result, error) {
	st, err := compactorpb.NewCompactorClient(s.m.cc).Merge(ctx)
	if err != nil {
		return compact.Result{}, rpc.FromStatus(err)
	}
	// An error of a send says nothing; that of the next receive does.
	st.Send(&compactorpb.MergeRequest{Step: &compactorpb.MergeRequest_Job{Job: job}})
	for {
		r, err := st.Recv()
		if err != nil {
			return compact.Result{}, rpc.FromStatus(err)
		}
		watch.heard(r.GetProgress())
		switch x := r.Step.(type) {
		case *compactorpb.MergeResponse_Draw:
			answer(st, draw())
		case *compactorpb.MergeResponse_Progress:
			progress(int64(x.Progress.WrittenBytes))
		case *compactorpb.MergeResponse_Result:
			return compact.Result{Runs: manifest.RunsFromProto(x.Result.Runs), Read: x.Result.ReadEntries}, nil
		default:
			return compact.Result{}, fmt.Errorf("%w: the compactor says what this build does not know", base.ErrUnimplemented)
		}
	}
}

func answer(st grpc.BidiStreamingClient[compactorpb.MergeRequest, compactorpb.MergeResponse], n base.FileNumber) {
	st.Send(&compactorpb.MergeRequest{Step: &compactorpb.MergeRequest_Name{Name: meta.FileNumberProto(n)}})
}

// watch gives a call up that is silent, or gets nowhere.
type watch struct {
	silent, stalled *time.Timer
	last            [3]uint64
}

func newWatch(cancel context.CancelCauseFunc) *watch {
	return &watch{
		silent:  time.AfterFunc(silence, func() { cancel(errSilent) }),
		stalled: time.AfterFunc(stall, func() { cancel(errStalled) }),
	}
}

func (w *watch) stop() {
	w.silent.Stop()
	w.stalled.Stop()
}

// heard notes a message, and, if it is one, how far the worker is.
func (w *watch) heard(p *compactorpb.Progress) {
	w.silent.Reset(silence)
	if now := [3]uint64{p.GetReadBytes(), p.GetReadEntries(), p.GetWrittenBytes()}; p == nil || now != w.last {
		if p != nil {
			w.last = now
		}
		w.stalled.Reset(stall)
	}
}
