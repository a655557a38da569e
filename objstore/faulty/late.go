package faulty

import (
	"context"
	"slices"
	"time"
)

// late is a write on its way.
type late struct {
	op    Op
	key   string
	kind  Kind
	apply func(context.Context) error
	timer *time.Timer // nil if it counts calls
	calls int         // that have yet to begin, if it counts calls
}

// later applies a write when its fault says so. The caller's patience has no
// say in it: the request has left.
func (s *Store) later(ctx context.Context, f Fault, op Op, key string, apply func(context.Context) error) {
	l := &late{op: op, key: key, kind: f.Kind, calls: f.Calls}
	detached := context.WithoutCancel(ctx)
	l.apply = func(context.Context) error { return apply(detached) }
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Calls <= 0 {
		l.timer = time.AfterFunc(f.Delay, func() { s.land(l) })
	}
	s.mu.late = append(s.mu.late, l)
}

// countLocked counts one call, and lands what waited for it. It gives up the
// lock meanwhile.
func (s *Store) countLocked() {
	var due []*late
	for _, l := range s.mu.late {
		if l.timer == nil {
			if l.calls--; l.calls <= 0 {
				due = append(due, l)
			}
		}
	}
	if len(due) == 0 {
		return
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	for _, l := range due {
		s.land(l)
	}
}

// land applies a write, unless it has landed or been dropped.
func (s *Store) land(l *late) {
	s.mu.Lock()
	i := slices.Index(s.mu.late, l)
	if i < 0 {
		s.mu.Unlock()
		return
	}
	s.mu.late = slices.Delete(s.mu.late, i, i+1)
	s.landing.Add(1)
	s.mu.Unlock()
	defer s.landing.Done()

	err := l.apply(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.events = append(s.mu.events, Event{Op: l.op, Key: l.key, Kind: l.kind, Landed: true, Err: err})
}

// Pending returns how many writes are still on their way.
func (s *Store) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.late)
}

// Drain lands all writes that are on their way, in the order of their calls, and
// waits until they have.
func (s *Store) Drain() {
	for {
		s.mu.Lock()
		if len(s.mu.late) == 0 {
			s.mu.Unlock()
			break
		}
		l := s.mu.late[0]
		s.mu.Unlock()
		if l.timer != nil {
			l.timer.Stop()
		}
		s.land(l)
	}
	s.landing.Wait()
}

// Close drops the writes that are on their way, which then never land, and waits
// for those that are landing. Calls may follow it; the store below stays open.
func (s *Store) Close() error {
	s.mu.Lock()
	dropped := s.mu.late
	s.mu.late = nil
	s.mu.Unlock()
	for _, l := range dropped {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	s.landing.Wait()
	return nil
}
