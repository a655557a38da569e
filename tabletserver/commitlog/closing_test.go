package commitlog

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// closedLoop lets callers append a record each, wait, think and go on, over a
// store of the given latency, for five seconds. It returns the median time of a
// write and how many records went into a batch.
func closedLoop(t *testing.T, callers int, latency, think time.Duration) (p50 time.Duration, perBatch float64) {
	l, err := Open(Config{Store: slow{discard{}, latency}, Incarnation: me, Nonce: [16]byte{1}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	end := time.Now().Add(5 * time.Second)
	for c := range callers {
		wg.Go(func() {
			time.Sleep(time.Duration(c) * 37 * time.Microsecond)
			s := l.NewStream(base.TabletID(c), 1, nil)
			for seq := base.Seq(1); time.Now().Before(end); seq++ {
				start := time.Now()
				b, err := s.Append(seq, seq, make([]byte, 1000))
				if err == nil {
					err = b.Wait(context.Background())
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				times = append(times, time.Since(start))
				mu.Unlock()
				time.Sleep(think)
			}
		})
	}
	wg.Wait()
	st := l.Stats()
	l.Close(context.Background())
	slices.Sort(times)
	return times[len(times)/2], float64(st.Records) / float64(st.Unacknowledged)
}

// TestCallersShareABatch: callers that wait for each write soon go together and
// wait for one upload each, not for two.
func TestCallersShareABatch(t *testing.T) {
	for _, c := range []struct {
		callers        int
		latency, think time.Duration
	}{
		{1, 10 * time.Millisecond, 0},
		{2, 10 * time.Millisecond, 0},
		{64, 10 * time.Millisecond, 0},
		{64, 10 * time.Millisecond, 300 * time.Microsecond},
		{64, 2 * time.Millisecond, 100 * time.Microsecond},
		{256, 30 * time.Millisecond, time.Millisecond},
		{64, 10 * time.Millisecond, 25 * time.Millisecond}, // not waited for
	} {
		synctest.Test(t, func(t *testing.T) {
			p50, per := closedLoop(t, c.callers, c.latency, c.think)
			t.Logf("%+v: median %v, %.1f records a batch", c, p50, per)
			limit := c.latency * 5 / 4
			if c.think > c.latency/4 {
				limit = c.latency * 2
			} else if per < 0.9*float64(c.callers) {
				t.Errorf("%+v: %.1f records a batch", c, per)
			}
			if p50 > limit {
				t.Errorf("%+v: median %v", c, p50)
			}
		})
	}
}
