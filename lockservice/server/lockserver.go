package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/lockservice/wire"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// lockServer implements lockpb.LockServiceServer.
type lockServer struct {
	lockpb.UnsafeLockServiceServer
	s *Server
}

// chunkBytes is about how much one message of a stream holds.
const chunkBytes = 512 << 10

func (h *lockServer) Txn(ctx context.Context, req *lockpb.TxnRequest) (*lockpb.TxnResponse, error) {
	t, err := wire.ToTxn(req)
	if err != nil {
		return nil, err
	}
	if !state.Writes(&t) {
		return h.readTxn(ctx, &t)
	}
	if _, err := h.s.leading(); err != nil {
		return nil, err
	}
	r, err := h.s.propose(&state.Txn{Txn: t, Retry: req.GetRetry()})
	if err != nil {
		return nil, err
	}
	return wire.FromTxnResult(&r.Txn), nil
}

// readTxn answers a transaction that writes nothing as a read.
func (h *lockServer) readTxn(ctx context.Context, t *lockservice.Txn) (*lockpb.TxnResponse, error) {
	v, err := h.s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	r, err := v.Txn(t)
	if err != nil {
		return nil, err
	}
	return wire.FromTxnResult(&r), nil
}

// view returns the state: linearizable, or as it stands here.
func (s *Server) view(ctx context.Context, stale bool) (*state.View, error) {
	if !stale {
		if _, err := s.confirmed(ctx); err != nil {
			return nil, err
		}
	}
	return s.store.View(), nil
}

func (h *lockServer) Get(ctx context.Context, req *lockpb.GetRequest) (*lockpb.GetResponse, error) {
	if !req.GetStale() {
		if _, err := h.s.confirmed(ctx); err != nil {
			return nil, err
		}
	}
	kv, ok, revision := h.s.store.Get(string(req.GetKey()))
	out := &lockpb.GetResponse{Revision: uint64(revision)}
	if ok {
		if req.GetKeysOnly() {
			kv.Value = nil
		}
		out.Kv = wire.FromKV(kv)
	}
	return out, nil
}

func (h *lockServer) List(req *lockpb.ListRequest, stream grpc.ServerStreamingServer[lockpb.ListResponse]) error {
	v, err := h.s.view(stream.Context(), req.GetStale())
	if err != nil {
		return err
	}
	if req.GetLimit() < 0 {
		return fmt.Errorf("limit %d: %w", req.GetLimit(), base.ErrInvalid)
	}
	for i, r := range req.GetRanges() {
		if err := listRange(v, uint32(i), r, req, stream); err != nil {
			return err
		}
	}
	return stream.Send(&lockpb.ListResponse{Revision: uint64(v.Revision()), Last: true})
}

// keysAtOnce is how many keys are read from the view before they are sent.
const keysAtOnce = 1000

func listRange(v *state.View, index uint32, r *lockpb.KeyRange, req *lockpb.ListRequest, stream grpc.ServerStreamingServer[lockpb.ListResponse]) error {
	start, end := string(r.GetStart()), string(r.GetEnd())
	left := int(req.GetLimit())
	for {
		o := lockservice.ReadOptions{KeysOnly: req.GetKeysOnly(), Limit: keysAtOnce}
		if left > 0 {
			o.Limit = min(left, keysAtOnce)
		}
		kvs, more := v.Range(start, end, o)
		if err := sendKVs(v, index, kvs, stream); err != nil {
			return err
		}
		if left > 0 {
			if left -= len(kvs); left == 0 {
				return nil
			}
		}
		if !more {
			return nil
		}
		start = kvs[len(kvs)-1].Key + "\x00"
	}
}

func sendKVs(v *state.View, index uint32, kvs []lockservice.KV, stream grpc.ServerStreamingServer[lockpb.ListResponse]) error {
	for len(kvs) > 0 {
		n, size := 0, 0
		for n < len(kvs) && size < chunkBytes {
			size += len(kvs[n].Key) + len(kvs[n].Value) + 64
			n++
		}
		m := &lockpb.ListResponse{Revision: uint64(v.Revision()), Range: index, Kvs: wire.FromKVs(kvs[:n])}
		if err := stream.Send(m); err != nil {
			return err
		}
		kvs = kvs[n:]
	}
	return nil
}

// progressInterval is how often a watch without events says how far it is.
const progressInterval = 5 * time.Second

// eventsAtOnce is about how many events one message of a watch holds.
const eventsAtOnce = 1024

func (h *lockServer) Watch(req *lockpb.WatchRequest, stream grpc.ServerStreamingServer[lockpb.WatchResponse]) error {
	l, err := h.s.leading()
	if err != nil {
		return err
	}
	start, end := string(req.GetStart()), string(req.GetEnd())
	from := lockservice.Revision(req.GetFrom())
	progress := time.NewTicker(progressInterval)
	defer progress.Stop()
	mark := true // the first answer comes at once
	for {
		changed := h.s.store.Changed()
		r, err := h.s.store.Events(start, end, from, eventsAtOnce)
		if err != nil {
			return err
		}
		if len(r.Events) > 0 || mark {
			if err := stream.Send(wire.FromEvents(r)); err != nil {
				return err
			}
			mark = false
		}
		if r.Revision > from {
			from = r.Revision
			continue
		}
		select {
		case <-changed:
		case <-progress.C:
			mark = true
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-l.over:
			return &base.LeaderError{Leader: h.s.leaderAddress()}
		}
	}
}
