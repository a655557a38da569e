package cluster

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/route"
)

// memoryMetrics collects what the parts of a node take.
type memoryMetrics struct {
	role   string
	budget *membudget.Budget
	gate   *route.Gate
}

// Describe implements prometheus.Collector; a collector that describes nothing is
// unchecked, so that there may be one for each node of a process.
func (m *memoryMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *memoryMetrics) Collect(ch chan<- prometheus.Metric) {
	metric := func(name, help string, v float64, t prometheus.ValueType, labels map[string]string) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("tabletdb_"+m.role+"_"+name, help, nil, labels), t, v)
	}
	gauge := func(name, help, account string, v int64) {
		metric(name, help, float64(v), prometheus.GaugeValue, map[string]string{"account": account})
	}
	for _, u := range m.budget.Usage() {
		gauge("memory_used_bytes", "Memory that a part of the server takes.", u.Name, u.Used)
		gauge("memory_peak_bytes", "The most memory that a part of the server ever took.", u.Name, u.Peak)
		gauge("memory_limit_bytes", "Memory that a part of the server may take.", u.Name, u.Limit)
	}
	metric("memory_budget_bytes", "Memory that the server may take.", float64(m.budget.Limit()), prometheus.GaugeValue, nil)
	metric("requests_refused_total", "Writes refused for lack of memory for requests.", float64(m.gate.Refused()), prometheus.CounterValue, nil)
}

// showMemory registers the metrics of a node's memory.
func (e *Env) showMemory(role string, b *membudget.Budget, g *route.Gate) {
	if e.Registerer == nil {
		return
	}
	if err := e.Registerer.Register(&memoryMetrics{role: role, budget: b, gate: g}); err != nil {
		e.Logger.Warn("metrics of memory are not there", "err", err)
	}
}
