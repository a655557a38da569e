package pace

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/time/rate"
)

// Bucket is a bucket of tokens, one for each byte, that all compactions of a
// server take from. Its methods may be called concurrently.
type Bucket struct {
	limiter *rate.Limiter

	mu struct {
		sync.Mutex
		rate   int64
		ingest float64
	}
}

// burst is how much may be taken at once.
const burst = 1 << 20

// NewBucket returns a bucket without limit.
func NewBucket() *Bucket {
	b := &Bucket{limiter: rate.NewLimiter(Max, burst)}
	b.mu.rate = Max
	return b
}

// Adjust sets the rate by what was seen.
func (b *Bucket) Adjust(s Sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.ingest = Ingest(b.mu.ingest, s)
	b.mu.rate = Next(b.mu.rate, b.mu.ingest, s)
	b.limiter.SetLimit(rate.Limit(b.mu.rate))
}

// Rate returns the rate, in bytes per second.
func (b *Bucket) Rate() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.rate
}

// Take waits until there are n tokens.
func (b *Bucket) Take(ctx context.Context, n int) error {
	for n > 0 {
		part := min(n, burst)
		if err := b.limiter.WaitN(ctx, part); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w: %w", context.DeadlineExceeded, err) // it would end first
		}
		n -= part
	}
	return nil
}
