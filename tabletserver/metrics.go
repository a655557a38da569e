package tabletserver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// Metrics collects what the present server of a process does. It is registered
// once, and asks for the server each time it is scraped.
type Metrics struct {
	current func() *Server
}

// NewMetrics returns the metrics of the server that current returns; nil: none
// at the moment.
func NewMetrics(current func() *Server) *Metrics { return &Metrics{current} }

// desc describes one metric of a tablet server.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tabletdb_tabletserver_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. The metrics are not listed
// beforehand: a collector that describes nothing is unchecked.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.current()
	if s == nil {
		return
	}
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(desc(name, help), prometheus.GaugeValue, v)
	}
	counter := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(desc(name, help), prometheus.CounterValue, v)
	}
	states := map[tablet.State]int{}
	var frozen, leftOut int
	for _, t := range s.all() {
		if m, ok := t.InMemory(); ok {
			leftOut += m.Files - m.Kept
		}
		states[t.State()]++
		frozen += t.Frozen()
	}
	for _, st := range []tablet.State{tablet.Loading, tablet.Serving, tablet.Stopping, tablet.Stopped} {
		ch <- prometheus.MustNewConstMetric(desc("tablets", "Tablets that are here, by state.", "state"), prometheus.GaugeValue, float64(states[st]), st.String())
	}
	gauge("memtable_bytes", "Memory of all memtables.", float64(s.env.Budget.Used()))
	gauge("memtable_limit_bytes", "Memory that all memtables may take.", float64(s.env.Budget.Limit()))
	st := s.memory.memtables.Stats()
	counter("writes_delayed_total", "Writes that were delayed for lack of memory.", float64(st.Delayed.Load()))
	counter("writes_delayed_seconds_total", "Time by which writes were delayed for lack of memory.", float64(st.DelayedNanos.Load())/1e9)
	counter("writes_refused_total", "Writes that were refused for lack of memory.", float64(st.Refused.Load()))
	gauge("frozen_memtables", "Memtables that wait to be flushed.", float64(frozen))
	gauge("flush_queue", "Tablets that wait to be flushed.", float64(s.flushes.len()))
	gauge("compaction_queue", "Tablets that wait to be compacted.", float64(s.compacts.len()))
	c := s.cache.Stats()
	counter("cache_hits_total", "Blocks found in the block cache.", float64(c.Hits))
	counter("cache_misses_total", "Blocks not found in the block cache.", float64(c.Misses))
	gauge("cache_bytes", "Memory of the block cache.", float64(c.Bytes))
	kept, keptBytes, keptLimit := s.env.Files.InMemoryStats()
	gauge("in_memory_files", "Files of locality groups that are kept in memory.", float64(kept))
	gauge("in_memory_bytes", "Memory that they take, out of that of the block cache.", float64(keptBytes))
	gauge("in_memory_limit_bytes", "Memory that they may take.", float64(keptLimit))
	gauge("in_memory_left_out_files", "Files that are to be kept in memory and are not, for there is no room, or they cannot be read.", float64(leftOut))
	files, bytes, closed := s.env.Files.MetadataStats()
	gauge("files_open", "Files whose filters and indexes are in memory.", float64(files))
	gauge("metadata_bytes", "Memory of the filters and indexes of files.", float64(bytes))
	counter("files_closed_total", "Files that were closed for lack of room for their filters and indexes.", float64(closed))
	wal := s.wal.Stats()
	counter("log_records_total", "Records appended to the commit log.", float64(wal.Records))
	counter("log_bytes_total", "Bytes appended to the commit log.", float64(wal.Bytes))
	counter("log_puts_total", "Uploads of log objects that ended.", float64(wal.Puts))
	counter("log_put_failures_total", "Uploads of log objects that failed.", float64(wal.Failures))
	counter("log_put_hedges_total", "Uploads of log objects that were sent a second time.", float64(wal.Hedges))
	gauge("log_put_p50_seconds", "Median time of recent uploads of log objects.", wal.PutP50.Seconds())
	gauge("log_put_p99_seconds", "99th percentile of the time of recent uploads of log objects.", wal.PutP99.Seconds())
	gauge("log_pending_bytes", "Bytes that are not acknowledged.", float64(wal.PendingBytes))
	s.mu.Lock()
	gauge("log_objects", "Objects of the commit log that are needed.", float64(wal.Next-s.mu.low))
	s.mu.Unlock()
	stalled := 0.0
	if !wal.StalledSince.IsZero() {
		stalled = time.Since(wal.StalledSince).Seconds()
	}
	gauge("log_stalled_seconds", "Time since the log waits for the oldest upload in flight.", stalled)
	counter("flushes_total", "Memtables written to files.", float64(s.env.Counts.Flushes.Load()))
	counter("flushed_bytes_total", "Bytes of files written by flushes.", float64(s.env.Counts.FlushedBytes.Load()))
	counter("compactions_total", "Compactions.", float64(s.env.Counts.Compactions.Load()))
	counter("offloaded_compactions_total", "Compactions that workers merged.", float64(s.env.Counts.Elsewhere.Load()))
	counter("offloaded_bytes_total", "Bytes of files written by workers.", float64(s.env.Counts.ElsewhereBytes.Load()))
	counter("offload_failures_total", "Merges that workers did not do, or did wrong, and that were done here.", float64(s.env.Counts.Failed.Load()))
	counter("offload_refused_total", "Results of workers that could not be true.", float64(s.env.Counts.Refused.Load()))
	workers, slots, used := s.pool.Stats()
	gauge("offload_workers", "Compactors that are alive.", float64(workers))
	gauge("offload_slots", "Jobs that they do at once.", float64(slots))
	gauge("offload_slots_used", "Slots in which they work for this server.", float64(used))
	gauge("compaction_rate_bytes", "Bytes per second that compactions may write now.", float64(s.pace.Rate()))
	counter("compacted_bytes_total", "Bytes of files written by compactions.", float64(s.env.Counts.CompactedBytes.Load()))
	counter("adoptions_total", "Bulk loads adopted by tablets.", float64(s.env.Counts.Adoptions.Load()))
	counter("adopted_bytes_total", "Bytes of files of bulk loads adopted.", float64(s.env.Counts.AdoptedBytes.Load()))
}
