package retry

import (
	"sync"
	"time"
)

// perSuccess is what a successful call adds to the budget.
const perSuccess = 0.1

// budget is a bucket of retries: successes and time fill it, retries empty it.
// A nil budget has no limit.
type budget struct {
	size      float64
	perSecond float64

	mu struct {
		sync.Mutex
		tokens float64
		filled time.Time // when tokens was last brought up to date
	}
}

func newBudget(size, perSecond float64) *budget {
	b := &budget{size: size, perSecond: perSecond}
	b.mu.tokens = size
	b.mu.filled = time.Now()
	return b
}

// earn credits a success.
func (b *budget) earn() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.tokens = min(b.mu.tokens+perSuccess, b.size)
}

// spend takes one retry out of the budget, if there is one left.
func (b *budget) spend() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if passed := now.Sub(b.mu.filled); passed > 0 {
		b.mu.tokens = min(b.mu.tokens+passed.Seconds()*b.perSecond, b.size)
	}
	b.mu.filled = now
	if b.mu.tokens < 1 {
		return false
	}
	b.mu.tokens--
	return true
}
