package tabletserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// retryDelay is how long a flush or compaction that failed waits.
const retryDelay = time.Second

func (s *Server) flushOne(t *tablet.Tablet) {
	s.afterwards(t, "flush", t.Flush(s.life), s.flushes.add)
}

// afterwards queues a tablet again whose work failed for a reason that may
// pass.
func (s *Server) afterwards(t *tablet.Tablet, what string, err error, add func(*tablet.Tablet)) {
	switch {
	case err == nil || s.life.Err() != nil:
	case errors.Is(err, tablet.ErrLost):
		s.forget(t)
	case errors.Is(err, base.ErrNotServing) || errors.Is(err, base.ErrFenced):
	case errors.Is(err, base.ErrCorrupt):
		s.log.Error(what+" found damage; the tablet stays as it is", "tablet", uint64(t.ID()), "err", err)
	default:
		s.log.Warn(what+" failed; it is tried again", "tablet", uint64(t.ID()), "err", err)
		time.AfterFunc(retryDelay, func() { add(t) })
	}
}

// forget drops a tablet that is not this server's any more.
func (s *Server) forget(t *tablet.Tablet) {
	t.Abandon()
	s.tablets.CompareAndDelete(t.ID(), t)
}

// memoryLoop flushes the largest memtables when memory runs short.
func (s *Server) memoryLoop() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
		if excess := s.env.Budget.Excess(); excess > 0 {
			s.flushLargest(excess)
		}
	}
}

// ageLoop looks now and then for tablets to which nothing has come, and which are
// to be compacted all the same: for what they hold has become garbage, or old.
func (s *Server) ageLoop() {
	tick := time.NewTicker(s.cfg.Options.AgeInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
		for _, t := range s.all() {
			if t.State() == tablet.Serving && t.NeedsCompaction(s.life) {
				s.wantCompact(t)
			}
		}
	}
}

// flushLargest queues flushes that free about excess bytes.
func (s *Server) flushLargest(excess int64) {
	type sized struct {
		t     *tablet.Tablet
		bytes int64
	}
	var list []sized
	for _, t := range s.all() {
		if u := t.Usage(); u.MemtableBytes > 0 && t.State() == tablet.Serving {
			list = append(list, sized{t, u.MemtableBytes})
		}
	}
	slices.SortFunc(list, func(a, b sized) int { return int(b.bytes>>10 - a.bytes>>10) })
	for _, x := range list {
		if excess <= 0 {
			return
		}
		s.flushes.add(x.t)
		excess -= x.bytes
	}
}

// truncateLoop raises the low position of the log as its records are flushed.
func (s *Server) truncateLoop() {
	tick := time.NewTicker(s.cfg.Options.TruncateInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
		s.dropCuts()
		if err := s.truncate(s.life); err != nil && s.life.Err() == nil {
			s.log.Warn("log was not truncated; it is tried again", "err", err)
		}
	}
}

// dropCuts forgets what tablets' records name of their past, once it is old.
func (s *Server) dropCuts() {
	for _, t := range s.all() {
		if err := t.DropCuts(s.life); err != nil && s.life.Err() == nil && !errors.Is(err, tablet.ErrLost) {
			s.log.Warn("old cuts of a tablet were not forgotten; it is tried again", "tablet", uint64(t.ID()), "err", err)
		}
	}
}

// need is what one tablet needs of the log.
type need struct {
	t    *tablet.Tablet
	from base.Position
}

// truncate commits the lowest position that is needed (R2) and deletes what is
// below. The order matters. First the position below which everything is
// acknowledged is read, then what each tablet that is served needs; what is
// appended later stands at or above the first, or is covered by the second.
// Then the references of all others are read, in one view: a tablet that was
// given up meanwhile is covered by what it needed before.
func (s *Server) truncate(ctx context.Context) error {
	s.mu.Lock()
	old := s.mu.low
	s.mu.Unlock()
	least := old + base.Position(s.cfg.Options.MinTruncate)
	low := s.wal.Unacknowledged()
	if low < least {
		return nil
	}
	served := map[base.TabletID]bool{}
	var needs []need
	for _, t := range s.all() {
		if t.State() != tablet.Serving {
			continue // its reference counts
		}
		if from, ok := t.Needs(); ok {
			needs = append(needs, need{t, from})
			low = min(low, from)
		}
		if t.State() == tablet.Serving { // all the while
			served[t.ID()] = true
		}
	}
	s.flushPinning(needs)
	if low < least {
		return nil
	}
	refs, err := s.meta.Refs(ctx, s.Incarnation())
	if err != nil {
		return err
	}
	for _, r := range refs {
		if !served[r.Holder] {
			low = min(low, r.From)
		}
	}
	if low < least {
		return nil
	}
	if err := s.meta.Truncate(ctx, s.Incarnation(), old, low); err != nil {
		return err
	}
	s.mu.Lock()
	s.mu.low = low
	s.mu.Unlock()
	return s.wal.Truncate(ctx, low)
}

// flushPinning flushes the tablets that keep the log longer than it should be.
func (s *Server) flushPinning(needs []need) {
	o, st := &s.cfg.Options, s.wal.Stats()
	s.mu.Lock()
	held := int64(st.Next - s.mu.low)
	s.mu.Unlock()
	if held == 0 {
		return
	}
	perObject := max(st.Bytes/max(int64(st.Next), 1), 1)
	keep := min(o.MaxLogObjects, o.MaxLogBytes/perObject)
	if held <= keep {
		return
	}
	limit := st.Next - base.Position(max(keep/2, 1))
	for _, n := range needs {
		if n.from < limit {
			s.flushes.add(n.t)
		}
	}
}
