package master

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/master/balance"
)

// metrics are what a master counts; without a registerer they are kept and
// shown to nobody.
type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector

	assignments, bumps, cancels, logs, revocations, failures, repairs prometheus.Counter
	decisions                                                         *prometheus.CounterVec
	sealing, recoveries                                               prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, m *Master) (*metrics, error) {
	x := &metrics{registerer: r}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "tabletdb", Subsystem: "master", Name: name, Help: help})
		x.all = append(x.all, c)
		return c
	}
	x.assignments = counter("assignments_total", "Tablets given to a server.")
	x.bumps = counter("bumps_total", "Tablets taken from a dead server.")
	x.cancels = counter("cancelled_loads_total", "Loads taken back because they were stuck.")
	x.logs = counter("collected_logs_total", "Logs of dead servers that were deleted.")
	x.revocations = counter("revocations_total", "Sessions ended because the server refused connections.")
	x.failures = counter("failed_jobs_total", "Jobs that ended with an error and were tried again.")
	x.repairs = counter("mirror_repairs_total", "Keys that the full pass found wrong in the mirror; a bug if not 0.")
	x.decisions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "tabletdb", Subsystem: "master", Name: "decisions_total", Help: "Moves, splits and merges of served tablets.",
	}, []string{"kind", "outcome"})
	x.all = append(x.all, x.decisions)
	histogram := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "tabletdb", Subsystem: "master", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.01, 2, 15),
		})
		x.all = append(x.all, h)
		return h
	}
	x.sealing = histogram("sealing_seconds", "From the start of a recovery to the seal.")
	x.recoveries = histogram("recovery_seconds", "From the start of a recovery until all its tablets are served.")
	gauge := func(name, help string, f func(census) float64) {
		x.all = append(x.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "tabletdb", Subsystem: "master", Name: name, Help: help,
		}, func() float64 {
			if t := m.term.Load(); t != nil {
				return f(t.mirror.count())
			}
			return 0
		}))
	}
	gauge("active", "1 on the active master.", func(census) float64 { return 1 })
	gauge("servers", "Live tablet servers.", func(c census) float64 { return float64(c.servers) })
	gauge("tablets", "Tablets.", func(c census) float64 { return float64(c.tablets) })
	gauge("tablets_unassigned", "Tablets without owner.", func(c census) float64 { return float64(c.unassigned) })
	gauge("tablets_loading", "Tablets that their owner loads.", func(c census) float64 { return float64(c.loading) })
	gauge("logs", "Commit logs, live and dead.", func(c census) float64 { return float64(c.logs) })
	gauge("corrupt_records", "Records that do not parse.", func(c census) float64 { return float64(c.corrupt) })
	gauge("oldest_unserved_seconds", "Age of the tablet that is not served for longest.", func(c census) float64 {
		if c.oldest.IsZero() {
			return 0
		}
		return time.Since(c.oldest).Seconds()
	})
	return x, x.register()
}

func (x *metrics) register() error {
	if x.registerer == nil {
		return nil
	}
	for i, c := range x.all {
		if err := x.registerer.Register(c); err != nil {
			x.all = x.all[:i]
			x.unregister()
			return err
		}
	}
	return nil
}

func (x *metrics) unregister() {
	if x.registerer == nil {
		return
	}
	for _, c := range x.all {
		x.registerer.Unregister(c)
	}
}

func (x *metrics) assigned(n int) { x.assignments.Add(float64(n)) }
func (x *metrics) bumped(n int)   { x.bumps.Add(float64(n)) }
func (x *metrics) repaired(n int) { x.repairs.Add(float64(n)) }
func (x *metrics) cancelled()     { x.cancels.Inc() }
func (x *metrics) collected()     { x.logs.Inc() }
func (x *metrics) revoked()       { x.revocations.Inc() }
func (x *metrics) failed()        { x.failures.Inc() }
func (x *metrics) decided(k balance.Kind, err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	x.decisions.WithLabelValues(string(k), outcome).Inc()
}
func (x *metrics) sealed(d time.Duration)    { x.sealing.Observe(d.Seconds()) }
func (x *metrics) recovered(d time.Duration) { x.recoveries.Observe(d.Seconds()) }
