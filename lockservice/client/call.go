package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// A call is tried at one replica after the other until one gives an answer that
// stands, or the caller's context ends.

// Pauses between attempts that failed, doubled from the first to the last.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// request describes how a call may be tried.
type request struct {
	// attempt bounds one attempt, besides the context; 0: Config.Attempt.
	attempt time.Duration
	// streams: only the first answer is bounded; send says when it came.
	unbounded bool
}

// call tries f, which gets the number of the attempt. Its error is one that
// stands, or base.ErrNoLeader where certainly nothing was sent or applied, or
// base.ErrUndecided.
func (c *Client) call(ctx context.Context, r request, f func(ctx context.Context, s stubs, attempt int) error) error {
	if r.attempt == 0 {
		r.attempt = c.cfg.Attempt
	}
	maybe := false // an attempt may have had an effect
	pause := firstPause
	var last error
	for attempt := 0; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return c.giveUp(maybe, err, last)
		}
		s, err := c.stubs()
		if err != nil {
			return c.giveUp(maybe, err, last)
		}
		effect, err := c.try(ctx, r, s, attempt, f)
		if err == nil || stands(err) {
			return err
		}
		maybe = maybe || effect
		last = err
		if c.turn(s.address, err) && attempt < 2 {
			continue
		}
		if !c.sleep(ctx, pause/2+rand.N(pause)) {
			continue // the loop ends it
		}
		pause = min(2*pause, lastPause)
	}
}

// try makes one attempt; effect says that it may have had one.
func (c *Client) try(ctx context.Context, r request, s stubs, attempt int, f func(context.Context, stubs, int) error) (effect bool, err error) {
	var sent atomic.Bool
	ctx = context.WithValue(ctx, sentKey{}, &sent)
	if !r.unbounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.attempt)
		defer cancel()
	}
	err = rpc.FromStatus(f(ctx, s, attempt))
	certain := errors.Is(err, base.ErrNotLeader) || errors.Is(err, base.ErrNoLeader)
	return sent.Load() && !certain, err
}

// stands reports whether err is an answer that another attempt would not
// change.
func stands(err error) bool {
	for _, e := range []error{
		base.ErrInvalid, base.ErrPrecondition, base.ErrSessionExpired, base.ErrNotFound,
		base.ErrExists, base.ErrCorrupt, base.ErrUnimplemented, base.ErrOverloaded, errCallback,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// giveUp is the error of a call without an answer.
func (c *Client) giveUp(maybe bool, why, last error) error {
	kind := base.ErrNoLeader
	if maybe {
		kind = base.ErrUndecided
	}
	if last != nil {
		return fmt.Errorf("%w: %w (last: %s)", kind, why, last)
	}
	return fmt.Errorf("%w: %w", kind, why)
}

// readOnly makes the error of a read that got no answer say so: a read is
// never undecided.
func readOnly(err error) error {
	if errors.Is(err, base.ErrUndecided) {
		return fmt.Errorf("%w: %s", base.ErrNoLeader, err)
	}
	return err
}

// sleep reports whether d passed before ctx, or the client, ended.
func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return false
}

// sentKey holds, in the context of an attempt, whether any of the request was
// handed to a connection: before that it certainly had no effect.
type sentKey struct{}

// sentHandler sets it.
type sentHandler struct{}

var _ stats.Handler = sentHandler{}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (sentHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.OutHeader, *stats.OutPayload:
		if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
			sent.Store(true)
		}
	}
}

func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (sentHandler) HandleConn(context.Context, stats.ConnStats) {}

// adminAttempt bounds one attempt of a change of membership.
const adminAttempt = 30 * time.Second
