package wal

import (
	"context"
	"sync"
)

const (
	// fetchWidth is how many requests a reader of a log has under way.
	fetchWidth = 32
	// fetchBytes bounds the bytes that it has fetched or asked for and not
	// delivered, unless one piece alone is larger.
	fetchBytes = 64 << 20
)

// ordered calls fetch for 0..n-1 concurrently and deliver, one at a time and in
// order, with the results. size tells the bytes that piece i will hold (nil:
// little). The first error, in order, ends it and is returned; no call is under
// way any more when it returns.
func ordered[T any](ctx context.Context, n int, fetch func(context.Context, int) (T, error), size func(int) int64, deliver func(int, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	type result struct {
		v   T
		err error
	}
	var slots [fetchWidth]chan result
	for i := range slots {
		slots[i] = make(chan result, 1)
	}
	if size == nil {
		size = func(int) int64 { return 0 }
	}
	started, bytes := 0, int64(0)
	for i := range n {
		for started < n && started < i+fetchWidth && (started == i || bytes+size(started) <= fetchBytes) {
			at, slot := started, slots[started%fetchWidth]
			wg.Go(func() {
				v, err := fetch(ctx, at)
				slot <- result{v, err}
			})
			bytes += size(started)
			started++
		}
		r := <-slots[i%fetchWidth]
		if r.err != nil {
			return r.err
		}
		if err := deliver(i, r.v); err != nil {
			return err
		}
		bytes -= size(i)
	}
	return nil
}
