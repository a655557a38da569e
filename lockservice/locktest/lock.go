package locktest

import (
	"context"
	"errors"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

func (e *env) lock(s lockservice.Session, name string, o lockservice.LockOptions) lockservice.Sequencer {
	e.Helper()
	q, err := e.TryLock(e.ctx, s, name, o)
	if err != nil {
		e.Fatalf("lock %q: %v", name, err)
	}
	return q
}

func (e *env) locked(s lockservice.Session, name string, o lockservice.LockOptions) {
	e.Helper()
	if _, err := e.TryLock(e.ctx, s, name, o); !errors.Is(err, base.ErrPrecondition) {
		e.Errorf("lock %q: got %v, want ErrPrecondition", name, err)
	}
}

func (e *env) unlock(s lockservice.Session, name string) {
	e.Helper()
	if err := e.Unlock(e.ctx, s, name); err != nil {
		e.Errorf("unlock %q: %v", name, err)
	}
}

func testLockExclusive(e *env) {
	a, b := e.open(e.Client, "a"), e.open(e.Client, "b")
	q := e.lock(a, "l", lockservice.LockOptions{Data: []byte("addr")})
	e.want("exclusive", q.Exclusive, true)
	e.want("again", e.lock(a, "l", lockservice.LockOptions{Data: []byte("addr")}), q)
	e.locked(b, "l", lockservice.LockOptions{})
	e.locked(b, "l", lockservice.LockOptions{Shared: true})
	if _, err := e.TryLock(e.ctx, a, "l", lockservice.LockOptions{Shared: true}); !errors.Is(err, base.ErrInvalid) {
		e.Errorf("the other mode: %v", err)
	}
	if err := e.Unlock(e.ctx, b, "l"); !errors.Is(err, base.ErrPrecondition) {
		e.Errorf("unlock by a stranger: %v", err)
	}
	list, _, err := e.Locks(e.ctx)
	if err != nil || len(list) != 1 {
		e.Fatalf("locks: %v, %v", list, err)
	}
	e.want("data", string(list[0].Data), "addr")
	e.want("holders", list[0].Holders, []lockservice.SessionID{a.ID()})
	e.unlock(a, "l")
	e.want("generation rises", e.lock(b, "l", lockservice.LockOptions{}).Generation > q.Generation, true)
	a.Abandon()
	if err := b.Close(e.ctx); err != nil {
		e.Error(err)
	}
	list, _, _ = e.Locks(e.ctx)
	e.want("closing releases", len(list), 0)
}

func testLockShared(e *env) {
	a, b, c := e.open(e.Client, "a"), e.open(e.Client, "b"), e.open(e.Client, "c")
	q := e.lock(a, "l", lockservice.LockOptions{Shared: true})
	e.want("same generation", e.lock(b, "l", lockservice.LockOptions{Shared: true}), q)
	e.locked(c, "l", lockservice.LockOptions{})
	e.unlock(a, "l")
	e.locked(c, "l", lockservice.LockOptions{})
	e.unlock(b, "l")
	e.want("new generation", e.lock(c, "l", lockservice.LockOptions{}).Generation > q.Generation, true)
	for _, s := range []lockservice.Session{a, b, c} {
		s.Abandon()
	}
}

func testLockWaits(e *env) {
	a, b := e.open(e.Client, "a"), e.open(e.Client, "b")
	e.lock(a, "l", lockservice.LockOptions{})
	short, cancel := context.WithTimeout(e.ctx, time.Second)
	if _, err := e.Lock(short, b, "l", lockservice.LockOptions{}); err == nil {
		e.Error("took a lock that is held")
	}
	cancel()
	got := make(chan error, 1)
	go func() {
		_, err := e.Lock(e.ctx, b, "l", lockservice.LockOptions{})
		got <- err
	}()
	time.Sleep(time.Minute)
	select {
	case err := <-got:
		e.Errorf("lock did not wait: %v", err)
		return
	default:
	}
	e.unlock(a, "l")
	if err := <-got; err != nil {
		e.Error(err)
	}
	a.Abandon()
	b.Abandon()
}

func testLockDelay(e *env) {
	a, b := e.open(e.Client, "a"), e.open(e.Client, "b")
	const delay = 15 * time.Second
	q := e.lock(a, "l", lockservice.LockOptions{Delay: delay})
	a.Abandon()
	time.Sleep(2 * ttl)
	e.want("expired", e.standing(a.ID()), "gone")
	e.want("sequencer", e.holds(lockservice.LockHeld(q)), false)
	e.locked(b, "l", lockservice.LockOptions{})
	list, _, _ := e.Locks(e.ctx)
	e.want("delayed", len(list) == 1 && list[0].Delayed, true)
	time.Sleep(delay)
	e.lock(b, "l", lockservice.LockOptions{Delay: delay})
	if err := b.Close(e.ctx); err != nil {
		e.Error(err)
	}
	list, _, _ = e.Locks(e.ctx)
	e.want("no delay after a release", len(list), 0)
}

// testLockRevokedBlocks: the holder may believe in its lock until its lease is
// over, so nobody else gets it before.
func testLockRevokedBlocks(e *env) {
	a, b := e.open(e.Client, "a"), e.open(e.Client, "b")
	q := e.lock(a, "l", lockservice.LockOptions{})
	if err := e.Revoke(e.ctx, a.ID(), false); err != nil {
		e.Fatal(err)
	}
	e.want("sequencer", e.holds(lockservice.LockHeld(q)), false)
	e.locked(b, "l", lockservice.LockOptions{})
	start := time.Now()
	if _, err := e.Lock(e.ctx, b, "l", lockservice.LockOptions{}); err != nil {
		e.Fatal(err)
	}
	if d := time.Since(start); d < ttl-time.Second || d > ttl+2*time.Second {
		e.Errorf("lock came after %v, want about %v", d, ttl)
	}
	b.Abandon()
}

func testLockSequencer(e *env) {
	s := e.open(e.Client, "s")
	q := e.lock(s, "l", lockservice.LockOptions{})
	write := func(q lockservice.Sequencer) bool {
		return e.txn(lockservice.Txn{
			If:   []lockservice.Compare{lockservice.LockHeld(q)},
			Then: []lockservice.Op{lockservice.Put("k", nil)},
		}).Succeeded
	}
	e.want("held", write(q), true)
	shared := q
	shared.Exclusive = false
	e.want("wrong mode", write(shared), false)
	e.unlock(s, "l")
	e.want("released", write(q), false)
	again := e.lock(s, "l", lockservice.LockOptions{})
	e.want("old generation", write(q), false)
	e.want("new generation", write(again), true)
	s.Abandon()
}
