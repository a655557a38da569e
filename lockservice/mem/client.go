package mem

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/session"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// Client implements lockservice.Client on a Service.
type Client struct {
	s      *Service
	ctx    context.Context // the client's lifetime
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		hook     Hook
		late     []*state.Txn
		cut      chan struct{} // not nil while partitioned; closed at its end
		sessions map[*session.Keeper]struct{}
	}
}

var _ lockservice.Client = (*Client)(nil)

// Client returns a new client of the service.
func (s *Service) Client() *Client {
	c := &Client{s: s}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.mu.sessions = make(map[*session.Keeper]struct{})
	return c
}

// Close implements lockservice.Client. Sessions that are open are abandoned.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	keepers := make([]*session.Keeper, 0, len(c.mu.sessions))
	for k := range c.mu.sessions {
		keepers = append(keepers, k)
	}
	c.mu.Unlock()
	for _, k := range keepers {
		k.Abandon()
	}
	return nil
}

// SetHook installs a hook for the client's transactions; nil removes it.
func (c *Client) SetHook(h Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.hook = h
}

// Land applies the attempts that were held back (LandLate, GiveUpLate), in the
// order of their sending, and returns their results.
func (c *Client) Land() []lockservice.TxnResult {
	c.mu.Lock()
	late := c.mu.late
	c.mu.late = nil
	c.mu.Unlock()
	var out []lockservice.TxnResult
	for _, t := range late {
		out = append(out, c.s.apply(t).Txn)
	}
	return out
}

// Partition cuts the client off (on) or joins it again. A client that is cut
// off gets no answers: calls wait for the end of the partition or of their
// context, and its sessions are not renewed.
func (c *Client) Partition(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case on && c.mu.cut == nil:
		c.mu.cut = make(chan struct{})
	case !on && c.mu.cut != nil:
		close(c.mu.cut)
		c.mu.cut = nil
	}
}

// reach waits until the service can be reached.
func (c *Client) reach(ctx context.Context) error {
	for {
		c.mu.Lock()
		cut := c.mu.cut
		c.mu.Unlock()
		if c.ctx.Err() != nil {
			return fmt.Errorf("client is closed: %w", base.ErrNoLeader)
		}
		if err := ctx.Err(); err != nil {
			return noAnswer(err)
		}
		if cut == nil {
			return nil
		}
		select {
		case <-cut:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
	}
}

// noAnswer is the error of a call that certainly had no effect.
func noAnswer(cause error) error { return fmt.Errorf("%w: %w", base.ErrNoLeader, cause) }

func undecided(cause error) error {
	return fmt.Errorf("%w: %w", base.ErrUndecided, cause)
}

// retryPause is how long a client waits before it retries without an answer.
const retryPause = 50 * time.Millisecond

// Txn implements lockservice.Client.
func (c *Client) Txn(ctx context.Context, t lockservice.Txn) (lockservice.TxnResult, error) {
	if t.ID == (lockservice.TxnID{}) {
		rand.Read(t.ID[:]) // never fails
	}
	if err := state.Validate(&state.Txn{Txn: t}); err != nil {
		return lockservice.TxnResult{}, err
	}
	for attempt := 0; ; attempt++ {
		if err := c.reach(ctx); err != nil {
			if attempt > 0 {
				return lockservice.TxnResult{}, undecided(err)
			}
			return lockservice.TxnResult{}, err
		}
		r, err, answered := c.attempt(t, attempt)
		if answered {
			return r, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return lockservice.TxnResult{}, undecided(ctx.Err())
		}
	}
}

// attempt sends t once.
func (c *Client) attempt(t lockservice.Txn, attempt int) (r lockservice.TxnResult, err error, answered bool) {
	c.mu.Lock()
	hook := c.mu.hook
	c.mu.Unlock()
	fault := Deliver
	if hook != nil {
		fault = hook(t, attempt)
	}
	command := &state.Txn{Txn: t, Retry: attempt > 0}
	if fault.applies() {
		result := c.s.apply(command)
		r, err = result.Txn, result.Err
	}
	if fault.isLate() {
		c.hold(command)
	}
	if fault.givesUp() {
		return lockservice.TxnResult{}, undecided(context.DeadlineExceeded), true
	}
	cloneResults(r.Results)
	return r, err, fault == Deliver
}

// hold keeps a copy of a command that will land late.
func (c *Client) hold(t *state.Txn) {
	decoded, err := state.Decode(state.Encode(t))
	if err != nil {
		panic("mem: a valid transaction does not survive its encoding: " + err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.late = append(c.mu.late, decoded.(*state.Txn))
}

// view reads the state as it is, which is linearizable here.
func (c *Client) view(ctx context.Context) (*state.View, error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	return c.s.store.View(), nil
}

// Get implements lockservice.Client.
func (c *Client) Get(ctx context.Context, key string, o lockservice.ReadOptions) (lockservice.KV, bool, lockservice.Revision, error) {
	if err := c.reach(ctx); err != nil {
		return lockservice.KV{}, false, 0, err
	}
	kv, ok, rev := c.s.store.Get(key)
	kv.Value = clone(kv.Value)
	if o.KeysOnly {
		kv.Value = nil
	}
	return kv, ok, rev, nil
}

// List implements lockservice.Client.
func (c *Client) List(ctx context.Context, start, end string, o lockservice.ReadOptions) ([]lockservice.KV, lockservice.Revision, error) {
	lists, rev, err := c.ListRanges(ctx, [][2]string{{start, end}}, o)
	if err != nil {
		return nil, 0, err
	}
	return lists[0], rev, nil
}

// ListRanges implements lockservice.Client.
func (c *Client) ListRanges(ctx context.Context, ranges [][2]string, o lockservice.ReadOptions) ([][]lockservice.KV, lockservice.Revision, error) {
	v, err := c.view(ctx)
	if err != nil {
		return nil, 0, err
	}
	out := make([][]lockservice.KV, len(ranges))
	for i, r := range ranges {
		out[i], _ = v.Range(r[0], r[1], o)
		for j := range out[i] {
			out[i][j].Value = clone(out[i][j].Value)
		}
	}
	return out, v.Revision(), nil
}

// Watch implements lockservice.Client.
func (c *Client) Watch(ctx context.Context, start, end string, from lockservice.Revision, f func(lockservice.WatchResponse) error) error {
	const eventsAtOnce = 1024
	for first := true; ; first = false {
		if err := c.reach(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		changed := c.s.store.Changed()
		r, err := c.s.store.Events(start, end, from, eventsAtOnce)
		if err != nil {
			return err
		}
		if r.Revision > from || first {
			for i := range r.Events {
				r.Events[i].KV.Value = clone(r.Events[i].KV.Value)
			}
			if err := f(r); err != nil {
				return err
			}
			from = max(from, r.Revision)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
	}
}

// clone keeps the caller from changing the state through a value.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func cloneResults(results []lockservice.OpResult) {
	for i := range results {
		for j := range results[i].KVs {
			results[i].KVs[j].Value = clone(results[i].KVs[j].Value)
		}
	}
}
