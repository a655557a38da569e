package tabletserver

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// compactions is the list of tablets that wait to be compacted, each once,
// those with too many runs first. Two kinds of takers share it: the server's
// own, and workers. Where there are workers they are given what can wait; what
// is urgent goes to whoever is free first.
type compactions struct {
	mu struct {
		sync.Mutex
		list    []*waiting // in the order in which they came
		changed chan struct{}
	}
}

// waiting is a tablet in the list.
type waiting struct {
	t     *tablet.Tablet
	since time.Time
	here  bool // no worker is to have it
}

func newCompactions() *compactions {
	q := &compactions{}
	q.mu.changed = make(chan struct{})
	return q
}

// add puts a tablet into the list unless it is there. It never blocks.
func (q *compactions) add(t *tablet.Tablet) { q.put(&waiting{t: t, since: time.Now()}) }

// put is add of a tablet that may have waited before.
func (q *compactions) put(w *waiting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.mu.list, func(x *waiting) bool { return x.t == w.t })
	if i >= 0 {
		q.mu.list[i].here = q.mu.list[i].here || w.here
	} else {
		q.mu.list = append(q.mu.list, w)
	}
	close(q.mu.changed)
	q.mu.changed = make(chan struct{})
}

// change returns a channel that is closed when something is put into the list.
func (q *compactions) change() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.changed
}

// takeHere removes the tablet that this server is to compact next by itself.
// nil: there is none, or, if wait is not 0, none before that time has passed:
// workers get as long as patience to take what can wait.
func (q *compactions) takeHere(now time.Time, patience time.Duration) (w *waiting, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	best := -1
	for i, x := range q.mu.list {
		left := patience - now.Sub(x.since)
		urgent := x.t.Urgent()
		switch {
		case !urgent && !x.here && left > 0:
			if wait == 0 || left < wait {
				wait = left
			}
		case urgent:
			return q.removeLocked(i), 0
		case best < 0:
			best = i
		}
	}
	if best < 0 {
		return nil, wait
	}
	return q.removeLocked(best), 0
}

// takeAway removes the tablet that a worker is to have next; nil: there is none.
func (q *compactions) takeAway() *waiting {
	q.mu.Lock()
	defer q.mu.Unlock()
	best := -1
	for i, x := range q.mu.list {
		if x.here {
			continue
		}
		if x.t.Urgent() {
			return q.removeLocked(i)
		}
		if best < 0 {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return q.removeLocked(best)
}

func (q *compactions) removeLocked(i int) *waiting {
	w := q.mu.list[i]
	q.mu.list = slices.Delete(q.mu.list, i, i+1)
	return w
}

// forAway reports whether something waits that a worker may have.
func (q *compactions) forAway() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.mu.list, func(x *waiting) bool { return !x.here })
}

// len returns how many tablets wait.
func (q *compactions) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.list)
}

// compactHere compacts one tablet after the other in this process, until the
// server ends.
func (s *Server) compactHere() {
	for s.life.Err() == nil {
		changed, workers := s.compacts.change(), s.pool.Changed()
		var patience time.Duration
		if s.pool.Usable() {
			patience = s.cfg.Options.OffloadPatience
		}
		w, wait := s.compacts.takeHere(time.Now(), patience)
		if w != nil {
			s.compactOne(w.t)
			continue
		}
		var passed <-chan time.Time
		if wait > 0 {
			passed = time.After(wait)
		}
		select {
		case <-changed:
		case <-workers:
		case <-passed:
		case <-s.life.Done():
		}
	}
}

// compactOne does the next compaction of a tablet, if it needs one.
func (s *Server) compactOne(t *tablet.Tablet) {
	_, err := t.Compact(s.life, false, nil)
	s.compacted(t, err)
}

// compacted puts a tablet into the list again that needs another compaction, or
// whose last one failed for a reason that may pass.
func (s *Server) compacted(t *tablet.Tablet, err error) {
	if err == nil && t.NeedsCompaction(s.life) {
		s.compacts.add(t)
	}
	s.afterwards(t, "compaction", err, s.compacts.add)
}

// compactAway gives tablets to workers as these have slots, until the server
// ends.
func (s *Server) compactAway() {
	for s.life.Err() == nil {
		changed, workers := s.compacts.change(), s.pool.Changed()
		var retry time.Duration
		if s.compacts.forAway() {
			var slot *offload.Slot
			if slot, retry = s.pool.Acquire(); slot != nil {
				s.dispatch(slot)
				continue
			}
		}
		var passed <-chan time.Time
		if retry > 0 {
			passed = time.After(retry)
		}
		select {
		case <-changed:
		case <-workers:
		case <-passed:
		case <-s.life.Done():
		}
	}
}

// dispatch gives the next tablet to the worker of a slot.
func (s *Server) dispatch(slot *offload.Slot) {
	w := s.compacts.takeAway()
	if w == nil { // somebody was faster
		slot.Release()
		return
	}
	s.workers.Go(func() {
		defer slot.Release()
		_, err := w.t.Compact(s.life, false, slot)
		switch {
		case errors.Is(err, base.ErrOverloaded): // with others' jobs
			s.compacts.put(w)
		case errors.Is(err, tablet.ErrElsewhere):
			if !errors.Is(err, tablet.ErrSmall) && s.life.Err() == nil {
				s.log.Warn("compaction is done here, for a worker did not do it", "tablet", uint64(w.t.ID()), "err", err)
			}
			w.here = true
			s.compacts.put(w)
		default:
			s.compacted(w.t, err)
		}
	})
}

// compactNow merges all runs of a tablet, by a worker if one is free.
func (s *Server) compactNow(ctx context.Context, t *tablet.Tablet) error {
	if slot, _ := s.pool.Acquire(); slot != nil {
		_, err := t.Compact(ctx, true, slot)
		slot.Release()
		if !errors.Is(err, tablet.ErrElsewhere) {
			return err
		}
	}
	_, err := t.Compact(ctx, true, nil)
	return err
}
