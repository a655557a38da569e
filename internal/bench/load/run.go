package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Load is something to do again and again.
type Load interface {
	// Do does one operation. It is called by many workers at once.
	Do(ctx context.Context, w *Worker) (Kind, error)
}

// Options say how long and with how many workers a load runs.
type Options struct {
	// Workers is how many operations are under way at once; 0 means 1.
	Workers int
	// Duration is how long operations are counted. Ops ends the run after that
	// many operations instead. One of them must be given.
	Duration time.Duration
	Ops      int64
	// Warmup precedes that.
	Warmup time.Duration
	// Rate, if not 0, is how many operations begin in a second. Their latency
	// counts from when they should have begun, so that a server that stalls
	// pays for all that it delays.
	Rate float64
	// Timeout of each operation; 0 is none.
	Timeout time.Duration
	// Grace is how long operations may go on after the end before they are
	// cancelled, and count as errors; 0 means 10 s.
	Grace time.Duration
	// Seed of all random choices; 0 means 1.
	Seed uint64
	// Tables are given to the workers in turn: holds on one table, by different
	// connections.
	Tables []Table
	// Begun, if not nil, is called when the warm-up is over.
	Begun func()
}

func (o Options) withDefaults() (Options, error) {
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	switch {
	case o.Workers < 0 || o.Duration < 0 || o.Ops < 0 || o.Warmup < 0 || o.Rate < 0:
		return o, errors.New("workers, duration, operations, warm-up and rate must not be negative")
	case (o.Duration == 0) == (o.Ops == 0):
		return o, errors.New("either a duration or a number of operations must be given")
	case len(o.Tables) == 0:
		return o, errors.New("no table to work on")
	}
	return o, nil
}

// Worker is one of those that do operations. It is used by one goroutine, but
// for its counters.
type Worker struct {
	ID    int
	Rand  *rand.Rand
	Table Table

	run   *run
	stats stats
	value []byte     // scratch of loads
	bulk  bulkBuffer // scratch of loads
	zipf  *Zipf      // of loads that grow one
	ops   atomic.Int64
	rows  atomic.Int64
	bytes atomic.Int64
	_     [64]byte // keeps neighbours' counters apart
}

// Moved counts rows that were read or written, and their values' bytes.
func (w *Worker) Moved(rows, bytes int64) {
	w.rows.Add(rows)
	w.bytes.Add(bytes)
}

// Stopping reports whether a long operation should end early.
func (w *Worker) Stopping() bool { return w.run.phase.Load() == over }

// The phases of a run.
const (
	warming int32 = iota
	measuring
	over
)

// run is one run of a load.
type run struct {
	load    Load
	o       Options
	workers []*Worker
	phase   atomic.Int32
	left    atomic.Int64 // operations, if they are counted
	spent   chan struct{}
	once    sync.Once
}

// Run puts a load on a table. It ends early, with an error, only if ctx does;
// what goes wrong with operations is in the result.
func Run(ctx context.Context, l Load, o Options) (*Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("run load: %w", err)
	}
	if o.Ops > 0 && o.Warmup > 0 { // else operations of the warm-up would end among those that are counted
		warm := o
		warm.Ops, warm.Duration, warm.Warmup, warm.Begun = 0, o.Warmup, 0, nil
		if _, err := Run(ctx, l, warm); err != nil {
			return nil, err
		}
		o.Warmup = 0
	}
	r := &run{load: l, o: o, spent: make(chan struct{})}
	r.left.Store(o.Ops)
	for i := range o.Workers {
		r.workers = append(r.workers, &Worker{
			ID: i, run: r, Rand: rand.New(rand.NewPCG(o.Seed, uint64(i))), Table: o.Tables[i%len(o.Tables)], stats: newStats(),
		})
	}
	return r.measure(ctx)
}

func (r *run) measure(ctx context.Context) (*Result, error) {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	began := time.Now()
	if r.o.Warmup == 0 {
		r.phase.Store(measuring)
	}
	for _, w := range r.workers {
		wg.Go(func() { r.work(work, w, began) })
	}
	from, before := began, moved{}
	var err error
	if r.o.Warmup > 0 {
		err = r.wait(ctx, r.o.Warmup, nil)
		r.phase.Store(measuring)
		from, before = time.Now(), r.moved()
	}
	if r.o.Begun != nil && err == nil {
		r.o.Begun()
	}
	var series []int64
	if err == nil {
		err = r.wait(ctx, r.o.Duration, &series)
	}
	if r.o.Ops == 0 {
		r.phase.Store(over)
	}
	elapsed, after := time.Since(from), r.moved()
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(r.o.Grace):
		r.phase.Store(over)
		cancel()
		<-all
	case <-ctx.Done():
		r.phase.Store(over)
		<-all
	}
	if r.o.Ops > 0 { // the last workers are waited for
		elapsed, after = time.Since(from), r.moved()
	}
	if err == nil {
		err = ctx.Err() // the last operations were cancelled
	}
	if err != nil {
		return nil, fmt.Errorf("run load: %w", err)
	}
	return r.result(elapsed, after.minus(before), series), nil
}

// wait waits for d, or until the operations are used up if d is 0. It appends
// to series, if not nil, how many operations each second did.
func (r *run) wait(ctx context.Context, d time.Duration, series *[]int64) error {
	var end <-chan time.Time
	if d > 0 {
		end = time.After(d)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := r.moved().ops
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-r.spent:
			return nil
		case <-tick.C:
			if series != nil {
				now := r.moved().ops
				*series = append(*series, now-last)
				last = now
			}
		}
	}
}

// moved is a sum over all workers.
type moved struct{ ops, rows, bytes int64 }

func (m moved) minus(o moved) moved { return moved{m.ops - o.ops, m.rows - o.rows, m.bytes - o.bytes} }

func (r *run) moved() moved {
	var m moved
	for _, w := range r.workers {
		m.ops += w.ops.Load()
		m.rows += w.rows.Load()
		m.bytes += w.bytes.Load()
	}
	return m
}

// pauseOnError keeps a worker whose operations fail at once from spinning.
const pauseOnError = 5 * time.Millisecond

func (r *run) work(ctx context.Context, w *Worker, began time.Time) {
	every := time.Duration(0)
	if r.o.Rate > 0 {
		every = time.Duration(float64(r.o.Workers) / r.o.Rate * float64(time.Second))
		began = began.Add(every * time.Duration(w.ID) / time.Duration(r.o.Workers))
	}
	for i := 0; ; i++ {
		start := time.Now()
		if every > 0 {
			start = began.Add(every * time.Duration(i))
			if !sleep(ctx, time.Until(start)) {
				return
			}
		}
		phase := r.phase.Load()
		if phase == over || ctx.Err() != nil || (r.o.Ops > 0 && phase == measuring && !r.take()) {
			return
		}
		kind, err := r.do(ctx, w)
		if err == nil {
			w.ops.Add(1)
		}
		if phase == measuring {
			w.stats.record(kind, time.Since(start), err)
		}
		if err != nil && !sleep(ctx, pauseOnError) {
			return
		}
	}
}

// take takes one of the counted operations.
func (r *run) take() bool {
	left := r.left.Add(-1)
	if left <= 0 {
		r.once.Do(func() { close(r.spent) })
	}
	return left >= 0
}

func (r *run) do(ctx context.Context, w *Worker) (Kind, error) {
	if r.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.o.Timeout)
		defer cancel()
	}
	return r.load.Do(ctx, w)
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
