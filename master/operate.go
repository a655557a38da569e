package master

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// byOperator is why something is done that an operator asked for.
const byOperator = "asked for by an operator"

// decide carries a decision of an operator's out.
func (t *term) decide(ctx context.Context, d balance.Decision) ([]meta.Tablet, error) {
	ctx, cancel := t.bind(ctx)
	defer cancel()
	d.Why = byOperator
	result, err := t.carryOut(ctx, d)
	return result, t.outcome(err)
}

// SplitTablet implements controlpb.MasterServer.
func (m *Master) SplitTablet(ctx context.Context, req *controlpb.SplitTabletRequest) (*controlpb.SplitTabletResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.GetRow()) > 0 && req.GetByLoad() {
		return nil, base.Invalidf("give either a row or by_load")
	}
	made, err := t.decide(ctx, balance.Decision{Kind: balance.Split, Tablet: base.TabletID(req.GetTablet()), Row: req.GetRow(), ByLoad: req.GetByLoad()})
	if err != nil {
		return nil, err
	}
	resp := &controlpb.SplitTabletResponse{Row: made[0].End}
	for _, c := range made {
		resp.Children = append(resp.Children, uint64(c.ID))
	}
	return resp, nil
}

// MergeTablets implements controlpb.MasterServer.
func (m *Master) MergeTablets(ctx context.Context, req *controlpb.MergeTabletsRequest) (*controlpb.MergeTabletsResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetLeft() == req.GetRight() {
		return nil, base.Invalidf("tablet %d cannot be merged with itself", req.GetLeft())
	}
	made, err := t.decide(ctx, balance.Decision{Kind: balance.Merge, Tablet: base.TabletID(req.GetLeft()), Other: base.TabletID(req.GetRight())})
	if err != nil {
		return nil, err
	}
	return &controlpb.MergeTabletsResponse{Merged: uint64(made[0].ID)}, nil
}

// MoveTablet implements controlpb.MasterServer.
func (m *Master) MoveTablet(ctx context.Context, req *controlpb.MoveTabletRequest) (*controlpb.MoveTabletResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	id := base.TabletID(req.GetTablet())
	tb, _, err := t.served(id)
	if err != nil {
		return nil, err
	}
	to, err := t.destination(tb, req.GetServer())
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if to != tb.Owner {
		if _, err := t.decide(ctx, balance.Decision{Kind: balance.Move, Tablet: id, From: tb.Owner, To: to}); err != nil {
			return nil, err
		}
	}
	resp := &controlpb.MoveTabletResponse{Server: t.mirror.name(to), TookUs: time.Since(began).Microseconds()}
	if now, ok := t.mirror.tabletByID(id); ok && !now.Owner.IsZero() { // it may have died meanwhile
		resp.Server = t.mirror.name(now.Owner)
	}
	return resp, nil
}

// destination returns the server that an operator means: the one that is called
// so, or, for "", the emptiest that does not own the tablet.
func (t *term) destination(tb meta.Tablet, server string) (base.Incarnation, error) {
	if server != "" {
		s, ok := t.mirror.named(server)
		if !ok {
			return base.Incarnation{}, fmt.Errorf("tablet server %q: %w; tabletadm servers shows those there are", server, base.ErrNotFound)
		}
		if slices.Contains(t.mirror.drained(), s.Record.GetName()) {
			return base.Incarnation{}, fmt.Errorf("%w: tablet server %q is drained: it takes no tablets", base.ErrPrecondition, server)
		}
		return s.Incarnation, nil
	}
	state, _ := t.balanceState()
	to, ok := balance.Destination(state, t.opt.Balance, tb.ID, tb.Owner)
	if !ok {
		return base.Incarnation{}, fmt.Errorf("%w: there is no other tablet server that takes tablets", base.ErrPrecondition)
	}
	return to, nil
}

// DrainServer implements controlpb.MasterServer. The mark stands when it returns.
func (m *Master) DrainServer(ctx context.Context, req *controlpb.DrainServerRequest) (*controlpb.DrainServerResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	name := req.GetServer()
	s, live := t.mirror.named(name)
	if live && s.Record.GetName() != "" {
		name = s.Record.GetName()
	}
	switch {
	case name == "":
		return nil, base.Invalidf("server must be set")
	case req.GetUndrain():
		if !slices.Contains(t.mirror.drained(), name) && !live {
			return nil, fmt.Errorf("tablet server %q: %w; it is neither running nor drained", name, base.ErrNotFound)
		}
	case !live:
		return nil, fmt.Errorf("tablet server %q: %w; tabletadm servers shows those there are", name, base.ErrNotFound)
	case !t.hasOther(s.Incarnation):
		return nil, fmt.Errorf("%w: %s is the only tablet server that is not drained; its tablets have nowhere to go", base.ErrPrecondition, name)
	}
	if err := t.store.SetMark(ctx, meta.DrainMark(name), !req.GetUndrain(), time.Now()); err != nil {
		return nil, err
	}
	t.await(ctx, func() bool { return t.mirror.mark(meta.DrainMark(name)) != req.GetUndrain() })
	t.log.WarnContext(ctx, "server drained or undrained by an operator", "server", name, "undrain", req.GetUndrain())
	t.lookAgain()
	return &controlpb.DrainServerResponse{Server: name, Tablets: uint32(len(t.mirror.ownedBy(s.Incarnation)))}, nil
}

// hasOther reports whether a live server other than e is not drained.
func (t *term) hasOther(e base.Incarnation) bool {
	return slices.ContainsFunc(t.mirror.balanced(0).Servers, func(s balance.Server) bool { return s.ID != e && !s.Drained })
}

// lookAgain makes decisions about served tablets soon.
func (t *term) lookAgain() {
	select {
	case t.rebalance <- struct{}{}:
	default:
	}
}

// SetBalance implements controlpb.MasterServer.
func (m *Master) SetBalance(ctx context.Context, req *controlpb.SetBalanceRequest) (*controlpb.SetBalanceResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.store.SetMark(ctx, meta.BalanceOffMark, req.GetOff(), time.Now()); err != nil {
		return nil, err
	}
	t.await(ctx, func() bool { return t.mirror.mark(meta.BalanceOffMark) == req.GetOff() })
	t.log.WarnContext(ctx, "balancing set by an operator", "off", req.GetOff())
	t.lookAgain()
	return &controlpb.SetBalanceResponse{}, nil
}

// Explain implements controlpb.MasterServer.
func (m *Master) Explain(ctx context.Context, req *controlpb.ExplainRequest) (*controlpb.ExplainResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	resp := &controlpb.ExplainResponse{BalanceOff: t.mirror.mark(meta.BalanceOffMark), Drained: t.mirror.drained()}
	t.mu.Lock()
	defer t.mu.Unlock()
	resp.IdleBecause, resp.UnderWay = t.mu.account.idle, uint32(len(t.mu.account.busy))
	resp.Decisions = t.mu.account.explain(req.GetTablet(), int(req.GetLimit()))
	return resp, nil
}
