package commitlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Log is the commit log of one incarnation. All methods may be called
// concurrently.
type Log struct {
	cfg Config

	mu struct {
		sync.Mutex
		err     error    // why appends fail: fenced, closing or closed
		open    *Batch   // never nil
		closed  []*Batch // not yet seen by the driver
		last    *Batch   // closed last
		flush   bool     // somebody waits for the open batch
		streams map[streamKey]*Stream
		free    []*buffer

		acked      base.Position // lowest position not acknowledged
		pending    int64         // bytes not acknowledged
		records    int64         // ever appended
		bytes      int64
		headSince  time.Time // when acked became the oldest batch in flight
		puts       int64
		hedges     int64
		failures   int64
		p50, p99   time.Duration
		lingerNow  time.Duration
		hedgeAfter time.Duration
	}

	truncation struct {
		sync.Mutex
		low atomic.Uint64 // positions below are deleted; written under the mutex
	}

	// The driver's: it alone touches them after Open.
	core    core
	batches []*Batch // of the core's slots
	latency latency
	prevSum uint32
	crowd   int // records of the batch acknowledged last

	expect  atomic.Int64  // the core's: with so many records the open batch is to be closed
	wake    chan struct{} // something was appended, closed or is to be flushed
	results chan result
	ctx     context.Context // ends when the log is abandoned or has stopped
	cancel  context.CancelFunc
	stopped chan struct{}  // closed when nothing is pending any more
	calls   sync.WaitGroup // calls of the store under way
}

// Open returns the log of a fresh incarnation, at position 0. It does no I/O.
// The caller calls Close or Abandon at the end.
func Open(cfg Config) (*Log, error) {
	cfg.ensureDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Log{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		results: make(chan result, 2*cfg.MaxInFlight),
		stopped: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.mu.open = &Batch{done: make(chan struct{})}
	l.mu.streams = make(map[streamKey]*Stream)
	l.core.limits = coreLimits{
		window: cfg.MaxInFlight, retryBase: retryBase, retryMax: retryMax,
		hedgeShare: hedgeShare, hedgeBurst: hedgeBurst, garbledMax: garbledMax,
		jitter: func(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) },
	}
	l.core.hedges = 1
	l.tune()
	go l.drive()
	return l, nil
}

// NextPosition returns the position that the open batch has or will get: what
// is appended from now on stands there or later.
func (l *Log) NextPosition() base.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.open.pos
}

// Unacknowledged returns the lowest position that is not acknowledged. The
// callbacks for all below it have returned.
func (l *Log) Unacknowledged() base.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.acked
}

// Flush waits until everything that was appended before is acknowledged,
// without linger. It returns what Batch.Wait returns.
func (l *Log) Flush(ctx context.Context) error {
	if b := l.newest(); b != nil {
		return b.Wait(ctx)
	}
	return nil
}

// newest returns the last batch that holds records, nil if there was none, and
// has it closed soon.
func (l *Log) newest() *Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.open.bytes == 0 {
		return l.mu.last
	}
	l.mu.flush = true
	l.signal()
	return l.mu.open
}

// Close refuses further appends, waits until everything is acknowledged or the
// log is fenced, and stops it. If ctx ends first it abandons the log and
// returns an error that wraps base.ErrUnknownOutcome. On return all goroutines
// of the log have ended, except the one that runs OnFenced.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.mu.err == nil {
		l.mu.err = ErrClosed
	}
	l.mu.Unlock()
	var err error
	if b := l.newest(); b != nil {
		err = b.Wait(ctx)
	}
	l.Abandon()
	l.calls.Wait()
	if err != nil {
		return fmt.Errorf("close commit log of %s: %w", l.cfg.Incarnation, err)
	}
	return nil
}

// Abandon stops the log at once, as a crash would: what is pending fails with
// ErrClosed, and may or may not have been written. Uploads under way are
// cancelled, not waited for (Close, called afterwards, waits).
func (l *Log) Abandon() {
	l.cancel()
	<-l.stopped
}

// rotateLocked closes the open batch and opens the next.
func (l *Log) rotateLocked() {
	b := l.mu.open
	b.closedAt = time.Now()
	l.mu.closed = append(l.mu.closed, b)
	l.mu.last = b
	l.mu.flush = false
	l.mu.open = &Batch{pos: b.pos + 1, done: make(chan struct{})}
}

// signal wakes the driver.
func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// takeLocked returns an empty buffer of the usual size.
func (l *Log) takeLocked() *buffer {
	if n := len(l.mu.free); n > 0 {
		f := l.mu.free[n-1]
		l.mu.free = l.mu.free[:n-1]
		return f
	}
	return newBuffer(l.cfg.MaxBatchBytes)
}

// give takes back a buffer that nothing refers to any more, if it is of the
// usual size and few are kept.
func (l *Log) give(f *buffer) {
	if f == nil || cap(f.data) != bufferCap(l.cfg.MaxBatchBytes) {
		return
	}
	f.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.free) < l.cfg.MaxInFlight+2 {
		l.mu.free = append(l.mu.free, f)
	}
}

// fail ends everything pending: batches whose outcome is unknown to the core
// get both errors, the others err alone.
func (l *Log) fail(err error, unknown func(base.Position) bool) {
	l.mu.Lock()
	l.mu.err = err
	pending := append(l.batches, l.mu.closed...)
	if l.mu.open.bytes > 0 {
		pending = append(pending, l.mu.open)
		l.mu.open = &Batch{pos: l.mu.open.pos + 1, done: make(chan struct{})}
	}
	l.mu.closed, l.batches, l.mu.last = nil, nil, nil
	l.mu.free, l.mu.streams = nil, make(map[streamKey]*Stream)
	l.mu.Unlock()
	both := fmt.Errorf("%w: %w", base.ErrUnknownOutcome, err)
	for _, b := range pending {
		if unknown(b.pos) {
			b.finish(both)
		} else {
			b.finish(err)
		}
	}
}
