package commitlog

import (
	"slices"
	"time"
)

// latency estimates the median and the 99th percentile of the last uploads.
// The driver owns it.
type latency struct {
	ring     [128]time.Duration
	n        int // samples ever
	p50, p99 time.Duration
}

// add records a sample. The estimates are renewed with each of the first
// samples and then with every eighth.
func (l *latency) add(d time.Duration) {
	l.ring[l.n%len(l.ring)] = d
	l.n++
	if l.n > 16 && l.n%8 != 0 {
		return
	}
	sorted := l.ring
	s := sorted[:min(l.n, len(sorted))]
	slices.Sort(s)
	l.p50, l.p99 = s[len(s)/2], s[len(s)*99/100]
}

// linger returns how long a batch should wait for company.
func (l *latency) linger() time.Duration {
	if l.n == 0 {
		return initialLinger
	}
	return min(max(l.p50, minLinger), maxLinger)
}

// gather returns how long writers that were woken get to come back.
func (l *latency) gather() time.Duration { return min(l.p50/8, maxGather) }

// hedgeAfter returns when an upload should be sent again.
func (l *latency) hedgeAfter() time.Duration {
	if l.n < len(l.ring)/2 {
		return initialHedge
	}
	return max(l.p99, 2*l.p50, minHedgeAfter)
}
