package mem

import (
	"context"
	"errors"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/session"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// OpenSession implements lockservice.Client.
func (c *Client) OpenSession(ctx context.Context, name string, ttl time.Duration) (lockservice.Session, error) {
	if ttl == 0 {
		ttl = c.s.options.DefaultTTL
	}
	asked := c.s.options.Clock()
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	r := c.s.apply(&state.Register{Name: name, TTL: ttl})
	if r.Err != nil {
		return nil, r.Err
	}
	var k *session.Keeper
	c.mu.Lock()
	defer c.mu.Unlock()
	k = session.New(session.Config{
		ID: r.Session.ID, TTL: ttl, Asked: asked, Clock: c.s.options.Clock,
		Link: &link{c, r.Session.ID}, Logger: c.s.options.Logger,
		Closed: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.mu.sessions, k)
		},
	})
	c.mu.sessions[k] = struct{}{}
	return k, nil
}

// link is a session's way to the service.
type link struct {
	c  *Client
	id lockservice.SessionID
}

var _ session.Link = (*link)(nil)

func (l *link) Renew(ctx context.Context) error {
	if err := l.c.reach(ctx); err != nil {
		return err
	}
	return l.c.s.renew(l.id)
}

func (l *link) AwaitEnd(ctx context.Context) error {
	for {
		if err := l.c.reach(ctx); err != nil {
			return err
		}
		changed := l.c.s.store.TouchedNext()
		if _, dead := l.c.s.store.SessionState(l.id); dead {
			// The partition may have begun while this waited.
			return l.c.reach(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-l.c.ctx.Done():
		}
	}
}

func (l *link) End(ctx context.Context) error {
	if err := l.c.reach(ctx); err != nil {
		return err
	}
	return l.c.s.apply(&state.EndSession{ID: l.id, Reason: state.EndClosed}).Err
}

// Sessions implements lockservice.Client.
func (c *Client) Sessions(ctx context.Context) ([]lockservice.SessionInfo, lockservice.Revision, error) {
	v, err := c.view(ctx)
	if err != nil {
		return nil, 0, err
	}
	return v.Sessions(), v.Revision(), nil
}

// Revoke implements lockservice.Client.
func (c *Client) Revoke(ctx context.Context, id lockservice.SessionID, dead bool) error {
	if err := c.reach(ctx); err != nil {
		return err
	}
	reason := state.EndRevoked
	if dead {
		reason = state.EndProvedDead
	}
	return c.s.apply(&state.EndSession{ID: id, Reason: reason}).Err
}

// TryLock implements lockservice.Client.
func (c *Client) TryLock(ctx context.Context, s lockservice.Session, name string, o lockservice.LockOptions) (lockservice.Sequencer, error) {
	if err := c.reach(ctx); err != nil {
		return lockservice.Sequencer{}, err
	}
	r := c.s.apply(&state.Acquire{Session: s.ID(), Name: name, Shared: o.Shared, Delay: o.Delay, Data: o.Data})
	switch {
	case r.Err != nil:
		return lockservice.Sequencer{}, r.Err
	case !r.OK:
		return lockservice.Sequencer{}, state.ErrLocked
	}
	return r.Lock, nil
}

// Lock implements lockservice.Client.
func (c *Client) Lock(ctx context.Context, s lockservice.Session, name string, o lockservice.LockOptions) (lockservice.Sequencer, error) {
	want := &state.Acquire{Session: s.ID(), Name: name, Shared: o.Shared}
	for {
		changed := c.s.store.TouchedNext()
		if c.s.store.View().Free(want) {
			q, err := c.TryLock(ctx, s, name, o)
			if !errors.Is(err, state.ErrLocked) {
				return q, err
			}
			continue
		}
		if err := c.reach(ctx); err != nil {
			return lockservice.Sequencer{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return lockservice.Sequencer{}, ctx.Err()
		case <-c.ctx.Done():
		}
	}
}

// Unlock implements lockservice.Client.
func (c *Client) Unlock(ctx context.Context, s lockservice.Session, name string) error {
	if err := c.reach(ctx); err != nil {
		return err
	}
	r := c.s.apply(&state.Release{Session: s.ID(), Name: name})
	if r.Err == nil && !r.OK {
		return state.ErrNotHeld
	}
	return r.Err
}

// Locks implements lockservice.Client.
func (c *Client) Locks(ctx context.Context) ([]lockservice.LockInfo, lockservice.Revision, error) {
	v, err := c.view(ctx)
	if err != nil {
		return nil, 0, err
	}
	return v.Locks(), v.Revision(), nil
}
