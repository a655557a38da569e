package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/lockservice/wire"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// Txn implements lockservice.Client.
func (c *Client) Txn(ctx context.Context, t lockservice.Txn) (lockservice.TxnResult, error) {
	if t.ID == (lockservice.TxnID{}) {
		rand.Read(t.ID[:]) // never fails
	}
	if err := state.Validate(&state.Txn{Txn: t}); err != nil {
		return lockservice.TxnResult{}, err
	}
	var r lockservice.TxnResult
	err := c.call(ctx, request{}, func(ctx context.Context, s stubs, attempt int) error {
		m, err := s.Txn(ctx, wire.FromTxn(&t, attempt > 0))
		if err != nil {
			return err
		}
		r = wire.ToTxnResult(m)
		r.Retried = r.Retried || attempt > 0
		return nil
	})
	if err != nil {
		if !state.Writes(&t) {
			err = readOnly(err)
		}
		return lockservice.TxnResult{}, err
	}
	return r, nil
}

// Get implements lockservice.Client.
func (c *Client) Get(ctx context.Context, key string, o lockservice.ReadOptions) (kv lockservice.KV, ok bool, rev lockservice.Revision, err error) {
	req := &lockpb.GetRequest{Key: []byte(key), Stale: o.Stale, KeysOnly: o.KeysOnly}
	err = c.call(ctx, request{}, func(ctx context.Context, s stubs, _ int) error {
		m, err := s.Get(ctx, req)
		if err != nil {
			return err
		}
		if m.GetKv() != nil {
			kv, ok = wire.ToKV(m.GetKv()), true
		}
		rev = lockservice.Revision(m.GetRevision())
		return nil
	})
	return kv, ok, rev, readOnly(err)
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
	req := &lockpb.ListRequest{Stale: o.Stale, KeysOnly: o.KeysOnly, Limit: int64(o.Limit)}
	for _, r := range ranges {
		req.Ranges = append(req.Ranges, &lockpb.KeyRange{Start: []byte(r[0]), End: []byte(r[1])})
	}
	var lists [][]lockservice.KV
	var rev lockservice.Revision
	err := c.call(ctx, request{unbounded: true}, func(ctx context.Context, s stubs, _ int) (err error) {
		lists = make([][]lockservice.KV, len(ranges))
		rev, err = c.list(ctx, s, req, lists)
		return err
	})
	return lists, rev, readOnly(err)
}

// list reads one stream into lists. A stream that stays silent for as long as
// an attempt may take is given up.
func (c *Client) list(ctx context.Context, s stubs, req *lockpb.ListRequest, lists [][]lockservice.KV) (lockservice.Revision, error) {
	ctx, silence, stop := c.watchdog(ctx, c.cfg.Attempt)
	defer stop()
	stream, err := s.List(ctx, req)
	if err != nil {
		return 0, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return 0, truncated(err)
		}
		silence.Reset(c.cfg.Attempt)
		if m.GetLast() {
			return lockservice.Revision(m.GetRevision()), nil
		}
		i := int(m.GetRange())
		if i >= len(lists) {
			return 0, fmt.Errorf("list answers for range %d of %d: %w", i, len(lists), base.ErrCorrupt)
		}
		lists[i] = wire.AppendKVs(lists[i], m.GetKvs())
	}
}

// truncated makes a stream that ends too early an error.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("stream ended early: %w", base.ErrUnavailable)
	}
	return err
}

// watchdog returns a context that ends unless the timer is reset in time, or
// when the client is closed.
func (c *Client) watchdog(ctx context.Context, d time.Duration) (context.Context, *time.Timer, func()) {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(d, cancel)
	unhook := context.AfterFunc(c.ctx, cancel)
	return ctx, timer, func() { timer.Stop(); unhook(); cancel() }
}

// errCallback marks the error of the caller's own function.
var errCallback = errors.New("callback failed")

type callbackError struct{ err error }

func (e *callbackError) Error() string        { return e.err.Error() }
func (e *callbackError) Is(target error) bool { return target == errCallback }

// watchSilence is how long a watch may be silent; the server marks progress
// every 5 s.
const watchSilence = 12 * time.Second

// Watch implements lockservice.Client.
func (c *Client) Watch(ctx context.Context, start, end string, from lockservice.Revision, f func(lockservice.WatchResponse) error) error {
	for {
		before := from
		err := c.call(ctx, request{unbounded: true}, func(ctx context.Context, s stubs, _ int) error {
			err := c.watch(ctx, s, &lockpb.WatchRequest{Start: []byte(start), End: []byte(end), From: uint64(from)}, &from, f)
			if from > before { // it made progress: start over with short pauses
				c.turn(s.address, rpc.FromStatus(err))
				if stands(rpc.FromStatus(err)) {
					return err
				}
				return nil
			}
			return err
		})
		var callback *callbackError
		switch {
		case errors.As(err, &callback):
			return callback.err
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return readOnly(err)
		}
	}
}

// watch follows one stream and moves from.
func (c *Client) watch(ctx context.Context, s stubs, req *lockpb.WatchRequest, from *lockservice.Revision, f func(lockservice.WatchResponse) error) error {
	ctx, silence, stop := c.watchdog(ctx, c.cfg.Attempt)
	defer stop()
	stream, err := s.Watch(ctx, req)
	if err != nil {
		return err
	}
	for {
		m, err := recv(stream, silence)
		if err != nil {
			return err
		}
		r := wire.ToEvents(m)
		if err := f(r); err != nil {
			return &callbackError{err}
		}
		*from = max(*from, r.Revision)
		silence.Reset(watchSilence)
	}
}

// recv receives and stops the clock while the caller handles the message.
func recv(stream grpc.ServerStreamingClient[lockpb.WatchResponse], silence *time.Timer) (*lockpb.WatchResponse, error) {
	m, err := stream.Recv()
	silence.Stop()
	return m, truncated(err)
}
