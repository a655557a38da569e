package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// balanceLoop looks now and then, and when a drain is asked for, at what could
// be moved, split and merged.
func (t *term) balanceLoop(ctx context.Context) {
	for {
		pause := t.opt.BalanceInterval
		if t.balanceOnce(ctx) {
			pause = min(pause, emptyingPause) // a drain goes on at once
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-t.rebalance:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// emptyingPause is the pause between two looks while a server is being emptied.
const emptyingPause = 200 * time.Millisecond

// balanceOnce starts what is to be done now. It reports whether a drained server
// still has tablets.
func (t *term) balanceOnce(ctx context.Context) (emptying bool) {
	s, idle := t.balanceState()
	t.mu.Lock()
	t.mu.account.idle = idle
	t.mu.Unlock()
	drained := map[base.Incarnation]bool{}
	for _, v := range s.Servers {
		drained[v.ID] = v.Drained
	}
	for _, x := range s.Tablets {
		emptying = emptying || drained[x.Owner]
	}
	o := t.opt.Balance
	if t.mirror.mark(meta.BalanceOffMark) {
		o.Slack, o.Splits, o.Merges = 1e18, 0, 0
		s.Tablets = unsplit(s.Tablets)
		o.MergeBytes = -1
	}
	if idle != "" {
		return emptying
	}
	for _, d := range balance.Plan(s, o) {
		t.jobs.Go(func() {
			if _, err := t.carryOut(ctx, d); err != nil && ctx.Err() == nil {
				t.log.WarnContext(ctx, "decision was not carried out", "decision", d.String(), "why", d.Why, "err", err)
			}
		})
	}
	return emptying
}

// unsplit hides what makes tablets worth splitting.
func unsplit(tablets []balance.Tablet) []balance.Tablet {
	for i := range tablets {
		tablets[i].Known = false
	}
	return tablets
}

// balanceState gathers what decisions are made of, and says why there should be
// none; "": there may be.
func (t *term) balanceState() (s balance.State, idle string) {
	s = t.mirror.balanced(releaseGrace)
	c := t.mirror.count()
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Moving = t.mu.account.moving
	status := map[base.Incarnation]peerStatus{}
	for i := range s.Servers {
		v := &s.Servers[i]
		if p := t.mu.peers[v.ID]; p != nil {
			status[v.ID] = p.status()
			v.Reachable = status[v.ID].reachable && !status[v.ID].fullAt.IsZero()
		}
	}
	for i := range s.Tablets {
		x := &s.Tablets[i]
		x.Busy = t.mu.account.rests(x.ID, now)
		if l, ok := status[x.Owner].tablets[x.ID]; ok {
			x.Known = true
			x.Bytes, x.Requests = int64(l.FileBytes+l.MemtableBytes), l.Reads+l.Writes
		}
	}
	switch on, why := t.mu.safe.On(now); {
	case on:
		idle = "safe mode: " + why
	case now.Before(t.mu.settled):
		idle = "servers are still gathering"
	case c.unassigned+c.loading > s.Moving:
		idle = fmt.Sprintf("%d tablets are not served yet", c.unassigned+c.loading)
	}
	return s, idle
}

// carryOut does what was decided, unless something else is under way with one of
// the tablets, and keeps account of it.
func (t *term) carryOut(ctx context.Context, d balance.Decision) (result []meta.Tablet, err error) {
	from, to := t.mirror.name(d.From), t.mirror.name(d.To)
	t.mu.Lock()
	p, ok := t.mu.account.begin(d, from, to, time.Now())
	t.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: something else is under way with the tablet", base.ErrUnavailable)
	}
	t.log.InfoContext(ctx, "decided", "decision", d.String(), "why", d.Why)
	switch d.Kind {
	case balance.Move:
		err = t.moveTablet(ctx, d.Tablet, d.To, d.Why)
	case balance.Split:
		result, err = t.splitTablet(ctx, d.Tablet, &controlpb.SplitRequest{ByLoad: d.ByLoad, Row: d.Row, Why: d.Why})
	case balance.Merge:
		result, err = t.mergeTablets(ctx, d.Tablet, d.Other, d.Why)
	}
	var ids []base.TabletID
	for _, x := range result {
		ids = append(ids, x.ID)
	}
	t.mu.Lock()
	t.mu.account.end(d, p, ids, err, time.Now())
	t.mu.Unlock()
	t.metrics.decided(d.Kind, err)
	return result, err
}

// served returns the record of a tablet that is served, and its owner's line.
func (t *term) served(id base.TabletID) (meta.Tablet, *peer, error) {
	tb, ok := t.mirror.tabletByID(id)
	if !ok {
		return tb, nil, fmt.Errorf("tablet %d: %w", id, base.ErrNotFound)
	}
	t.mu.Lock()
	p := t.mu.peers[tb.Owner]
	t.mu.Unlock()
	if tb.State != meta.Serving || p == nil {
		return tb, nil, fmt.Errorf("tablet %d is %v: %w", id, tb.State, base.ErrNotServing)
	}
	return tb, p, nil
}

// The longest that the parts of a decision are waited for.
const (
	unloadPatience = time.Minute
	servePatience  = 30 * time.Second
)

// moveTablet has the owner hand a tablet over, and returns when it is served.
func (t *term) moveTablet(ctx context.Context, id base.TabletID, to base.Incarnation, why string) error {
	tb, p, err := t.served(id)
	if err != nil {
		return err
	}
	target, live := t.mirror.server(to)
	switch {
	case !live:
		return fmt.Errorf("move tablet %d to %v: %w", id, to, errNoOwner)
	case tb.Owner == to:
		return nil
	}
	call, cancel := context.WithTimeout(ctx, unloadPatience)
	defer cancel()
	_, err = p.client.Unload(call, &controlpb.UnloadRequest{Tablet: tabletID(tb), To: meta.IncarnationProto(to), ToAddress: target.Address, Why: why})
	if err != nil {
		return fmt.Errorf("move tablet %d: %w", id, rpc.FromStatus(err))
	}
	now, err := t.store.Tablet(ctx, tb.Table, tb.End, tb.ID)
	if errors.Is(err, base.ErrNotFound) {
		return fmt.Errorf("move tablet %d: %w: it was split or merged meanwhile", id, base.ErrAborted)
	}
	if err != nil {
		return err
	}
	t.mirror.note(now) // ahead of the watch: the target is told at once
	t.kick(now.Owner)
	return t.awaitShown(ctx, fmt.Sprintf("serve tablet %d at %s", id, t.mirror.name(to)), func() bool {
		x, ok := t.mirror.tabletByID(id)
		return !ok || x.State == meta.Serving && x.Epoch > tb.Epoch
	})
}

// splitTablet has the owner split a tablet, and returns the children.
func (t *term) splitTablet(ctx context.Context, id base.TabletID, req *controlpb.SplitRequest) ([]meta.Tablet, error) {
	tb, p, err := t.served(id)
	if err != nil {
		return nil, err
	}
	req.Tablet = tabletID(tb)
	ctx, cancel := context.WithTimeout(ctx, unloadPatience)
	defer cancel()
	r, err := p.client.Split(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("split tablet %d: %w", id, rpc.FromStatus(err))
	}
	return t.made(ctx, r.Children...)
}

// mergeTablets has the owner merge two neighbours, the right of which is moved
// to the left one's server first.
func (t *term) mergeTablets(ctx context.Context, left, right base.TabletID, why string) ([]meta.Tablet, error) {
	l, p, err := t.served(left)
	if err != nil {
		return nil, err
	}
	r, _, err := t.served(right)
	if err != nil {
		return nil, err
	}
	if l.Table != r.Table || len(l.End) == 0 || string(l.End) != string(r.Start) {
		return nil, fmt.Errorf("%w: tablet %d does not end where tablet %d begins", base.ErrInvalid, left, right)
	}
	if r.Owner != l.Owner {
		if err := t.moveTablet(ctx, right, l.Owner, "to be merged: "+why); err != nil {
			return nil, err
		}
		if r, _, err = t.served(right); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, unloadPatience)
	defer cancel()
	m, err := p.client.Merge(ctx, &controlpb.MergeRequest{Left: tabletID(l), Right: tabletID(r), Why: why})
	if err != nil {
		return nil, fmt.Errorf("merge tablets %d and %d: %w", left, right, rpc.FromStatus(err))
	}
	return t.made(ctx, m.Merged)
}

// made returns the records of tablets that were just made, once the mirror shows
// them.
func (t *term) made(ctx context.Context, ids ...*controlpb.TabletID) ([]meta.Tablet, error) {
	var out []meta.Tablet
	err := t.awaitShown(ctx, "show new tablets", func() bool {
		out = out[:0]
		for _, x := range ids {
			tb, ok := t.mirror.tabletByID(base.TabletID(x.Tablet))
			if !ok {
				return false
			}
			out = append(out, tb)
		}
		return true
	})
	return out, err
}

// awaitShown returns when the mirror shows something.
func (t *term) awaitShown(ctx context.Context, what string, shown func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, servePatience)
	defer cancel()
	for {
		changed := t.mirror.watch()
		if shown() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait to %s: %w", what, ctx.Err())
		}
	}
}
