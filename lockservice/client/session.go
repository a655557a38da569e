package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/session"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/lockservice/wire"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// OpenSession implements lockservice.Client. A registration whose reply is
// lost leaves a session that nobody renews; it expires by itself.
func (c *Client) OpenSession(ctx context.Context, name string, ttl time.Duration) (lockservice.Session, error) {
	req := &lockpb.OpenSessionRequest{Name: name}
	if ttl != 0 {
		req.Ttl = durationpb.New(ttl)
	}
	var info lockservice.SessionInfo
	var asked time.Duration
	err := c.call(ctx, request{}, func(ctx context.Context, s stubs, _ int) error {
		asked = c.cfg.Clock()
		m, err := s.OpenSession(ctx, req)
		if err == nil {
			info = wire.ToSessionInfo(m.GetSession())
		}
		return err
	})
	if err != nil {
		return nil, readOnly(err)
	}
	var k *session.Keeper
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, errClosed
	}
	k = session.New(session.Config{
		ID: info.ID, TTL: info.TTL, Asked: asked, Clock: c.cfg.Clock,
		Link: &link{c, info.ID, info.TTL}, Logger: c.cfg.Logger,
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
	c   *Client
	id  lockservice.SessionID
	ttl time.Duration
}

var _ session.Link = (*link)(nil)

// Renew makes one attempt: the keeper counts the lease from its beginning, so
// that riding through an election within one call would waste lease.
func (l *link) Renew(ctx context.Context) error {
	s, err := l.c.stubs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, min(l.c.cfg.Attempt, l.ttl/3))
	defer cancel()
	_, err = s.KeepAlive(ctx, &lockpb.KeepAliveRequest{Id: wire.FromSession(l.id)})
	if err = rpc.FromStatus(err); err != nil && !errors.Is(err, base.ErrSessionExpired) {
		l.c.turn(s.address, err)
	}
	return err
}

// AwaitEnd asks any replica: that a session has ended stays true.
func (l *link) AwaitEnd(ctx context.Context) error {
	s, err := l.c.stubs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	m, err := s.AwaitSessionEnd(ctx, &lockpb.AwaitSessionEndRequest{Id: wire.FromSession(l.id)})
	if err != nil {
		return rpc.FromStatus(err)
	}
	if !m.GetEnded() {
		return errAlive
	}
	return nil
}

var errAlive = errors.New("session has not ended")

func (l *link) End(ctx context.Context) error {
	return l.c.end(ctx, l.id, lockpb.EndSessionRequest_CLOSED)
}

func (c *Client) end(ctx context.Context, id lockservice.SessionID, reason lockpb.EndSessionRequest_Reason) error {
	return c.call(ctx, request{}, func(ctx context.Context, s stubs, _ int) error {
		_, err := s.EndSession(ctx, &lockpb.EndSessionRequest{Id: wire.FromSession(id), Reason: reason})
		return err
	})
}

// Sessions implements lockservice.Client.
func (c *Client) Sessions(ctx context.Context) (out []lockservice.SessionInfo, rev lockservice.Revision, err error) {
	err = c.call(ctx, request{}, func(ctx context.Context, s stubs, _ int) error {
		m, err := s.LockServiceClient.Sessions(ctx, &lockpb.SessionsRequest{})
		if err != nil {
			return err
		}
		for _, i := range m.GetSessions() {
			out = append(out, wire.ToSessionInfo(i))
		}
		rev = lockservice.Revision(m.GetRevision())
		return nil
	})
	return out, rev, readOnly(err)
}

// Revoke implements lockservice.Client.
func (c *Client) Revoke(ctx context.Context, id lockservice.SessionID, dead bool) error {
	reason := lockpb.EndSessionRequest_REVOKED
	if dead {
		reason = lockpb.EndSessionRequest_PROVED_DEAD
	}
	return c.end(ctx, id, reason)
}

// acquire asks once for a lock, letting the server wait for it.
func (c *Client) acquire(ctx context.Context, s lockservice.Session, name string, o lockservice.LockOptions, wait time.Duration) (lockservice.Sequencer, error) {
	req := &lockpb.AcquireLockRequest{
		Session: wire.FromSession(s.ID()), Name: name, Shared: o.Shared,
		Delay: durationpb.New(o.Delay), Data: o.Data, Wait: durationpb.New(wait),
	}
	var q lockservice.Sequencer
	err := c.call(ctx, request{attempt: c.cfg.Attempt + wait}, func(ctx context.Context, st stubs, _ int) error {
		m, err := st.AcquireLock(ctx, req)
		switch {
		case err != nil:
			return err
		case !m.GetAcquired():
			return state.ErrLocked
		}
		q = wire.ToSequencer(m.GetSequencer())
		return nil
	})
	return q, err
}

// TryLock implements lockservice.Client.
func (c *Client) TryLock(ctx context.Context, s lockservice.Session, name string, o lockservice.LockOptions) (lockservice.Sequencer, error) {
	return c.acquire(ctx, s, name, o, 0)
}

// lockWait is how long one request waits for a lock.
const lockWait = 10 * time.Second

// Lock implements lockservice.Client.
func (c *Client) Lock(ctx context.Context, s lockservice.Session, name string, o lockservice.LockOptions) (lockservice.Sequencer, error) {
	for {
		q, err := c.acquire(ctx, s, name, o, lockWait)
		if !errors.Is(err, state.ErrLocked) {
			return q, err
		}
	}
}

// Unlock implements lockservice.Client.
func (c *Client) Unlock(ctx context.Context, s lockservice.Session, name string) error {
	return c.call(ctx, request{}, func(ctx context.Context, st stubs, attempt int) error {
		m, err := st.ReleaseLock(ctx, &lockpb.ReleaseLockRequest{Session: wire.FromSession(s.ID()), Name: name})
		if err != nil {
			return err
		}
		if !m.GetWasHeld() && attempt == 0 { // a retry finds it released
			return fmt.Errorf("unlocking %q: %w", name, state.ErrNotHeld)
		}
		return nil
	})
}

// Locks implements lockservice.Client.
func (c *Client) Locks(ctx context.Context) (out []lockservice.LockInfo, rev lockservice.Revision, err error) {
	err = c.call(ctx, request{}, func(ctx context.Context, s stubs, _ int) error {
		m, err := s.LockServiceClient.Locks(ctx, &lockpb.LocksRequest{})
		if err != nil {
			return err
		}
		for _, i := range m.GetLocks() {
			out = append(out, wire.ToLockInfo(i))
		}
		rev = lockservice.Revision(m.GetRevision())
		return nil
	})
	return out, rev, readOnly(err)
}
