package master_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
)

// Everything dies at once. The first server that comes back does not get
// everything: safe mode waits for others.
func TestWholeClusterRestarts(t *testing.T) {
	bubble(t, func(c *cluster) {
		for i := range 4 {
			c.start(fmt.Sprintf("s%d", i))
		}
		m := c.master("m1", nil)
		c.create(m, 40)
		c.writeAll()
		m.crash()
		for _, s := range c.servers {
			s.crash()
		}
		time.Sleep(time.Hour)
		c.start("s0")
		m = c.master("m2", nil)
		time.Sleep(10 * time.Second)
		if st := c.status(m); !st.SafeMode || st.Unassigned != 40 {
			t.Errorf("with one server: %v", st)
		}
		c.start("s1")
		c.await("all served", 5*time.Second, c.allServed)
		for e, n := range c.owners() {
			if n != 20 {
				t.Errorf("%v serves %d", e, n)
			}
		}
		c.collectAll(c.servers[2].e())
	})
}

// While the bucket takes no writes nothing is sealed, but tablets lose their
// dead owner; when it does again, all goes on.
func TestBucketFailsDuringFailOver(t *testing.T) {
	bubble(t, func(c *cluster) {
		for i := range 3 {
			c.start(fmt.Sprintf("s%d", i))
		}
		var down atomic.Bool
		m := c.master("m1", func(cfg *master.Config) {
			cfg.Store = &stepStore{Store: c.store, step: func() error {
				if down.Load() {
					return errors.New("bucket is down")
				}
				return nil
			}}
		})
		c.create(m, 9)
		c.writeAll()
		down.Store(true)
		victim := c.servers[0]
		victim.crash()
		time.Sleep(time.Minute)
		assigned := 0
		for _, tb := range c.tablets() {
			if tb.Owner == victim.e() {
				t.Errorf("tablet %d is still owned by the dead", tb.ID)
			}
			if tb.State == meta.Assigned {
				assigned++
			}
		}
		if st := c.status(m); assigned != 3 || len(st.Recoveries) != 1 || st.Recoveries[0].Phase != "sealing" {
			t.Errorf("%d assigned; %v", assigned, st.Recoveries)
		}
		down.Store(false)
		c.await("all served", 5*time.Second, c.allServed)
	})
}

func TestMetaRangesSplit(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		s2 := c.start("s2")
		m := c.master("m1", func(cfg *master.Config) { cfg.Options.MetaRangeLimit = 4 })
		c.create(m, 20)
		time.Sleep(time.Minute)
		ranges, err := c.meta.Ranges(c.ctx, lockservice.ReadOptions{})
		if err != nil || len(ranges) < 5 {
			t.Fatalf("%d ranges, %v", len(ranges), err)
		}
		c.writeAll()
		s2.crash()
		c.await("all served", 20*time.Second, c.allServed)
		tablets, err := c.meta.Locate(c.ctx, 1, []byte("00010x"), 3, lockservice.ReadOptions{})
		if err != nil || len(tablets) != 4 || string(tablets[0].End) != "00011" {
			t.Errorf("%v %v", tablets, err)
		}
	})
}

// A fail-over of many tablets costs a transaction for each batch, not for each
// tablet, and takes no time of its own.
func TestFailOverOfManyTablets(t *testing.T) {
	bubble(t, func(c *cluster) {
		for i := range 4 {
			c.start(fmt.Sprintf("s%d", i))
		}
		m := c.master("m1", nil)
		c.await("active", time.Minute, m.Active)
		for i := range 4 {
			req := createRequest(500)
			req.TableId = fmt.Sprintf("t%d", i)
			ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
			if _, err := m.client.CreateTable(ctx, req); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		var txns atomic.Int64
		f := &fuse{left: 1 << 40, armed: true}
		m.ls.SetHook(f.hook)
		victim := c.servers[0]
		victim.crash()
		if _, err := m.client.ReportDead(c.ctx, &reportDead{Incarnation: meta.IncarnationProto(victim.e()), Reaped: true}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for c.owners()[victim.e()] > 0 || !c.allServed() {
			if time.Since(start) > 10*time.Second {
				t.Fatalf("%v", c.status(m))
			}
			time.Sleep(50 * time.Millisecond)
		}
		txns.Store(int64(f.steps))
		if n := txns.Load(); n > 30 {
			t.Errorf("%d transactions", n)
		}
		t.Logf("501 tablets: %d transactions, %v of fake time", txns.Load(), time.Since(start))
	})
}
