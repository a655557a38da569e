package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcRoom is how much garbage the heap may hold beside what lives, within
	// the bounds of the percentages below.
	gcRoom     = 88 << 20
	minPercent = 100
	maxPercent = 400
)

// tuneGC sets GOGC by the size of the live heap until ctx ends: a small heap
// may grow to several times its size, since the API's messages make much
// garbage and collecting is cheap; a large one has room enough when it doubles.
func tuneGC(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := 0
	for {
		metrics.Read(sample)
		live := max(sample[0].Value.Uint64(), 1<<20)
		want := int(min(max(gcRoom*100/live, minPercent), maxPercent))
		if diff := want - now; diff*10 > now || -diff*10 > now {
			debug.SetGCPercent(want)
			now = want
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
