package tabletservertest

import (
	"context"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
)

// client is the lock service as a server of a fixture sees it: its sessions
// can be made deaf.
type client struct {
	lockservice.Client
	mu       sync.Mutex
	sessions []*session
	afterGet func(key string)
	watching chan struct{} // watches wait until it is closed; nil: they do not
}

// OpenSession implements lockservice.Client.
func (c *client) OpenSession(ctx context.Context, name string, ttl time.Duration) (lockservice.Session, error) {
	inner, err := c.Client.OpenSession(ctx, name, ttl)
	if err != nil {
		return nil, err
	}
	s := &session{Session: inner, heard: make(chan struct{}), stopped: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { close(s.stopped) })
	go s.listen()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = append(c.sessions, s)
	return s, nil
}

// Get implements lockservice.Client.
func (c *client) Get(ctx context.Context, key string, o lockservice.ReadOptions) (lockservice.KV, bool, lockservice.Revision, error) {
	kv, ok, rev, err := c.Client.Get(ctx, key, o)
	c.wasRead(key)
	return kv, ok, rev, err
}

// ListRanges implements lockservice.Client.
func (c *client) ListRanges(ctx context.Context, ranges [][2]string, o lockservice.ReadOptions) ([][]lockservice.KV, lockservice.Revision, error) {
	kvs, rev, err := c.Client.ListRanges(ctx, ranges, o)
	for _, r := range ranges {
		c.wasRead(r[0])
	}
	return kvs, rev, err
}

func (c *client) wasRead(key string) {
	c.mu.Lock()
	f := c.afterGet
	c.mu.Unlock()
	if f != nil {
		f(key)
	}
}

// Watch implements lockservice.Client.
func (c *client) Watch(ctx context.Context, start, end string, from lockservice.Revision, f func(lockservice.WatchResponse) error) error {
	return c.Client.Watch(ctx, start, end, from, func(r lockservice.WatchResponse) error {
		c.mu.Lock()
		gate := c.watching
		c.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return f(r)
	})
}

// session is a session whose process may be too slow to notice its end.
type session struct {
	lockservice.Session
	heard   chan struct{} // closed when the process learns that it expired
	stopped chan struct{}
	stop    func()
	mu      struct {
		sync.Mutex
		deaf chan struct{} // closed when it hears again; nil: it hears
	}
}

func (s *session) deafness() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.deaf
}

func (s *session) setDeaf(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.mu.deaf == nil:
		s.mu.deaf = make(chan struct{})
	case !on && s.mu.deaf != nil:
		close(s.mu.deaf)
		s.mu.deaf = nil
	}
}

func (s *session) listen() {
	select {
	case <-s.Session.Expired():
	case <-s.stopped:
		return
	}
	if d := s.deafness(); d != nil {
		select {
		case <-d:
		case <-s.stopped:
			return
		}
	}
	close(s.heard)
}

// Expired implements lockservice.Session.
func (s *session) Expired() <-chan struct{} { return s.heard }

// State implements lockservice.Session.
func (s *session) State() lockservice.SessionState {
	if s.deafness() != nil {
		return lockservice.SessionSafe
	}
	return s.Session.State()
}

// Abandon implements lockservice.Session.
func (s *session) Abandon() {
	s.stop()
	s.Session.Abandon()
}

// Close implements lockservice.Session.
func (s *session) Close(ctx context.Context) error {
	s.stop()
	return s.Session.Close(ctx)
}
