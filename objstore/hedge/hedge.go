// Package hedge is the decorator that asks an object store a second time where
// the answer to a read takes unusually long, and takes whichever answer comes
// first: a few requests in a hundred are slow for reasons of the machine they
// happen to meet. A budget keeps the second requests few, so that a store that is
// slow because it is busy is not asked for more.
package hedge

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/limit"
)

// Options of a Store; the zero Options are valid and mean the defaults.
type Options struct {
	// Quantile of the times of recent reads of about the same size after which
	// one is sent again: 0.95.
	Quantile float64
	// MinDelay is the least time before a read is sent again, and MaxDelay the
	// longest: 10 ms and 2 s.
	MinDelay, MaxDelay time.Duration
	// Fraction bounds the second requests, of all: 0.05. Burst is how many may
	// come in a row: 10.
	Fraction float64
	Burst    float64
}

func (o *Options) ensureDefaults() {
	if o.Quantile == 0 {
		o.Quantile = 0.95
	}
	if o.MinDelay == 0 {
		o.MinDelay = 10 * time.Millisecond
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = 2 * time.Second
	}
	if o.Fraction == 0 {
		o.Fraction = 0.05
	}
	if o.Burst == 0 {
		o.Burst = 10
	}
}

// Store hedges GetRange of another store, in calls of class limit.Foreground;
// all else passes through. It implements objstore.Store and objstore.Streamer.
// A request that lost is cancelled; its goroutine ends when the store below
// returns.
type Store struct {
	objstore.Store
	opts         Options
	hedges, wins atomic.Int64

	mu struct {
		sync.Mutex
		tokens float64
		times  [classes]times
	}
}

// New returns inner with hedged reads.
func New(inner objstore.Store, o Options) *Store {
	o.ensureDefaults()
	s := &Store{Store: inner, opts: o}
	s.mu.tokens = o.Burst
	return s
}

// times are the last times of one size class.
type times struct {
	ring     [256]time.Duration
	n        int // ever
	quantile time.Duration
}

// enough is how many reads must have been seen before any is hedged, and
// refresh how many pass between two estimates.
const (
	enough  = 64
	refresh = 32
)

func (t *times) add(d time.Duration, q float64) {
	t.ring[t.n%len(t.ring)] = d
	if t.n++; t.n >= enough && t.n%refresh == 0 {
		sorted := t.ring
		s := sorted[:min(t.n, len(sorted))]
		slices.Sort(s)
		t.quantile = s[int(float64(len(s)-1)*q)]
	}
}

// classes part the reads by their length, which decides how long they take.
const classes = 3

func classOf(n int64) int {
	switch {
	case n <= 256<<10:
		return 0
	case n <= 2<<20:
		return 1
	}
	return 2
}

// delay returns when a read of the class is late; false: nobody can tell yet.
func (s *Store) delay(class int) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.mu.times[class]
	s.mu.tokens = min(s.mu.tokens+s.opts.Fraction, s.opts.Burst)
	// An eighth more: where all take about as long, none is late.
	return min(max(t.quantile+t.quantile/8, s.opts.MinDelay), s.opts.MaxDelay), t.n >= enough
}

func (s *Store) observe(class int, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.times[class].add(d, s.opts.Quantile)
}

// spend takes a second request out of the budget, if there is one left.
func (s *Store) spend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.tokens < 1 {
		return false
	}
	s.mu.tokens--
	return true
}

// answer is what one of the requests brought.
type answer struct {
	data   []byte
	err    error
	second bool
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if limit.ClassOf(ctx) != limit.Foreground {
		return s.Store.GetRange(ctx, key, off, n)
	}
	class, began := classOf(n), time.Now()
	delay, known := s.delay(class)
	if !known {
		data, err := s.Store.GetRange(ctx, key, off, n)
		if err == nil {
			s.observe(class, time.Since(began))
		}
		return data, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also of the one that lost
	answers := make(chan answer, 2)
	ask := func(second bool) {
		data, err := s.Store.GetRange(ctx, key, off, n)
		answers <- answer{data, err, second}
	}
	go ask(false)
	a := s.await(answers, delay, func() { go ask(true) })
	if a.err == nil {
		s.observe(class, time.Since(began))
	}
	return a.data, a.err
}

// await returns the first answer that decides. again is called where it is late
// and the budget allows.
func (s *Store) await(answers <-chan answer, delay time.Duration, again func()) answer {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	asked := 1
	for {
		select {
		case a := <-answers:
			if asked--; asked == 0 || decides(a.err) {
				if a.second && a.err == nil {
					s.wins.Add(1)
				}
				return a
			}
		case <-timer.C:
			if s.spend() {
				s.hedges.Add(1)
				asked++
				again()
			}
		}
	}
}

// decides reports whether another answer could be no better.
func decides(err error) bool {
	return err == nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrDenied) || errors.Is(err, base.ErrInvalid)
}

// Upload implements objstore.Streamer.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	return objstore.Upload(ctx, s.Store, key, r, size)
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return objstore.Download(ctx, s.Store, key, off, n)
}

// Stats returns how many reads were sent again, and how many of those brought
// the answer.
func (s *Store) Stats() (hedges, wins int64) { return s.hedges.Load(), s.wins.Load() }

// Describe implements prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector:
//
//	tabletdb_objstore_hedges_total      reads that were sent a second time
//	tabletdb_objstore_hedge_wins_total  those whose second request was answered first
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	hedges, wins := s.Stats()
	for _, m := range []struct {
		name, help string
		n          int64
	}{
		{"tabletdb_objstore_hedges_total", "Reads of the object store that were sent a second time.", hedges},
		{"tabletdb_objstore_hedge_wins_total", "Reads whose second request was answered first.", wins},
	} {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.name, m.help, nil, nil), prometheus.CounterValue, float64(m.n))
	}
}

var (
	_ objstore.Store    = (*Store)(nil)
	_ objstore.Streamer = (*Store)(nil)
)
