package pagecache

import "github.com/prometheus/client_golang/prometheus"

// Describe implements prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector:
//
//	tabletdb_pagecache_pages_total{outcome}  pages asked for: hit, joined, missed or bypassed
//	tabletdb_pagecache_fetches_total         ranges read from the bucket
//	tabletdb_pagecache_written_total         pages written to the disk
//	tabletdb_pagecache_dropped_total         pages that found no room to be written
//	tabletdb_pagecache_evicted_total         pages that had to go
//	tabletdb_pagecache_bad_total             pages that failed their checksum
//	tabletdb_pagecache_pages                 pages that are there
//	tabletdb_pagecache_capacity_pages        pages there is room for
//	tabletdb_pagecache_disabled              1 after the disk has failed
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	const prefix = "tabletdb_pagecache_"
	st := s.Stats()
	asked := prometheus.NewDesc(prefix+"pages_total", "Pages asked for.", []string{"outcome"}, nil)
	for _, o := range []struct {
		outcome string
		n       int64
	}{{"hit", st.Hits}, {"joined", st.Joined}, {"missed", st.Misses}, {"bypassed", st.Bypassed}} {
		ch <- prometheus.MustNewConstMetric(asked, prometheus.CounterValue, float64(o.n), o.outcome)
	}
	metric := func(kind prometheus.ValueType, name, help string, n int64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(prefix+name, help, nil, nil), kind, float64(n))
	}
	metric(prometheus.CounterValue, "fetches_total", "Ranges read from the bucket for the page cache.", st.Fetches)
	metric(prometheus.CounterValue, "written_total", "Pages written to the disk.", st.Stored)
	metric(prometheus.CounterValue, "dropped_total", "Pages that found no room to be written.", st.Dropped)
	metric(prometheus.CounterValue, "evicted_total", "Pages that had to go.", st.Evicted)
	metric(prometheus.CounterValue, "bad_total", "Pages that failed their checksum.", st.Bad)
	metric(prometheus.GaugeValue, "pages", "Pages that are in the page cache.", st.Pages)
	metric(prometheus.GaugeValue, "capacity_pages", "Pages there is room for.", st.Capacity)
	disabled := int64(0)
	if st.Disabled {
		disabled = 1
	}
	metric(prometheus.GaugeValue, "disabled", "1 after the disk of the page cache has failed.", disabled)
}
