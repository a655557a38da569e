package offload

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// Metrics collects what a worker does.
type Metrics struct{ w *Worker }

// NewMetrics returns the metrics of a worker.
func NewMetrics(w *Worker) *Metrics { return &Metrics{w} }

// Describe implements prometheus.Collector. The metrics are not listed
// beforehand: a collector that describes nothing is unchecked.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	r, err := m.w.Status(context.Background(), &compactorpb.StatusRequest{})
	if err != nil {
		return
	}
	value := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("tabletdb_compactor_"+name, help, nil, nil), kind, v)
	}
	value(prometheus.GaugeValue, "slots", "Jobs that the worker does at once.", float64(m.w.cfg.Options.Slots))
	value(prometheus.GaugeValue, "running", "Jobs under way.", float64(len(r.Running)))
	value(prometheus.CounterValue, "jobs_total", "Jobs that were done.", float64(r.Done))
	value(prometheus.CounterValue, "failures_total", "Jobs that failed or were given up.", float64(r.Failed))
	value(prometheus.CounterValue, "refused_total", "Jobs that were refused for lack of a slot.", float64(r.Refused))
	value(prometheus.CounterValue, "read_bytes_total", "Bytes read of the bucket by jobs.", float64(r.ReadBytes))
	value(prometheus.CounterValue, "written_bytes_total", "Bytes of files written by jobs.", float64(r.WrittenBytes))
}
