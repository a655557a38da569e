package tablet

import (
	"slices"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	// momentTick is about how far moments lie apart at first.
	momentTick = 100 * time.Millisecond
	// maxMoments are remembered; where there are more, they are made to lie
	// further apart.
	maxMoments = 1024
)

// moment says that at that time, by the server's clock, seq was the last
// sequence that was acknowledged.
type moment struct {
	at  time.Time
	seq base.Seq
}

// moments are what a tablet knows of its past. Its methods may be called
// concurrently.
type moments struct {
	mu struct {
		sync.Mutex
		// list is ascending. What was acknowledged and is not in it was so less
		// than tick after the one before it, and before the one that follows.
		list []moment
		tick time.Duration
	}
}

// note remembers that seq is the last sequence that is acknowledged now.
func (m *moments) note(now time.Time, seq base.Seq) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.tick == 0 {
		m.mu.tick = momentTick
	}
	l := m.mu.list
	if n := len(l); n > 0 && seq > l[n-1].seq && now.Before(l[n-1].at) {
		l = l[:0] // the clock was set back: nothing is known of that time
	}
	l = add(l, moment{now, seq}, m.mu.tick)
	for len(l) > maxMoments {
		m.mu.tick *= 2
		thin := l[:0]
		for _, x := range l {
			thin = add(thin, x, m.mu.tick)
		}
		l = thin
	}
	m.mu.list = l
}

// add adds a moment to a list, in the place of the last one where that lies
// within tick of the one before it.
func add(l []moment, x moment, tick time.Duration) []moment {
	n := len(l)
	switch {
	case n > 0 && x.seq <= l[n-1].seq:
		return l
	case n > 1 && x.at.Sub(l[n-2].at) < tick:
		l[n-1] = x
		return l
	}
	return append(l, x)
}

// forget drops the moments at which not all up to flushed was acknowledged yet:
// what was there then is not told apart any more from what came until the flush.
func (m *moments) forget(flushed base.Seq) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.list = slices.DeleteFunc(m.mu.list, func(x moment) bool { return x.seq < flushed })
}

// find returns the last sequence that was acknowledged at a time, or a little
// before, asOf. ok is false where that is not known, for it is before the first
// moment with a sequence of at least flushed; then asOf is that moment, or zero.
func (m *moments) find(at time.Time, flushed base.Seq) (seq base.Seq, asOf time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.mu.list) - 1; i >= 0; i-- {
		x := m.mu.list[i]
		if x.at.After(at) {
			if x.seq >= flushed {
				asOf = x.at
			}
			continue
		}
		if x.seq < flushed {
			return 0, asOf, false
		}
		if i < len(m.mu.list)-1 && m.mu.list[i+1].at.Sub(x.at) < m.mu.tick {
			return x.seq, x.at, true // perhaps something came in between
		}
		return x.seq, at, true
	}
	return 0, asOf, false
}

// copyTo makes to know what m knows.
func (m *moments) copyTo(to *moments) {
	m.mu.Lock()
	list, tick := slices.Clone(m.mu.list), m.mu.tick
	m.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	to.mu.list, to.mu.tick = list, tick
}
