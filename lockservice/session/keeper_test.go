package session_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/session"
)

// wire is a Link whose answers are scripted.
type wire struct {
	mu    sync.Mutex
	renew func(ctx context.Context) error
	ended chan struct{}
}

func (w *wire) set(f func(context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renew = f
}

func (w *wire) Renew(ctx context.Context) error {
	w.mu.Lock()
	f := w.renew
	w.mu.Unlock()
	return f(ctx)
}

func (w *wire) AwaitEnd(ctx context.Context) error {
	select {
	case <-w.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *wire) End(context.Context) error { return nil }

// answer answers after d.
func answer(d time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errSilent = errors.New("no answer")

const ttl = 10 * time.Second

func keep(t *testing.T, f func(t *testing.T, k *session.Keeper, w *wire)) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := &wire{renew: answer(0, nil), ended: make(chan struct{})}
		k := session.New(session.Config{
			ID: lockservice.SessionID{Generation: 1, Index: 1}, TTL: ttl,
			Clock: func() time.Duration { return time.Since(start) }, Link: w,
			Logger: slog.New(slog.DiscardHandler),
		})
		f(t, k, w)
		k.Abandon()
	})
}

func state(t *testing.T, k *session.Keeper, want lockservice.SessionState) {
	t.Helper()
	if got := k.State(); got != want {
		t.Errorf("state %v, want %v", got, want)
	}
}

// TestH17replytime: the lease counts from the instant before the request was
// sent, not from the reply, which may have lain about for long.
func TestH17replytime(t *testing.T) {
	keep(t, func(t *testing.T, k *session.Keeper, w *wire) {
		w.set(answer(5*time.Second, nil))
		time.Sleep(ttl/3 + 5*time.Second)
		synctest.Wait()
		w.set(answer(0, errSilent))
		lease := ttl/3 + ttl - session.Margin(ttl) // from the start
		time.Sleep(lease - (ttl/3 + 5*time.Second) - time.Millisecond)
		state(t, k, lockservice.SessionSafe)
		time.Sleep(2 * time.Millisecond)
		state(t, k, lockservice.SessionJeopardy)
	})
}

// TestH24Jeopardy: only the service says expired.
func TestH24Jeopardy(t *testing.T) {
	keep(t, func(t *testing.T, k *session.Keeper, w *wire) {
		w.set(answer(0, errSilent))
		time.Sleep(24 * time.Hour)
		state(t, k, lockservice.SessionJeopardy)
		select {
		case <-k.Expired():
			t.Error("expired by itself")
		default:
		}
		changed := k.Changed()
		w.set(answer(0, nil))
		<-changed
		state(t, k, lockservice.SessionSafe)
		w.set(answer(0, base.ErrSessionExpired))
		<-k.Expired()
		state(t, k, lockservice.SessionExpired)
	})
}

func TestEndIsHeardAtOnce(t *testing.T) {
	keep(t, func(t *testing.T, k *session.Keeper, w *wire) {
		changed := k.Changed()
		start := time.Now()
		close(w.ended)
		<-changed
		if d := time.Since(start); d != 0 {
			t.Errorf("heard after %v", d)
		}
		state(t, k, lockservice.SessionExpired)
	})
}

func TestHangingRenewal(t *testing.T) {
	keep(t, func(t *testing.T, k *session.Keeper, w *wire) {
		w.set(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		time.Sleep(time.Hour)
		state(t, k, lockservice.SessionJeopardy)
		w.set(answer(0, nil))
		time.Sleep(2 * ttl)
		state(t, k, lockservice.SessionSafe)
	})
}

func TestBoottimeRuns(t *testing.T) {
	a := session.Boottime()
	for range 1_000_000 {
		if session.Boottime() > a {
			return
		}
	}
	t.Error("the clock stands still")
}
