package route

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/tap"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

const (
	// callBytes is about what a call takes besides its request: goroutine, stream,
	// headers.
	callBytes = 16 << 10
	// largeRequest is the usual size of writes from which on room is kept for them
	// before they have arrived.
	largeRequest = 64 << 10
	// retryRequest is when to send a write again that there was no memory for.
	retryRequest = 100 * time.Millisecond
)

// Gate counts the memory of requests, from an account. Reads always pass. Writes
// are refused with base.OverloadError where there is no room: at the call's
// header, before the request has arrived, as far as that can be known. How long
// a request is going to be no header says; so writes that come count as usual
// ones until they are there. A nil Gate lets everything pass.
type Gate struct {
	account *membudget.Account
	usual   atomic.Int64 // size of recent writes
	refused atomic.Int64
}

// NewGate returns a Gate with an account.
func NewGate(a *membudget.Account) *Gate { return &Gate{account: a} }

// Refused returns how many writes were refused.
func (g *Gate) Refused() int64 { return g.refused.Load() }

// isWrite reports whether the call of that name brings data.
func isWrite(method string) bool {
	i := strings.LastIndexByte(method, '/')
	switch method[i+1:] {
	case "MutateRow", "MutateRows", "CheckAndMutateRow", "ReadModifyWriteRow":
		return true
	}
	return false
}

// Tap is the server's tap.ServerInHandle.
func (g *Gate) Tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !isWrite(info.FullMethodName) {
		return ctx, nil
	}
	usual := g.usual.Load()
	if usual < largeRequest {
		if g.account.Used() > g.account.Limit() {
			return nil, rpc.ToStatus(g.refuse())
		}
		return ctx, nil
	}
	if !g.account.TryTake(usual) {
		return nil, rpc.ToStatus(g.refuse())
	}
	context.AfterFunc(ctx, func() { g.account.Give(usual) }) // the call has ended
	return context.WithValue(ctx, reserved{}, usual), nil
}

// reserved is the key of what Tap took for a call.
type reserved struct{}

// enter counts a call whose request of n bytes has arrived; leave is called with
// what it returns.
func (g *Gate) enter(ctx context.Context, n int, write bool) (int64, error) {
	if g == nil {
		return 0, nil
	}
	cost := int64(n) + callBytes
	if !write {
		g.account.Add(cost)
		return cost, nil
	}
	usual := g.usual.Load()
	g.usual.Store(usual + (int64(n)-usual)/8) // one of several at a time will do
	if n >= largeRequest {
		had, _ := ctx.Value(reserved{}).(int64)
		cost = max(cost-had, 0)
	}
	if limit := g.account.Limit(); cost > limit/2 && g.account.Used() <= limit/2 { // else it would wait for ever
		g.account.Add(cost)
		return cost, nil
	}
	if !g.account.TryTake(cost) {
		return 0, g.refuse()
	}
	return cost, nil
}

func (g *Gate) leave(cost int64) {
	if g != nil {
		g.account.Give(cost)
	}
}

func (g *Gate) refuse() error {
	g.refused.Add(1)
	return &base.OverloadError{After: retryRequest, Reason: fmt.Sprintf("requests take %d of %d MiB", g.account.Used()>>20, g.account.Limit()>>20)}
}
