package target_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/target"
	"github.com/tabletdb/tabletdb/internal/cluster"
)

// TestLoadsOnTabletDB runs the loads on a whole cluster in memory, by each of
// the ways to it.
func TestLoadsOnTabletDB(t *testing.T) {
	c, err := cluster.Open(t.Context(), cluster.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	for _, way := range []struct {
		name string
		open func() (target.Target, error)
	}{
		{"official", func() (target.Target, error) { return target.OpenOfficial(t.Context(), c.Gateway(), target.Config{}) }},
		{"native", func() (target.Target, error) {
			return target.OpenNative(t.Context(), c.LockEndpoints(), "", target.Config{Connections: 2})
		}},
		{"native over a gateway", func() (target.Target, error) {
			return target.OpenNative(t.Context(), nil, c.Gateway(), target.Config{})
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			tg, err := way.open()
			if err != nil {
				t.Fatal(err)
			}
			defer tg.Close()
			allLoads(t, tg)
		})
	}
}

func allLoads(t *testing.T, tg target.Target) {
	d, tables := filled(t, tg, true)
	defer func() {
		if err := tg.DropTable(t.Context(), "t"); err != nil {
			t.Error(err)
		}
		if has, err := tg.HasTable(t.Context(), "t"); err != nil || has {
			t.Errorf("HasTable = %v, %v after it was dropped", has, err)
		}
	}()
	counters, err := load.OpenCounters(t.Context(), 10, tables[0])
	if err != nil {
		t.Fatal(err)
	}
	ycsb := func(workload string) load.Load {
		l, err := load.NewYCSB(d, workload)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, c := range []struct {
		name string
		load load.Load
	}{
		{"write", load.NewWrite(d, false)}, {"bulk", load.NewBulk(d, 20, false)}, {"read", load.NewRead(d)},
		{"scan", load.NewScan(d, 0)}, {"short scan", load.NewScan(d, 10)}, {"ycsb-a", ycsb("a")}, {"ycsb-f", ycsb("f")},
		{"ycsb-e", ycsb("e")}, {"rmw", counters},
	} {
		r := mustRun(t, c.load, load.Options{Workers: 8, Ops: 100, Tables: tables})
		if r.Failed() > 0 || r.Ops != 100 {
			t.Errorf("%s: %d operations, errors %v", c.name, r.Ops, r.Examples)
		}
	}
	if err := counters.Check(t.Context(), tables[0]); err != nil {
		t.Error(err)
	}
}
