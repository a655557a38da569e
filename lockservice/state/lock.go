package state

import (
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// lock is one lock that is not free. Rows are immutable; a lock that becomes
// free leaves the table.
type lock struct {
	name       string
	exclusive  bool
	generation uint64
	delay      time.Duration // lock-delay asked for by its holders (the longest)
	data       []byte        // of the last acquisition
	holders    []lockservice.SessionID
	// blockers held the lock when they were revoked; their leases may still
	// run, so they may still believe that they hold it.
	blockers []lockservice.SessionID
	// delaying is not zero while the lock-delay of a failed holder runs.
	delaying time.Duration
}

func (l *lock) info() lockservice.LockInfo {
	return lockservice.LockInfo{
		Name: l.name, Exclusive: l.exclusive, Generation: l.generation,
		Holders: slices.Clone(l.holders), Data: l.data,
		Delayed: len(l.holders) == 0,
	}
}

func (l *lock) free() bool {
	return len(l.holders) == 0 && len(l.blockers) == 0 && l.delaying == 0
}

func (l *lock) sequencer() lockservice.Sequencer {
	return lockservice.Sequencer{Name: l.name, Exclusive: l.exclusive, Generation: l.generation}
}

func (l *lock) clone() *lock {
	c := *l
	c.holders = slices.Clone(l.holders)
	c.blockers = slices.Clone(l.blockers)
	return &c
}

func (v *tables) lock(name string) (*lock, bool) { return v.locks.Get(&lock{name: name}) }

// held reports whether the lock is held as q says.
func (v *tables) held(q lockservice.Sequencer) bool {
	l, ok := v.lock(q.Name)
	return ok && len(l.holders) > 0 && l.sequencer() == q
}

// acquirable: the lock is free, or shared and asked for in shared mode.
func (v *tables) acquirable(a *Acquire) bool {
	l, ok := v.lock(a.Name)
	if !ok || slices.Contains(l.holders, a.Session) {
		return true
	}
	return a.Shared && !l.exclusive
}

// acquire is idempotent for a holder that asks again in the same mode; one that
// asks in the other mode is refused.
func (m *Machine) acquire(a *Acquire) Result {
	if !m.alive(a.Session) {
		return Result{Err: base.ErrSessionExpired}
	}
	l, ok := m.lock(a.Name)
	if ok && slices.Contains(l.holders, a.Session) {
		if l.exclusive == a.Shared {
			return Result{Err: invalid("lock %q is held by this session in the other mode", a.Name)}
		}
		return Result{OK: true, Lock: l.sequencer()}
	}
	if !m.acquirable(a) {
		return Result{}
	}
	n := &lock{name: a.Name, exclusive: !a.Shared}
	if ok {
		n = l.clone()
	}
	if len(n.holders) == 0 {
		m.lockGeneration++
		n.generation = m.lockGeneration
	}
	n.delay = max(n.delay, a.Delay)
	n.data = a.Data
	n.holders = append(n.holders, a.Session)
	slices.SortFunc(n.holders, lockservice.SessionID.Compare)
	m.storeLock(n)
	return Result{OK: true, Lock: n.sequencer()}
}

func (m *Machine) release(c *Release) bool {
	l, ok := m.lock(c.Name)
	if !ok || !slices.Contains(l.holders, c.Session) {
		return false
	}
	m.drop(l, c.Session, false)
	return true
}

// storeLock stores l, or removes it where it has become free.
func (m *Machine) storeLock(l *lock) {
	m.touched++
	if l.free() {
		m.locks.Delete(l)
		return
	}
	m.locks.ReplaceOrInsert(l)
}

// drop takes a session off a lock. failed starts the lock-delay.
func (m *Machine) drop(l *lock, id lockservice.SessionID, failed bool) {
	n := l.clone()
	is := func(h lockservice.SessionID) bool { return h == id }
	n.holders = slices.DeleteFunc(n.holders, is)
	n.blockers = slices.DeleteFunc(n.blockers, is)
	if failed {
		n.delaying = max(n.delaying, n.delay)
	}
	m.storeLock(n)
}

// locksOf lists the locks that a session holds or blocks, by name. Locks are
// few (masters, operations), so that no index is kept.
func (m *Machine) locksOf(id lockservice.SessionID) []*lock {
	var out []*lock
	m.locks.Ascend(func(l *lock) bool {
		if slices.Contains(l.holders, id) || slices.Contains(l.blockers, id) {
			out = append(out, l)
		}
		return true
	})
	return out
}

// blockLocks makes the locks of a revoked session unusable until its lease is
// over.
func (m *Machine) blockLocks(id lockservice.SessionID) {
	for _, l := range m.locksOf(id) {
		n := l.clone()
		n.holders = slices.DeleteFunc(n.holders, func(h lockservice.SessionID) bool { return h == id })
		n.blockers = append(n.blockers, id)
		m.storeLock(n)
	}
}

// freeLocks releases the locks of a session that is gone.
func (m *Machine) freeLocks(id lockservice.SessionID, failed bool) {
	for _, l := range m.locksOf(id) {
		m.drop(l, id, failed)
	}
}

func (m *Machine) endDelay(c *EndDelay) {
	l, ok := m.lock(c.Name)
	if !ok || l.generation != c.Generation || l.delaying == 0 {
		return
	}
	n := l.clone()
	n.delaying = 0
	m.storeLock(n)
}

// ErrLocked: the lock is held, blocked or in lock-delay.
var ErrLocked = fmt.Errorf("lock is taken: %w", base.ErrPrecondition)

// ErrNotHeld: the session does not hold the lock.
var ErrNotHeld = fmt.Errorf("lock is not held by this session: %w", base.ErrPrecondition)
