package master_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/master"
)

func TestMetrics(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		r := prometheus.NewRegistry()
		with := func(cfg *master.Config) { cfg.Registerer = r }
		m := c.master("m1", with)
		c.create(m, 7)
		got := map[string]float64{}
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			v := f.Metric[0]
			got[f.GetName()] = v.GetGauge().GetValue() + v.GetCounter().GetValue()
		}
		for name, want := range map[string]float64{"active": 1, "servers": 1, "tablets": 7, "tablets_loading": 0, "assignments_total": 7, "mirror_repairs_total": 0} {
			if v, ok := got["tabletdb_master_"+name]; !ok || v != want {
				t.Errorf("%s is %v, %v", name, v, ok)
			}
		}
		m.close()
		c.master("m2", with) // the names are free again
	})
}
