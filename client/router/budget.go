package router

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Budget limits retries of requests that reached a server and may have cost it
// work: a bucket of tokens, of which each retry takes one. Redirects are not
// limited: they wait for news instead.
type Budget struct {
	// Ratio of a token that each answered request adds; 0 means 0.1.
	Ratio float64
	// Burst is how many tokens there are at first and at most; 0 means 1000:
	// what may be under way at a server when it crashes.
	Burst int
}

func (b Budget) withDefaults() Budget {
	if b.Ratio <= 0 {
		b.Ratio = 0.1
	}
	if b.Burst <= 0 {
		b.Burst = 1000
	}
	return b
}

const token = 1000 // so that ratios are whole numbers

type budget struct {
	ratio, most int64
	tokens      atomic.Int64
	earned      atomic.Uint64 // requests answered
}

func (b *budget) init(o Budget) {
	b.ratio, b.most = int64(o.Ratio*token), int64(o.Burst)*token
	b.tokens.Store(b.most)
}

// earn counts an answered request.
func (b *budget) earn() {
	b.earned.Add(1)
	if b.tokens.Load() < b.most {
		b.tokens.Add(b.ratio)
	}
}

// spend takes a token, if there is one.
func (b *budget) spend() bool {
	for {
		n := b.tokens.Load()
		if n < token {
			return false
		}
		if b.tokens.CompareAndSwap(n, n-token) {
			return true
		}
	}
}

const (
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 200 * time.Millisecond
)

// backoff returns the pause after the attempt n, counted from 0.
func backoff(n int) time.Duration {
	return jitter(min(firstBackoff<<min(max(n, 0), 10), maxBackoff))
}

// jitter spreads d over [3/4 d, 5/4 d), so that those who failed together do
// not come back together.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
