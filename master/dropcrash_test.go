package master_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
)

// TestMasterDiesDropping lets the master die at each step, transaction or
// request, of the deletion of a table, of its coming back, before and after its
// tablets were released, and of its end. The next one goes on: the table serves
// what was acknowledged whenever it is there, and in the end nothing is left.
func TestMasterDiesDropping(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for n := 1; ; n++ {
			f := &fuse{left: n, applied: applied}
			whole := false
			t.Run(fmt.Sprintf("step %d, applied %v", n, applied), func(t *testing.T) {
				bubble(t, func(c *cluster) {
					f.blown = make(chan struct{})
					whole = dieDropping(c, f)
				})
			})
			if whole {
				if n < 8 {
					t.Errorf("all of it took %d steps", n)
				}
				t.Logf("all of it took %d steps", f.steps)
				break
			}
			if t.Failed() {
				return
			}
		}
	}
}

// dieDropping deletes a table, and brings it back, under a master that f kills,
// with another as its standby. It reports whether f did not blow.
func dieDropping(c *cluster, f *fuse) bool {
	const keep = 30 * time.Second
	c.start("s1")
	c.start("s2")
	m1 := c.master("m1", func(cfg *master.Config) {
		cfg.Store = &stepStore{Store: c.store, step: f.request}
		cfg.Options.Batch, cfg.Options.KeepDeleted = 2, keep
	})
	c.create(m1, 4)
	m2 := c.master("m2", func(cfg *master.Config) { cfg.Options.Batch, cfg.Options.KeepDeleted = 2, keep })
	c.writeAll()
	m1.ls.SetHook(f.hook)
	done := make(chan struct{})
	defer func() { <-done }()
	stop, cancel := context.WithCancel(c.ctx)
	defer cancel()
	go func() {
		defer close(done)
		select {
		case <-f.blown:
			m1.crash()
		case <-stop.Done():
		}
	}()
	f.arm()
	there := func() bool {
		_, err := c.meta.TableByName(c.ctx, tblName)
		return err == nil
	}
	released := func() bool {
		for _, tb := range c.tablets() {
			if tb.State != meta.Unassigned {
				return false
			}
		}
		return true
	}
	for _, wait := range []bool{true, false} { // for its tablets to be released
		deleteTable(c, m1, m2)
		if wait {
			c.await("released", time.Minute, released)
		}
		c.await("back", time.Minute, func() bool {
			for _, m := range []*candidate{m1, m2} {
				ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
				m.client.UndeleteTable(ctx, &adminpb.UndeleteTableRequest{Name: tblName})
				cancel()
			}
			return there()
		})
		c.await("served again", time.Minute, c.allServed)
		c.check()
		c.writeAll()
	}
	deleteTable(c, m1, m2)
	c.await("released", time.Minute, released)
	if n := len(c.tablets()); n != 4 {
		c.t.Errorf("%d tablets are kept of 4", n)
	}
	time.Sleep(keep)
	c.await("no tablets", 2*time.Minute, func() bool { return len(c.tablets()) == 0 })
	c.await("no schema", time.Minute, func() bool {
		_, err := c.meta.Table(c.ctx, 1)
		return errors.Is(err, base.ErrNotFound)
	})
	select {
	case <-f.blown:
		return false
	default:
		return true
	}
}
