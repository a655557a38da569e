package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/master/assign"
	"github.com/tabletdb/tabletdb/meta"
)

const (
	// assignAtOnce is how many tablets one decision places.
	assignAtOnce = 4096
	// releaseGrace is how long a server gets nothing after it gave something
	// up.
	releaseGrace = 3 * time.Second
)

// assign gives every tablet that has none an owner. It is the only job that
// does, so that decisions see the ones before them.
func (t *term) assign(ctx context.Context) error {
	for t.mayAssign() {
		tablets, asked := t.mirror.assignable(assignAtOnce)
		servers, records := t.reachable(t.mirror.candidates(releaseGrace))
		if len(tablets) == 0 || len(servers) == 0 {
			return nil
		}
		if err := t.place(ctx, tablets, assign.Spread(servers, asked), records); err != nil {
			return err
		}
	}
	return nil
}

// reachable leaves out servers that do not answer, unless none does.
func (t *term) reachable(servers []assign.Server, records map[base.Incarnation]meta.Server) ([]assign.Server, map[base.Incarnation]meta.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []assign.Server
	for _, s := range servers {
		p := t.mu.peers[s.ID]
		if p == nil {
			continue // it just started
		}
		st := p.status()
		if !st.reachable {
			continue
		}
		s.Load = st.load.GetReads() + st.load.GetWrites()
		out = append(out, s)
	}
	if len(out) == 0 {
		out = servers
	}
	return out, records
}

// place commits placements, the batches of each server apart, so that a server
// that just died spoils nothing else. Then it tells the servers.
func (t *term) place(ctx context.Context, tablets []meta.Tablet, to []assign.Placement, servers map[base.Incarnation]meta.Server) error {
	per := map[base.Incarnation][]meta.Tablet{}
	for i, p := range to {
		per[p.Server] = append(per[p.Server], tablets[i])
	}
	var mu sync.Mutex
	total, aborted := 0, error(nil)
	var g errgroup.Group
	g.SetLimit(2 * parallel)
	for e, batch := range per {
		g.Go(func() error {
			n, err := t.change(ctx, batch, func(tb meta.Tablet) (meta.Change, bool) {
				if tb.State != meta.Unassigned {
					return meta.Change{}, false
				}
				return meta.Assign(tb, servers[e], time.Now()), true
			})
			t.kick(e)
			t.metrics.assigned(n)
			mu.Lock()
			defer mu.Unlock()
			total += n
			if errors.Is(err, base.ErrAborted) {
				aborted = err
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("assign tablets: %w", err)
	}
	t.event("assigned tablets: %d, to servers: %d", total, len(per))
	t.log.InfoContext(ctx, "tablets assigned", "tablets", total, "servers", len(per))
	return aborted
}

// cancelStuck takes an assignment back if it is stuck (rule R14).
func (t *term) cancelStuck(ctx context.Context, tb tablet) error {
	t.mu.Lock()
	p := t.mu.peers[tb.Owner]
	t.mu.Unlock()
	l := assign.Load{Age: time.Since(tb.seen)}
	if p != nil {
		st := p.status()
		l.Reachable = st.reachable && st.fullAt.After(tb.seen)
		if k, ok := st.tablets[tb.ID]; ok && k.Tepoch == uint64(tb.Epoch) {
			l.Known, l.Failed = true, k.Error != ""
		}
	}
	stuck, why := assign.Stuck(l, t.opt.LoadTimeout)
	if !stuck {
		return nil
	}
	c, err := meta.Cancel(tb.Tablet, time.Now())
	if err != nil {
		return err
	}
	t.mirror.blame(tb.ID, tb.Owner) // before anybody can place it again
	done, err := t.store.Commit(ctx, c)
	if errors.Is(err, base.ErrAborted) {
		return nil // it registered, or died
	}
	if err != nil {
		return fmt.Errorf("cancel the load of tablet %d: %w", tb.ID, err)
	}
	t.mirror.note(done...)
	t.metrics.cancelled()
	t.event("took tablet %d back from %v, where its load was stuck: %s", tb.ID, tb.Owner, why)
	t.log.WarnContext(ctx, "load cancelled", "tablet", uint64(tb.ID), "server", tb.Owner.String(), "why", why)
	return nil
}
