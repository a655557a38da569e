package measure_test

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/measure"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
)

func open(t *testing.T, inner objstore.Store, reg prometheus.Registerer) *measure.Store {
	t.Helper()
	s, err := measure.New(inner, reg, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	reg := prometheus.NewRegistry()
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, mem.New(), reg) })
	for name, value := range values(t, reg) {
		if value != 0 && strings.HasPrefix(name, "tabletdb_objstore_calls_in_flight") {
			t.Errorf("%s is %v when all is over", name, value)
		}
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		f := faulty.New(mem.New(), faulty.Options{})
		s, other, ctx := open(t, f, reg), open(t, mem.New(), reg), t.Context()

		_ = s.Put(ctx, "a/k", make([]byte, 100))
		f.FailNext(faulty.Put, "", faulty.Fault{Kind: faulty.Throttle})
		_ = s.Put(ctx, "a/k", make([]byte, 100))
		_ = other.Put(ctx, "a/k", make([]byte, 10))
		_ = s.PutIfAbsent(ctx, "a/k", nil)
		_, _ = s.Get(ctx, "abc/missing")
		f.FailNext(faulty.GetRange, "", faulty.Fault{Kind: faulty.Slow, Delay: 2 * time.Second})
		_, _ = s.GetRange(ctx, "a/k", 0, 7)
		for range s.List(ctx, "a/", "") {
			time.Sleep(time.Hour) // not the store's fault
		}
		body, err := s.Download(ctx, "a/k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, body)
		body.Close()

		got := values(t, reg)
		maps.DeleteFunc(got, func(_ string, v float64) bool { return v == 0 })
		want := map[string]float64{
			"tabletdb_objstore_calls_total{a put ok}":               2,
			"tabletdb_objstore_calls_total{a put throttled}":        1,
			"tabletdb_objstore_calls_total{a put_if_absent exists}": 1,
			"tabletdb_objstore_calls_total{other get not_found}":    1,
			"tabletdb_objstore_calls_total{a get_range ok}":         1,
			"tabletdb_objstore_calls_total{a list ok}":              1,
			"tabletdb_objstore_calls_total{a download ok}":          1,
			"tabletdb_objstore_bytes_total{a put}":                  110,
			"tabletdb_objstore_bytes_total{a get_range}":            7,
			"tabletdb_objstore_bytes_total{a download}":             100,
			"tabletdb_objstore_call_seconds{a get_range}":           2,
			"tabletdb_objstore_listed_objects_total{}":              1,
		}
		if !maps.Equal(got, want) {
			t.Errorf("metrics\n%v\nwant\n%v", got, want)
		}
	})
}

// values returns all metrics by name and label values; of histograms, the sum.
func values(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for i, l := range m.GetLabel() {
				if i > 0 {
					labels += " "
				}
				labels += l.GetValue()
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			all[fmt.Sprintf("%s{%s}", f.GetName(), labels)] = value
		}
	}
	return all
}
