package tablet

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
)

// Budget is the memory that writes may take together: all memtables of a server,
// and what writes in hand are about to put there. Its methods may be called
// concurrently.
type Budget struct {
	account *membudget.Account
	waiting atomic.Int64 // bytes of writes that are being delayed
	rate    atomic.Int64 // bytes per second at which a flush frees memory; 0: not known
	cramped atomic.Bool  // a write waits for which there must be more room than usual
	stats   StallStats
}

// StallStats counts writes that were held up for lack of memory.
type StallStats struct {
	Delayed, Refused atomic.Int64
	DelayedNanos     atomic.Int64 // how long the delayed ones waited in all
}

// NewBudget returns the budget of an account.
func NewBudget(a *membudget.Account) *Budget { return &Budget{account: a} }

// Limit returns how many bytes there are.
func (b *Budget) Limit() int64 { return b.account.Limit() }

// Used returns what memtables and writes in hand take now.
func (b *Budget) Used() int64 { return b.account.Used() }

// Stats returns the counters.
func (b *Budget) Stats() *StallStats { return &b.stats }

// add counts memory of memtables, which is there already, or not any more.
func (b *Budget) add(n int64) {
	if n >= 0 {
		b.account.Add(n)
	} else {
		b.account.Give(-n)
	}
}

// Shares of the budget, in percent: where flushes begin that nothing else asked
// for, where writes are delayed, and how much must be free for a write that takes
// more than a quarter of it all.
const (
	flushShare = 70
	softShare  = 80
	hugeShare  = 50
)

const (
	// defaultRate stands for the rate of flushes until one has ended.
	defaultRate = 16 << 20
	maxDelay    = time.Second
	minRefusal  = 50 * time.Millisecond
	maxRefusal  = 5 * time.Second
	// writeFactor is how many bytes a byte of a request takes on its way: in the
	// record, and in the memtable.
	writeFactor   = 2
	writeOverhead = 256
)

// writeCost is the memory that a request of n bytes takes until it stands in the
// memtable, which counts it from then on.
func writeCost(n int) int64 { return int64(n)*writeFactor + writeOverhead }

// Admit takes n bytes for a write, which the caller gives back by Done once they
// are counted as a memtable's. From 80 % on a write waits first: the longer, the
// less is left, so that at the limit no more comes in than flushes let go.
// Beyond the limit it refuses, with the time after which there may be room.
func (b *Budget) Admit(ctx context.Context, n int64) error {
	limit := b.account.Limit()
	used := b.account.Used()
	soft := limit / 100 * softShare
	if used+n <= soft {
		b.account.Add(n)
		return nil
	}
	if n > limit/4 { // never together with another of its kind
		if used <= limit/100*hugeShare {
			b.account.Add(n)
			return nil
		}
		b.cramped.Store(true)
		return b.refuse(used - limit/100*hugeShare)
	}
	if used+n > limit {
		return b.refuse(used + n - soft)
	}
	if err := b.delay(ctx, n, float64(used+n-soft)/float64(limit-soft)); err != nil {
		return err
	}
	if !b.account.TryTake(n) {
		return b.refuse(n)
	}
	return nil
}

// Done gives back what Admit took.
func (b *Budget) Done(n int64) { b.account.Give(n) }

// delay waits as long as flushes need to free as much as the writes that wait
// bring, times how much of the room between soft and hard is taken.
func (b *Budget) delay(ctx context.Context, n int64, full float64) error {
	waiting := b.waiting.Add(n)
	defer b.waiting.Add(-n)
	d := time.Duration(full * float64(waiting) / float64(b.flushRate()) * float64(time.Second))
	d = min(d, maxDelay)
	if d < 50*time.Microsecond { // a timer is not worth it
		return nil
	}
	b.stats.Delayed.Add(1)
	b.stats.DelayedNanos.Add(int64(d))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refuse says when excess bytes will probably be free.
func (b *Budget) refuse(excess int64) error {
	b.stats.Refused.Add(1)
	after := time.Duration(float64(excess) / float64(b.flushRate()) * float64(time.Second))
	return &base.OverloadError{After: min(max(after, minRefusal), maxRefusal),
		Reason: fmt.Sprintf("memtables and writes take %d MiB of %d MiB and wait to be flushed", b.Used()>>20, b.Limit()>>20)}
}

func (b *Budget) flushRate() int64 {
	if r := b.rate.Load(); r > 0 {
		return r
	}
	return defaultRate
}

// flushed notes how long it took to free some memory.
func (b *Budget) flushed(bytes int64, elapsed time.Duration) {
	if bytes < 64<<10 || elapsed <= 0 {
		return // it tells more of latency than of bandwidth
	}
	rate := max(int64(float64(bytes)/elapsed.Seconds()), 64<<10)
	if old := b.rate.Load(); old > 0 {
		rate = old + (rate-old)/4
	}
	b.rate.Store(rate)
}

// Excess returns how many bytes should be flushed now so that writes need not
// wait: 0 where there is room.
func (b *Budget) Excess() int64 {
	share := int64(flushShare)
	if b.cramped.Load() {
		share = hugeShare * 9 / 10
	}
	excess := b.Used() - b.Limit()/100*share
	if excess <= 0 {
		b.cramped.Store(false)
		return 0
	}
	return excess
}
