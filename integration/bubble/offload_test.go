package bubble

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// TestCompactorsComeAndGo: a cluster with two workers under load, and garbage
// collected every few seconds. Workers and tablet servers are killed, and cut
// off from each other. Nothing is lost, the deep check finds nothing wrong, and
// in the end nothing is left over.
func TestCompactorsComeAndGo(t *testing.T) {
	rng := seedtest.New(t)
	inWorldWith(t, func(c *cluster.Config) {
		small(c)
		c.Compactors, c.Compactor.Slots = 2, 2
		c.Tablet.OffloadBytes = 1
		c.Master.GCInterval = 3 * time.Second
	}, func(w *world) {
		var done uint64 // by workers that are gone
		events := []func(){
			func() {
				n := w.c.Compactors()[0]
				done += w.merges(n)
				w.c.KillCompactor(n)
				_, err := w.c.StartCompactor(w.ctx)
				w.must(err)
			},
			func() {
				n, _ := w.owner()
				w.c.KillTabletServer(n)
				_, err := w.c.StartTabletServer(w.ctx)
				w.must(err)
			},
			func() {
				for _, n := range w.c.TabletServers() {
					w.net.Partition(w.c.Compactors()[1].Name(), n.Name())
				}
			},
			func() {
				for _, n := range w.c.TabletServers() {
					w.net.Join(w.c.Compactors()[1].Name(), n.Name())
				}
			},
			func() { time.Sleep(30 * time.Second) },
		}
		var asked sync.WaitGroup
		for round := range 25 {
			for i := range 40 {
				row := fmt.Sprintf("%c%03d", "abcdef"[rng.IntN(6)], rng.IntN(200))
				w.must(w.put(time.Minute, row, fmt.Sprint(round, i)+strings.Repeat("v", 4000)))
				if i == 20 {
					events[rng.IntN(len(events))]()
				}
			}
			asked.Go(func() { w.compactSome() })
		}
		asked.Wait()
		events[3]()
		time.Sleep(5 * time.Minute)
		w.verify()
		w.check()
		for _, n := range w.c.Compactors() {
			done += w.merges(n)
		}
		if t.Logf("workers did %d merges", done); done == 0 {
			t.Error("the workers did nothing")
		}
		if r := w.collect(); r.Garbage.Objects != 0 || r.InFlight.Objects != 0 {
			t.Errorf("files are left over: %+v", r)
		}
		w.verify()
	})
}

// merges returns how many merges a worker has done.
func (w *world) merges(n *cluster.CompactorNode) uint64 {
	w.t.Helper()
	r, err := n.Status(w.ctx, &compactorpb.StatusRequest{})
	w.must(err)
	return r.Done
}

// compactSome compacts all tablets of the servers that answer.
func (w *world) compactSome() {
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	for _, n := range w.c.TabletServers() {
		if s := n.Server(); s != nil {
			s.Control().Compact(ctx, &controlpb.CompactRequest{}) // it may be killed meanwhile
		}
	}
}

// collect collects garbage, and returns what the second collection finds.
func (w *world) collect() *gc.Report {
	w.t.Helper()
	var r *gc.Report
	for range 2 {
		var err error
		r, err = gc.Run(w.ctx, gc.Config{LockService: w.meta.LockService(), Store: w.store, Manifest: manifest.Files(w.store),
			Ask: func(ctx context.Context, s meta.Server) (gc.Server, error) {
				for _, n := range w.c.TabletServers() {
					if x := n.Server(); x != nil && x.Incarnation() == s.Incarnation {
						return gc.Server{Floor: x.Files().Floor(), Pinned: x.Files().Pinned()}, nil
					}
				}
				return gc.Server{}, fmt.Errorf("no server %v", s.Incarnation)
			}})
		w.must(err)
	}
	return r
}
