//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// TestZombie lets a tablet server sleep until another one has its tablets and
// has changed every row. Requests wait in the sleeper's sockets. When it wakes
// up, it may answer none of them from what it remembers.
func TestZombie(t *testing.T) {
	c := startCluster(t, shape{locks: 1, masters: 1, tablets: 2, ttl: 2 * time.Second, dir: true})
	c.createTable()
	c.writeEach("old")
	zombie := c.tablets[0]
	table := open(t, c.addr[zombie])
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range tabletCount { // so that it knows where everything is
		if _, err := table.ReadRow(ctx, letter(i)+"/row"); err != nil {
			t.Fatal(err)
		}
	}
	zombie.signal(t, syscall.SIGSTOP)
	within(t, 20*time.Second, "the other server has all tablets", func() error {
		tablets, _, err := c.meta.All(ctx, lockservice.ReadOptions{})
		for _, r := range tablets {
			if r.OwnerAddress == c.addr[zombie] || r.State != meta.Serving {
				return fmt.Errorf("tablet %d is %v at %s", r.ID, r.State, r.OwnerAddress)
			}
		}
		return err
	})
	c.writeEach("new")

	var wg sync.WaitGroup
	var mu sync.Mutex
	var stale []string
	acked := map[string]bool{}
	answers, failures := 0, map[string]int{}
	for i := range tabletCount {
		for n := range 4 {
			wg.Go(func() {
				r, err := table.ReadRow(ctx, letter(i)+"/row", bigtable.RowFilter(bigtable.LatestNFilter(1)))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failures[err.Error()]++
				} else if answers++; string(r[familyLedger][0].Value) != fmt.Sprintf("new %x", i) {
					stale = append(stale, string(r[familyLedger][0].Value))
				}
			})
			wg.Go(func() {
				row := fmt.Sprintf("%x/late/%d", i, n)
				m := bigtable.NewMutation()
				m.Set(familyLedger, "v", bigtable.ServerTime, []byte("late"))
				err := table.Apply(ctx, row, m)
				mu.Lock()
				defer mu.Unlock()
				if acked[row] = err == nil; err != nil {
					failures[err.Error()]++
				}
			})
		}
	}
	// Nothing tells when the requests are in the sockets; half a second is
	// plenty on one machine, and too little only makes the test weaker.
	poll(ctx, 500*time.Millisecond, func() error { return errors.New("wait") })
	zombie.signal(t, syscall.SIGCONT)
	wg.Wait()
	if len(stale) > 0 {
		t.Errorf("%d reads were answered from the past: %q", len(stale), stale)
	}
	lost := 0
	for row, ok := range acked {
		r, err := open(t, c.addr[c.gateway]).ReadRow(ctx, row)
		if err != nil {
			t.Fatal(err)
		}
		if ok && len(r) == 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d writes that the zombie acknowledged are lost", lost)
	}
	if answers == 0 {
		t.Error("no read was answered at all")
	}
	t.Logf("%d reads answered, %d writes sent, failures: %v", answers, len(acked), failures)
	if !zombie.running() {
		t.Errorf("the server has ended: %v", zombie.exit())
	}
}
