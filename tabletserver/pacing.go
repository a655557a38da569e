package tabletserver

import (
	"runtime"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/tabletserver/pace"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// paceInterval is how often it is decided how fast compactions go.
const paceInterval = time.Second

// paceLoop adjusts the pace of compactions to what users feel of them.
func (s *Server) paceLoop() {
	tick := time.NewTicker(paceInterval)
	defer tick.Stop()
	w := paceWatch{s: s, at: time.Now()}
	w.look(w.at)
	for {
		select {
		case now := <-tick.C:
			s.pace.Adjust(w.look(now))
		case <-s.life.Done():
			return
		}
	}
}

// paceWatch turns counters into samples. It belongs to paceLoop.
type paceWatch struct {
	s                         *Server
	at                        time.Time
	flushed, requests, stalls int64
	usual                     time.Duration // the lowest median of uploads, forgotten slowly
}

// look returns what was seen since it was called last.
func (w *paceWatch) look(now time.Time) pace.Sample {
	s := w.s
	stall := s.memory.memtables.Stats()
	flushed, requests, stalls := s.env.Counts.FlushedBytes.Load(), s.requests.Load(), stall.Delayed.Load()+stall.Refused.Load()
	put := s.wal.Stats().PutP50
	if w.usual += w.usual / 128; put > 0 && (w.usual == 0 || put < w.usual) {
		w.usual = put
	}
	sample := pace.Sample{
		Elapsed: now.Sub(w.at), Flushed: flushed - w.flushed, Requests: requests - w.requests, Stalled: stalls > w.stalls,
		Cores: s.rates.cores(now), OutOf: float64(runtime.GOMAXPROCS(0)), LogPut: put, Usual: w.usual,
		Behind: slices.ContainsFunc(s.all(), (*tablet.Tablet).Urgent),
	}
	w.at, w.flushed, w.requests, w.stalls = now, flushed, requests, stalls
	return sample
}
