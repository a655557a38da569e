package tabletserver

import (
	"math"
	"runtime/metrics"
	"sync"
	"syscall"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// rateWindow is the time over which rates are smoothed.
const rateWindow = 30 * time.Second

// rates turns the counters of tablets into rates. Whoever asks, asks often
// enough: a master does each second.
type rates struct {
	mu   sync.Mutex
	last map[base.TabletID]*sample
	cpu  struct {
		at    time.Time
		used  time.Duration
		cores float64
	}
}

// sample is what was counted for a tablet when it was last asked for.
type sample struct {
	t      *tablet.Tablet
	at     time.Time
	counts [4]int64
	rates  [4]float64
}

// minSample is the shortest time over which a rate is measured.
const minSample = 500 * time.Millisecond

func (r *rates) of(t *tablet.Tablet, now time.Time) [4]float64 {
	counts := [4]int64{t.Counters.Reads.Load(), t.Counters.Writes.Load(), t.Counters.ReadBytes.Load(), t.Counters.WriteBytes.Load()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[base.TabletID]*sample{}
	}
	s := r.last[t.ID()]
	if s == nil || s.t != t {
		r.last[t.ID()] = &sample{t: t, at: now, counts: counts}
		return [4]float64{}
	}
	elapsed := now.Sub(s.at)
	if elapsed < minSample {
		return s.rates
	}
	weight := 1 - math.Exp(-float64(elapsed)/float64(rateWindow))
	for i := range counts {
		rate := float64(counts[i]-s.counts[i]) / elapsed.Seconds()
		s.rates[i] += weight * (rate - s.rates[i])
	}
	s.at, s.counts = now, counts
	return s.rates
}

// tablet returns the load of a tablet.
func (r *rates) tablet(t *tablet.Tablet, now time.Time) *controlpb.TabletLoad {
	v, u := r.of(t, now), t.Usage()
	return &controlpb.TabletLoad{
		Tablet: uint64(t.ID()), Table: uint64(t.Table()), Tepoch: uint64(t.Epoch()), State: t.State().String(),
		Start: t.Start(), End: t.End(),
		Reads: v[0], Writes: v[1], ReadBytes: v[2], WriteBytes: v[3],
		MemtableBytes: uint64(u.MemtableBytes), FileBytes: uint64(u.FileBytes),
		Runs: uint32(u.Runs), Files: uint32(u.Files), RowsEstimate: u.Rows, Error: t.Failure(),
	}
}

// cores returns how many cores the process used since it was last asked.
func (r *rates) cores(now time.Time) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.cpu
	if elapsed := now.Sub(c.at); c.at.IsZero() || elapsed >= minSample {
		if !c.at.IsZero() {
			c.cores = float64(used-c.used) / float64(elapsed)
		}
		c.at, c.used = now, used
	}
	return c.cores
}

func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// stalledAfter is how long the log must be without an acknowledgement, while
// something is in flight, to be reported as stalled.
const stalledAfter = time.Second

// serverLoad returns the load of the server without its tablets'.
func (s *Server) serverLoad(now time.Time) *controlpb.ServerLoad {
	st := s.wal.Stats()
	s.mu.Lock()
	low := s.mu.low
	s.mu.Unlock()
	l := &controlpb.ServerLoad{
		Cpu: s.rates.cores(now), MemoryBytes: heapBytes(), MemoryBudgetBytes: uint64(s.env.Budget.Limit()),
		MemtableBytes: uint64(s.env.Budget.Used()), CacheBytes: uint64(s.cache.Stats().Bytes),
		LogLow: uint64(low), LogNext: uint64(st.Next), LogUnacknowledged: uint64(st.Unacknowledged), LogPutP50Us: st.PutP50.Microseconds(),
		SessionState: map[lockservice.SessionState]string{
			lockservice.SessionSafe: "safe", lockservice.SessionJeopardy: "jeopardy", lockservice.SessionExpired: "expired",
		}[s.session.State()],
	}
	if !st.StalledSince.IsZero() && now.Sub(st.StalledSince) > stalledAfter {
		l.LogStalledUs = now.Sub(st.StalledSince).Microseconds()
	}
	if at := s.acked.Load(); at > 0 {
		l.LogAcknowledgedUsAgo = max((now.Sub(s.started) - time.Duration(at)).Microseconds(), 1)
	}
	if st.Next > 0 {
		l.LogPinnedBytes = uint64(st.Bytes / int64(st.Next) * int64(st.Next-low))
	}
	return l
}
