package bubble

import (
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/cluster"
)

func TestWriteAndRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		w.verify()
	})
}

// TestLeaseExpiry kills a server without telling anybody: its tablets are
// served elsewhere within the lease and the time of a recovery.
func TestLeaseExpiry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		n, tablets := w.owner()
		t.Logf("the server dies with %d tablets", tablets)
		w.c.KillTabletServer(n)
		w.within(cluster.SessionTTL+2*time.Second, "fail-over", func() { w.fill("2") })
		w.verify()
	})
}

// TestGracefulStop: an orderly stop hands the tablets over at once.
func TestGracefulStop(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		n, _ := w.owner()
		w.must(w.c.StopTabletServer(w.ctx, n))
		w.within(time.Second, "hand-over", func() { w.fill("2") })
		w.verify()
	})
}

func TestLockLeaderStops(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for i := range 3 {
			w.must(w.c.StopLockServer(i))
			w.within(time.Second, "writes without the lock server", func() { w.fill("2") })
			time.Sleep(3 * cluster.SessionTTL)
			w.fill("3")
			w.must(w.c.StartLockServer(i))
			time.Sleep(time.Second)
		}
		w.verify()
	})
}

func TestMasterStops(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fill("1")
		for _, m := range w.c.Masters() {
			if m.Active() {
				w.must(m.Close())
				break
			}
		}
		n, _ := w.owner()
		w.c.KillTabletServer(n)
		w.within(2*cluster.SessionTTL+2*time.Second, "fail-over by the other master", func() { w.fill("2") })
		w.verify()
	})
}
