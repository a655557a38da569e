package commitlog

import (
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Stats is the state of a log at one moment.
type Stats struct {
	Low            base.Position // objects below are deleted, or being deleted
	Unacknowledged base.Position // lowest position not acknowledged
	Next           base.Position // of the open batch

	Records, Bytes int64 // ever appended; bytes with record headers
	PendingBytes   int64 // not acknowledged

	Puts, Hedges, Failures int64         // uploads that ended, hedges among them, failures among them
	PutP50, PutP99         time.Duration // of the last 128 that created their object
	Linger, HedgeAfter     time.Duration // in force; HedgeAfter 0: off

	// StalledSince is since when the log waits for the oldest batch in flight,
	// without an acknowledgement; zero when nothing is in flight. A log that
	// works shows a time just past (rule R20 says what to do about others).
	StalledSince time.Time
	// Err is why appends fail, nil while they are accepted.
	Err error
}

// Stats returns the state of the log. It is cheap.
func (l *Log) Stats() Stats {
	low := l.low()
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{
		Low: low, Unacknowledged: l.mu.acked, Next: l.mu.open.pos,
		Records: l.mu.records, Bytes: l.mu.bytes, PendingBytes: l.mu.pending,
		Puts: l.mu.puts, Hedges: l.mu.hedges, Failures: l.mu.failures,
		PutP50: l.mu.p50, PutP99: l.mu.p99, Linger: l.mu.lingerNow, HedgeAfter: l.mu.hedgeAfter,
		StalledSince: l.mu.headSince, Err: l.mu.err,
	}
}

// tune sets linger and hedging after the measured latency.
func (l *Log) tune() {
	l.core.linger = l.cfg.Linger
	if l.cfg.Linger == 0 {
		l.core.linger = l.latency.linger()
	}
	l.core.gather = l.latency.gather()
	switch {
	case l.cfg.HedgeAfter < 0:
		l.core.hedgeAfter = 0
	case l.cfg.HedgeAfter > 0:
		l.core.hedgeAfter = l.cfg.HedgeAfter
	default:
		l.core.hedgeAfter = l.latency.hedgeAfter()
	}
}

// count keeps the figures of Stats that the driver knows.
func (l *Log) count(r result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.puts++
	if r.hedge {
		l.mu.hedges++
	}
	if r.put >= putFailed && !r.batch.acked { // else we have cancelled it
		l.mu.failures++
	}
	l.mu.p50, l.mu.p99 = l.latency.p50, l.latency.p99
	l.mu.lingerNow, l.mu.hedgeAfter = l.core.linger, l.core.hedgeAfter
}
