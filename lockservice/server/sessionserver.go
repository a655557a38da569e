package server

import (
	"context"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/lockservice/wire"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

func (h *lockServer) OpenSession(_ context.Context, req *lockpb.OpenSessionRequest) (*lockpb.OpenSessionResponse, error) {
	ttl := h.s.options.DefaultTTL
	if req.GetTtl() != nil {
		ttl = req.GetTtl().AsDuration()
	}
	if ttl < h.s.options.MinTTL || ttl > state.MaxTTL {
		return nil, fmt.Errorf("session TTL %v; %v to %v: %w", ttl, h.s.options.MinTTL, state.MaxTTL, base.ErrInvalid)
	}
	if _, err := h.s.leading(); err != nil {
		return nil, err
	}
	r, err := h.s.propose(&state.Register{Name: req.GetName(), TTL: ttl})
	if err != nil {
		return nil, err
	}
	return &lockpb.OpenSessionResponse{Session: wire.FromSessionInfo(r.Session)}, nil
}

// KeepAlive answers as soon as it knows: the longer an answer is held, the
// less of the lease is left when it arrives. Ends are told by AwaitSessionEnd.
func (h *lockServer) KeepAlive(ctx context.Context, req *lockpb.KeepAliveRequest) (*lockpb.KeepAliveResponse, error) {
	l, err := h.s.confirmed(ctx)
	if err != nil {
		return nil, err
	}
	return &lockpb.KeepAliveResponse{}, l.renew(wire.ToSession(req.GetId()))
}

// awaitHold is how long AwaitSessionEnd waits at most.
const awaitHold = 20 * time.Second

func (h *lockServer) AwaitSessionEnd(ctx context.Context, req *lockpb.AwaitSessionEndRequest) (*lockpb.AwaitSessionEndResponse, error) {
	id := wire.ToSession(req.GetId())
	timer := time.NewTimer(awaitHold)
	defer timer.Stop()
	for {
		touched := h.s.store.TouchedNext()
		if _, dead := h.s.store.SessionState(id); dead {
			return &lockpb.AwaitSessionEndResponse{Ended: true}, nil
		}
		select {
		case <-touched:
		case <-timer.C:
			return &lockpb.AwaitSessionEndResponse{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-h.s.ctx.Done():
			return nil, base.ErrUnavailable
		}
	}
}

func (h *lockServer) EndSession(_ context.Context, req *lockpb.EndSessionRequest) (*lockpb.EndSessionResponse, error) {
	reason, ok := map[lockpb.EndSessionRequest_Reason]state.EndReason{
		lockpb.EndSessionRequest_CLOSED:      state.EndClosed,
		lockpb.EndSessionRequest_REVOKED:     state.EndRevoked,
		lockpb.EndSessionRequest_PROVED_DEAD: state.EndProvedDead,
	}[req.GetReason()]
	if !ok {
		return nil, fmt.Errorf("end of a session for reason %v: %w", req.GetReason(), base.ErrInvalid)
	}
	if _, err := h.s.leading(); err != nil {
		return nil, err
	}
	_, err := h.s.propose(&state.EndSession{ID: wire.ToSession(req.GetId()), Reason: reason})
	return &lockpb.EndSessionResponse{}, err
}

func (h *lockServer) Sessions(ctx context.Context, _ *lockpb.SessionsRequest) (*lockpb.SessionsResponse, error) {
	v, err := h.s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	out := &lockpb.SessionsResponse{Revision: uint64(v.Revision())}
	for _, i := range v.Sessions() {
		out.Sessions = append(out.Sessions, wire.FromSessionInfo(i))
	}
	return out, nil
}

// lockHold is how long AcquireLock waits at most.
const lockHold = 20 * time.Second

// AcquireLock waits for the lock at the leader; it proposes only when the lock
// looks free here, so that waiting costs no log entries.
func (h *lockServer) AcquireLock(ctx context.Context, req *lockpb.AcquireLockRequest) (*lockpb.AcquireLockResponse, error) {
	l, err := h.s.leading()
	if err != nil {
		return nil, err
	}
	want := &state.Acquire{
		Session: wire.ToSession(req.GetSession()), Name: req.GetName(), Shared: req.GetShared(),
		Delay: req.GetDelay().AsDuration(), Data: req.GetData(),
	}
	timer := time.NewTimer(min(req.GetWait().AsDuration(), lockHold))
	defer timer.Stop()
	for tried := false; ; tried = true {
		touched := h.s.store.TouchedNext()
		if !tried || h.s.store.View().Free(want) {
			r, err := h.s.propose(want)
			if err != nil {
				return nil, err
			}
			if r.OK {
				return &lockpb.AcquireLockResponse{Acquired: true, Sequencer: wire.FromSequencer(r.Lock)}, nil
			}
			if req.GetWait().AsDuration() <= 0 {
				return &lockpb.AcquireLockResponse{}, nil
			}
			continue
		}
		select {
		case <-touched:
		case <-timer.C:
			return &lockpb.AcquireLockResponse{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.over:
			return nil, &base.LeaderError{Leader: h.s.leaderAddress()}
		}
	}
}

func (h *lockServer) ReleaseLock(_ context.Context, req *lockpb.ReleaseLockRequest) (*lockpb.ReleaseLockResponse, error) {
	if _, err := h.s.leading(); err != nil {
		return nil, err
	}
	r, err := h.s.propose(&state.Release{Session: wire.ToSession(req.GetSession()), Name: req.GetName()})
	if err != nil {
		return nil, err
	}
	return &lockpb.ReleaseLockResponse{WasHeld: r.OK}, nil
}

func (h *lockServer) Locks(ctx context.Context, _ *lockpb.LocksRequest) (*lockpb.LocksResponse, error) {
	v, err := h.s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	out := &lockpb.LocksResponse{Revision: uint64(v.Revision())}
	for _, i := range v.Locks() {
		out.Locks = append(out.Locks, wire.FromLockInfo(i))
	}
	return out, nil
}
