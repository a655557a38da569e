package master

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// ClusterStatus implements controlpb.MasterServer.
func (m *Master) ClusterStatus(ctx context.Context, _ *controlpb.ClusterStatusRequest) (*controlpb.ClusterStatusResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	c := t.mirror.count()
	resp := &controlpb.ClusterStatusResponse{
		Master: m.cfg.Address, ClusterId: m.cfg.ClusterID,
		Tablets: uint32(c.tablets), Unassigned: uint32(c.unassigned), Loading: uint32(c.loading), Serving: uint32(c.serving),
	}
	if !c.oldest.IsZero() {
		resp.OldestUnservedUs = max(0, time.Since(c.oldest).Microseconds())
	}
	servers := t.mirror.work().servers
	drained := t.mirror.drained()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range slices.SortedFunc(maps.Keys(servers), base.Incarnation.Compare) {
		s := &controlpb.ServerStatus{Server: servers[e].Record, Assigned: uint32(c.owned[e]), Serving: uint32(c.loaded[e]),
			Drained: slices.Contains(drained, servers[e].Record.GetName())}
		if p := t.mu.peers[e]; p != nil {
			st := p.status()
			s.Load, s.Reachable = st.load, st.reachable
		}
		resp.Servers = append(resp.Servers, s)
	}
	resp.StatusAddress, resp.Events = m.cfg.StatusAddress, slices.Clone(t.mu.events)
	resp.SafeMode, resp.SafeModeReason = t.mu.safe.On(time.Now())
	running := slices.Collect(maps.Values(t.mu.recoveries))
	slices.SortFunc(running, func(a, b *recovery) int { return a.e.Compare(b.e) })
	for _, r := range slices.Concat(t.mu.recent, running) {
		resp.Recoveries = append(resp.Recoveries, r.proto(resp.SafeMode))
	}
	return resp, nil
}

// ReportDead implements controlpb.MasterServer.
func (m *Master) ReportDead(ctx context.Context, req *controlpb.ReportDeadRequest) (*controlpb.ReportDeadResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	e := meta.Incarnation(req.GetIncarnation())
	if e.IsZero() {
		return nil, base.Invalidf("incarnation must be set")
	}
	if err := m.cfg.LockService.Revoke(ctx, e, req.GetReaped()); err != nil {
		return nil, err
	}
	t.log.WarnContext(ctx, "process reported dead", "server", e.String(), "reaped", req.GetReaped())
	return &controlpb.ReportDeadResponse{}, nil
}

// SetSafeMode implements controlpb.MasterServer. It holds for this master's
// term.
func (m *Master) SetSafeMode(ctx context.Context, req *controlpb.SetSafeModeRequest) (*controlpb.SetSafeModeResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.mu.safe.Set(req.GetOn())
	t.eventLocked("an operator set safe mode to %v", req.GetOn())
	t.mu.Unlock()
	t.wakeUp()
	t.log.WarnContext(ctx, "safe mode set by an operator", "on", req.GetOn())
	return &controlpb.SetSafeModeResponse{}, nil
}
