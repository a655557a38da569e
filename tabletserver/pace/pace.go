// Package pace decides how fast compactions may go: as fast as what users wait
// for leaves them, but never so slowly that they fall behind the writes. The
// decision is pure; Bucket hands out what was decided.
package pace

import "time"

// Limits of the rate, in bytes per second of what compactions write.
const (
	// Min is what compactions always get.
	Min = 4 << 20
	// Max is as good as no limit.
	Max = 1 << 30
	// keepUp is how often a byte that is written is compacted, at the worst.
	keepUp = 12
)

// Sample is what was seen since the last decision.
type Sample struct {
	Elapsed time.Duration
	Flushed int64 // bytes of files that flushes wrote
	// Requests is how many reads and writes there were, Cores how many cores the
	// process kept busy, of so many as there are.
	Requests      int64
	Cores, OutOf  float64
	Stalled       bool          // writes were delayed or refused for lack of memory
	LogPut, Usual time.Duration // median time of an upload to the log, now and at its best
	// Behind: some tablet has so many runs that reads suffer.
	Behind bool
}

const (
	someRequests = 50   // per second, from which on somebody is there to be hindered
	busyShare    = 0.85 // of the cores
	slowLog      = 3    // times as long as at its best
)

// busy reports whether users feel that something else is going on.
func (s *Sample) busy() bool {
	if s.Stalled {
		return true
	}
	if float64(s.Requests) < someRequests*s.Elapsed.Seconds() {
		return false
	}
	return s.Cores > busyShare*s.OutOf || s.Usual > 0 && s.LogPut > slowLog*s.Usual
}

// Next returns the rate that follows on rate: three quarters of it while users
// feel it, half as much again while they do not.
func Next(rate int64, ingest float64, s Sample) int64 {
	switch {
	case s.Behind:
		return Max
	case s.busy():
		rate = rate / 4 * 3
	default:
		rate += rate / 2
	}
	return min(max(rate, Floor(ingest)), Max)
}

// Floor is the rate that keeps up with ingest bytes per second.
func Floor(ingest float64) int64 { return min(max(int64(keepUp*ingest), Min), Max) }

// Ingest returns the smoothed rate of flushed bytes per second.
func Ingest(before float64, s Sample) float64 {
	if s.Elapsed <= 0 {
		return before
	}
	// Flushes come in lumps: half of what was a minute ago still counts.
	weight := min(s.Elapsed.Seconds()/90, 1)
	return before + weight*(float64(s.Flushed)/s.Elapsed.Seconds()-before)
}
