package master_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// bubble runs a test of a cluster in fake time.
func bubble(t *testing.T, f func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		f(c)
		c.check()
	})
}

func TestNewTableIsSpread(t *testing.T) {
	bubble(t, func(c *cluster) {
		for _, name := range []string{"s1", "s2", "s3", "s4"} {
			c.start(name)
		}
		m := c.master("m1", nil)
		c.create(m, 42)
		for e, n := range c.owners() {
			if n < 10 || n > 11 {
				t.Errorf("%v serves %d of 42", e, n)
			}
		}
		st := c.status(m)
		if st.Master != "m1:1" || st.ClusterId != "test" || len(st.Servers) != 4 || st.Tablets != 42 || st.Serving != 42 || st.SafeMode {
			t.Errorf("status %v", st)
		}
	})
}

func TestDeadServerIsReplaced(t *testing.T) {
	for _, how := range []string{"refused", "silent", "reaped"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(c *cluster) {
				for _, name := range []string{"s1", "s2", "s3", "s4"} {
					c.start(name)
				}
				m := c.master("m1", nil)
				c.create(m, 40)
				c.writeAll()
				c.writeAll()
				victim := c.servers[0]
				took := map[string]struct{ min, max time.Duration }{
					"refused": {8 * time.Second, 13 * time.Second}, // a TTL after the revocation
					"silent":  {7 * time.Second, 13 * time.Second},
					"reaped":  {0, time.Second},
				}[how]
				switch how {
				case "refused":
					victim.crash()
				case "silent":
					c.net.Partition("m1", "s1")
					victim.ls.Partition(true)
				case "reaped":
					victim.crash()
					_, err := m.client.ReportDead(c.ctx, &controlpb.ReportDeadRequest{Incarnation: meta.IncarnationProto(victim.e()), Reaped: true})
					if err != nil {
						t.Fatal(err)
					}
				}
				elapsed := c.await("recovery", time.Minute, func() bool { return c.owners()[victim.e()] == 0 && c.allServed() })
				if elapsed < took.min || elapsed > took.max {
					t.Errorf("took %v", elapsed)
				}
				if n := len(c.owners()); n != 3 {
					t.Errorf("%d servers took the tablets", n)
				}
				c.writeAll()
				checkRecovery(c, m, victim.e(), 10)
				c.collectAll(victim.e())
			})
		})
	}
}

func checkRecovery(c *cluster, m *candidate, e base.Incarnation, tablets uint32) {
	c.t.Helper()
	time.Sleep(time.Second)
	r := c.status(m).Recoveries
	if len(r) != 1 || meta.Incarnation(r[0].Log) != e || r[0].Phase != "done" || r[0].Tablets != tablets || r[0].TabletsLeft != 0 ||
		r[0].SealedUs < r[0].StartedUs || r[0].DoneUs < r[0].SealedUs {
		c.t.Errorf("recoveries %v", r)
	}
}

// collectAll flushes everything and waits until nothing of the dead log but
// its seal is left.
func (c *cluster) collectAll(dead base.Incarnation) {
	c.t.Helper()
	for _, s := range c.servers {
		if s.e() == dead || s.ctx.Err() != nil {
			continue
		}
		for _, id := range s.serving() {
			if err := s.flush(id); err != nil {
				c.t.Error(err)
			}
		}
	}
	c.await("collection of the dead log", time.Minute, func() bool {
		_, err := c.meta.Log(c.ctx, dead)
		return err != nil
	})
	var left []string
	for info, err := range c.store.List(c.ctx, base.LogPrefix(dead), "") {
		if err != nil {
			c.t.Fatal(err)
		}
		left = append(left, info.Key)
	}
	if len(left) != 1 {
		c.t.Errorf("of the dead log remains %v", left)
	}
}

func TestShutdownNeedsNoLease(t *testing.T) {
	bubble(t, func(c *cluster) {
		for _, name := range []string{"s1", "s2", "s3"} {
			c.start(name)
		}
		m := c.master("m1", nil)
		c.create(m, 30)
		c.writeAll()
		start := time.Now()
		c.servers[0].shutdown()
		c.await("tablets elsewhere", 5*time.Second, c.allServed)
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v", d)
		}
		c.servers[1].shutdown()
		c.await("tablets on the last", 5*time.Second, c.allServed)
		if st := c.status(m); st.SafeMode || st.Serving != 30 {
			t.Errorf("status %v", st)
		}
		c.collectAll(c.servers[0].e())
	})
}

func TestSafeMode(t *testing.T) {
	for _, how := range []string{"returns", "times out", "operator"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(c *cluster) {
				for _, name := range []string{"s1", "s2", "s3", "s4"} {
					c.start(name)
				}
				m := c.master("m1", nil)
				c.create(m, 40)
				c.writeAll()
				for _, s := range c.servers[:3] {
					s.crash()
				}
				c.await("safe mode", 30*time.Second, func() bool { return c.status(m).SafeMode })
				time.Sleep(20 * time.Second)
				st := c.status(m)
				if n := c.owners()[c.servers[3].e()]; n != 10 && !t.Failed() && st.SafeMode {
					// Two of four may have been revoked before it was too many.
					t.Logf("the survivor serves %d", n)
				}
				for _, s := range c.servers[:3] {
					if l, err := c.meta.Log(c.ctx, s.e()); err != nil || l.State != meta.LogSealed {
						t.Errorf("log of %s: %v %v", s.name, l.State, err)
					}
				}
				if !st.SafeMode || c.allServed() {
					t.Fatalf("safe mode ended early: %v", st)
				}
				switch how {
				case "returns":
					c.start("s5")
					c.await("all served", 5*time.Second, c.allServed)
				case "times out":
					c.await("all served", 50*time.Second, c.allServed)
				case "operator":
					if _, err := m.client.SetSafeMode(c.ctx, &controlpb.SetSafeModeRequest{}); err != nil {
						t.Fatal(err)
					}
					c.await("all served", 5*time.Second, c.allServed)
				}
			})
		})
	}
}

func TestLoneServerRestarts(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		m := c.master("m1", nil)
		c.create(m, 5)
		c.writeAll()
		c.servers[0].crash()
		c.start("s1")
		c.await("served again", 20*time.Second, c.allServed)
	})
}

func TestStuckLoadIsCancelled(t *testing.T) {
	for _, how := range []string{"deaf", "failing", "cut off"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(c *cluster) {
				bad := c.start("s1")
				switch how {
				case "deaf":
					bad.mu.deaf = true
				case "failing":
					bad.mu.failing = true
				}
				m := c.master("m1", nil)
				c.await("active", time.Minute, m.Active)
				if how == "cut off" {
					time.Sleep(time.Second)
					c.net.Partition("m1", "s1")
				}
				ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
				defer cancel()
				if _, err := m.client.CreateTable(ctx, createRequest(3)); err != nil {
					t.Fatal(err) // created, though not served
				}
				good := c.start("s2")
				d := c.await("served elsewhere", 3*time.Minute, c.allServed)
				if n := c.owners()[good.e()]; n != 4 {
					t.Errorf("the good server has %d", n)
				}
				if d < 45*time.Second || d > 70*time.Second {
					t.Errorf("took %v", d)
				}
				bad.mu.Lock()
				defer bad.mu.Unlock()
				if how == "deaf" && (bad.mu.loads < 4*4 || bad.mu.loads > 4*12) {
					t.Errorf("told of %d loads", bad.mu.loads)
				}
			})
		})
	}
}

// H15: a live owner is never replaced, whatever the master thinks of it.
func TestLiveOwnerKeepsItsTablets(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		c.start("s2")
		m := c.master("m1", nil)
		c.create(m, 10)
		before := c.owners()
		c.net.Partition("m1", "s1")
		for range 30 {
			c.writeAll()
			time.Sleep(10 * time.Second)
			c.check()
		}
		if after := c.owners(); len(after) != 2 || after[c.servers[0].e()] != before[c.servers[0].e()] {
			t.Errorf("before %v, after %v", before, after)
		}
		c.net.Join("m1", "s1")
	})
}

// A server that owns tablets it does not know of is told again (R14).
func TestForgetfulOwnerIsTold(t *testing.T) {
	bubble(t, func(c *cluster) {
		s := c.start("s1")
		m := c.master("m1", nil)
		c.create(m, 2)
		time.Sleep(time.Minute)
		s.mu.Lock()
		clear(s.mu.tablets)
		s.mu.loads = 0
		s.mu.deaf = true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.loads < 4 || s.mu.loads > 20 {
			t.Errorf("told %d times", s.mu.loads)
		}
	})
}

// H16: a server whose host refuses connections may still answer reads elsewhere
// until its lease ends; nobody serves its tablets before.
func TestRefusingServerAnswersReads(t *testing.T) {
	bubble(t, func(c *cluster) {
		for _, name := range []string{"s1", "s2", "s3"} {
			c.start(name)
		}
		m := c.master("m1", nil)
		c.create(m, 9)
		c.writeAll()
		zombie := c.servers[0]
		id := zombie.serving()[0]
		zombie.ls.Partition(true) // it does not hear of its end
		c.net.Crash("s1")         // nor listen any more
		revoked := c.await("revocation", 5*time.Second, func() bool {
			l, err := c.meta.Log(c.ctx, zombie.e())
			return err == nil && l.State != meta.LogOpen
		})
		reads := 0
		c.await("served elsewhere", 20*time.Second, func() bool {
			c.writeAll() // by whoever believes to serve
			if _, ok := zombie.read(id); ok {
				reads++
			}
			served := map[base.TabletID]bool{}
			for _, s := range c.servers[1:] {
				for _, id := range s.serving() {
					served[id] = true
				}
			}
			return len(served) == 9
		})
		if revoked > 3*time.Second || reads < 100 {
			t.Errorf("revoked after %v; the zombie answered %d reads", revoked, reads)
		}
	})
}

// H10: an owner whose session died may acknowledge until its log is sealed; who
// loads before would miss it.
func TestZombieWritesUntilTheSeal(t *testing.T) {
	bubble(t, func(c *cluster) {
		for _, name := range []string{"s1", "s2"} {
			c.start(name)
		}
		store := &gate{Store: c.store, open: make(chan struct{})}
		m := c.master("m1", func(cfg *master.Config) { cfg.Store = store })
		c.create(m, 4)
		zombie := c.servers[0]
		mine := zombie.serving()
		zombie.ls.Partition(true)
		c.net.Partition("m1", "s1")
		c.await("bump", 30*time.Second, func() bool {
			for _, tb := range c.tablets() {
				if tb.Owner == zombie.e() {
					return false
				}
			}
			return true
		})
		time.Sleep(5 * time.Second) // long assigned, not sealed
		for _, id := range mine {
			if err := zombie.write(id); err != nil {
				t.Errorf("write before the seal: %v", err)
			}
			if _, ok := c.servers[1].read(id); ok {
				t.Errorf("tablet %d is served before the log is sealed", id)
			}
		}
		close(store.open)
		c.await("served", 5*time.Second, func() bool { return len(c.servers[1].serving()) == 4 })
		for _, id := range mine {
			if err := zombie.write(id); err == nil {
				t.Errorf("write after the seal was acknowledged")
			}
		}
		c.check()
		if !strings.Contains(c.logged.String(), "log sealed") {
			t.Error("no log was sealed")
		}
	})
}
