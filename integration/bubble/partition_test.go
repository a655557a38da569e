package bubble

import (
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/objstore/faulty"
)

// lockNames, masterNames and tabletNames are the nodes of a world on its
// network.
var (
	lockNames   = []string{"lock1", "lock2", "lock3"}
	masterNames = []string{"master1", "master2"}
	tabletNames = []string{"tablet1", "tablet2", "tablet3"}
)

// TestTabletServerCutOffFromLockService: the server cannot renew; its tablets
// go elsewhere, it stops reading by itself, and comes back when the network
// does.
func TestTabletServerCutOffFromLockService(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for _, l := range lockNames {
			w.net.Partition("tablet1", l)
		}
		time.Sleep(2 * cluster.SessionTTL) // until then it may serve
		w.within(cluster.SessionTTL+2*time.Second, "fail-over", func() { w.fill("2") })
		w.verify()
		for _, l := range lockNames {
			w.net.Join("tablet1", l)
		}
		time.Sleep(3 * cluster.SessionTTL)
		w.fill("3")
		w.verify()
	})
}

// TestMasterCutOffFromTabletServers: nothing is taken from live servers.
func TestMasterCutOffFromTabletServers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for _, m := range masterNames {
			for _, n := range tabletNames {
				w.net.Partition(m, n)
			}
		}
		time.Sleep(time.Minute)
		w.within(time.Second, "writes", func() { w.fill("2") })
		w.verify()
	})
}

// TestMasterCutOffFromLockService: the standby takes over.
func TestMasterCutOffFromLockService(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for i, m := range w.c.Masters() {
			if m.Active() {
				for _, l := range lockNames {
					w.net.Partition(masterNames[i], l)
				}
			}
		}
		n, _ := w.owner()
		w.c.KillTabletServer(n)
		w.within(3*cluster.SessionTTL, "fail-over by the standby", func() { w.fill("2") })
		w.verify()
	})
}

// TestLockServersCutOffFromEachOther: a minority leader renews nothing.
func TestLockServersCutOffFromEachOther(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for _, l := range lockNames {
			for _, o := range lockNames {
				if l != o {
					w.net.Partition(l, o)
				}
			}
			w.net.Join("lock2", "lock3") // a majority, whichever led before
			time.Sleep(2 * cluster.SessionTTL)
			w.within(cluster.SessionTTL, "writes", func() { w.fill(l) })
			for _, o := range lockNames {
				if l != o {
					w.net.Join(l, o)
				}
			}
			time.Sleep(time.Second)
		}
		w.verify()
	})
}

// TestLockServiceMajorityLost: reads and writes are held beyond the lease
// (nobody may say that a session expired) and go on afterwards (R21).
func TestLockServiceMajorityLost(t *testing.T) {
	inWorldAt(t, t.TempDir(), func(w *world) {
		w.fill("1")
		for i := range 3 {
			w.must(w.c.StopLockServer(i))
		}
		time.Sleep(3 * cluster.SessionTTL)
		if _, err := w.rows(time.Second); err == nil {
			t.Error("a server in jeopardy answered a read")
		}
		for i := range 3 {
			w.must(w.c.StartLockServer(i))
		}
		w.within(30*time.Second, "service after the restart", func() { w.fill("2") })
		w.verify()
	})
}

// TestSlowStore: everything works, only slower.
func TestSlowStore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.store.SetRules(faulty.Rule{Fault: faulty.Fault{Kind: faulty.Slow, Delay: 500 * time.Millisecond, Jitter: time.Second}, Probability: 0.5})
		w.fill("1")
		n, _ := w.owner()
		w.c.KillTabletServer(n)
		w.within(cluster.SessionTTL+20*time.Second, "fail-over on a slow store", func() { w.fill("2") })
		w.verify()
	})
}

// TestFailingStore: requests fail before or after they took effect, puts land
// late; nothing that was acknowledged is lost.
func TestFailingStore(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, k := range []faulty.Kind{faulty.FailBefore, faulty.FailAfter, faulty.LandLate} {
			w.store.SetRules(faulty.Rule{Fault: faulty.Fault{Kind: k, Delay: time.Second}, Probability: 0.2})
			for i := range 20 {
				w.must(w.put(time.Minute, "a"+name(i), k.String()))
				w.must(w.put(time.Minute, "d"+name(i), k.String()))
			}
			n, _ := w.owner()
			w.c.KillTabletServer(n)
			if _, err := w.c.StartTabletServer(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.fill(k.String())
			w.verify()
		}
	})
}

// TestWholeClusterStops: every tablet server dies at once; others come.
func TestWholeClusterStops(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for _, n := range w.c.TabletServers() {
			w.c.KillTabletServer(n)
		}
		time.Sleep(time.Minute)
		for range 3 {
			if _, err := w.c.StartTabletServer(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		w.within(70*time.Second, "recovery of everything", func() { w.fill("2") })
		w.verify()
	})
}

// TestBucketLostForOne: a server that cannot write its log, while others can,
// gives its tablets up by itself (R20, H23).
func TestBucketLostForOne(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		n, _ := w.owner()
		first := n.Server().Incarnation()
		w.logs[n.Name()].SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Fault: faulty.Fault{Kind: faulty.FailBefore}, Probability: 1})
		stop := time.Now().Add(2 * time.Minute)
		for i := 0; time.Now().Before(stop); i++ { // some of these hang until their deadline
			for _, p := range "abcdef" {
				w.put(100*time.Millisecond, string(p)+name(i), "x")
			}
			time.Sleep(time.Second)
		}
		if s := n.Server(); s != nil && s.Incarnation() == first {
			t.Error("the server still holds on to tablets that it cannot write")
		}
		w.within(time.Second, "writes", func() { w.fill("2") })
		w.verify()
	})
}

// TestBucketLostForAll: nobody leaves; writes go on when the bucket is back.
func TestBucketLostForAll(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		n, _ := w.owner()
		first := n.Server().Incarnation()
		w.store.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Fault: faulty.Fault{Kind: faulty.FailBefore}, Probability: 1})
		for i := range 60 {
			w.put(time.Second, "a"+name(i), "x")
			time.Sleep(time.Second)
		}
		w.store.SetRules()
		w.within(30*time.Second, "writes after the bucket is back", func() { w.fill("2") })
		if s := n.Server(); s == nil || s.Incarnation() != first {
			t.Error("a server gave its tablets up although nobody could write")
		}
		w.verify()
	})
}
