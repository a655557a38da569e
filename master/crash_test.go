package master_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	lsmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
)

// fuse counts the steps of a master, transactions and requests to the bucket,
// and blows at one of them: nothing it does has an effect any more.
type fuse struct {
	mu    sync.Mutex
	armed bool
	left  int
	steps int
	blown chan struct{}
	// applied: the transaction at which it blows is applied, unheard.
	applied bool
}

var errBlown = errors.New("the master is dead")

func (f *fuse) step() (last, dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return false, false
	}
	f.steps++
	f.left--
	if f.left == 0 {
		close(f.blown)
	}
	return f.left == 0, f.left <= 0
}

func (f *fuse) arm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = true
}

func (f *fuse) hook(lockservice.Txn, int) lsmem.Fault {
	switch last, dead := f.step(); {
	case last && f.applied:
		return lsmem.GiveUpApplied
	case dead:
		return lsmem.GiveUpLost
	}
	return lsmem.Deliver
}

func (f *fuse) request() error {
	if _, dead := f.step(); dead {
		return errBlown
	}
	return nil
}

// A master that dies at any step of a fail-over leaves something that the next
// one completes.
func TestMasterDiesAtEachStep(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for n := 1; ; n++ {
			f := &fuse{left: n, blown: make(chan struct{}), applied: applied}
			whole := false
			name := fmt.Sprintf("step %d", n)
			if applied {
				name += ", applied"
			}
			t.Run(name, func(t *testing.T) {
				bubble(t, func(c *cluster) {
					f.blown = make(chan struct{}) // of the bubble
					whole = dieAt(c, f)
				})
			})
			if whole {
				if n < 8 {
					t.Errorf("a fail-over took %d steps", n)
				}
				t.Logf("fail-over, collection of the log and deletion of a table took %d steps", f.steps)
				break
			}
			if t.Failed() {
				return
			}
		}
	}
}

// dieAt runs a fail-over, the collection of the log and the deletion of a table
// under a master that f kills, with another as its standby. It reports whether
// f did not blow.
func dieAt(c *cluster, f *fuse) bool {
	for _, name := range []string{"s1", "s2", "s3"} {
		c.start(name)
	}
	m1 := c.master("m1", func(cfg *master.Config) {
		cfg.Store = &stepStore{Store: c.store, step: f.request}
		cfg.Options.Batch = 3 // several transactions for each thing
	})
	c.create(m1, 12)
	m2 := c.master("m2", nil)
	c.writeAll()
	victim := c.servers[0]
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
	victim.crash()
	c.await("recovery", 2*time.Minute, func() bool { return c.owners()[victim.e()] == 0 && c.allServed() })
	c.writeAll()
	c.check()
	c.collectAll(victim.e())
	deleteTable(c, m1, m2)
	c.await("no tablets", time.Minute, func() bool { return len(c.tablets()) == 0 })
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

// deleteTable deletes the table through whichever master is active, as a client
// would.
func deleteTable(c *cluster, masters ...*candidate) {
	c.t.Helper()
	c.await("deletion", time.Minute, func() bool {
		for _, m := range masters {
			ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
			m.client.DeleteTable(ctx, deleteRequest())
			cancel()
		}
		_, err := c.meta.TableByName(c.ctx, tblName)
		return errors.Is(err, base.ErrNotFound)
	})
}

// lawless is a lock service that gives the lock to everybody.
type lawless struct{ lockservice.Client }

func (l lawless) Lock(context.Context, lockservice.Session, string, lockservice.LockOptions) (lockservice.Sequencer, error) {
	return lockservice.Sequencer{}, nil
}

// seed returns the seed of a randomised test: SEED, or a new one.
func seed(t *testing.T) uint64 {
	s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", s)
	return s
}

// Masters that all believe to be active do no harm, whatever dies and whatever
// transactions get lost or land late.
func TestMastersRace(t *testing.T) {
	first := seed(t)
	for i := range uint64(5) {
		t.Run(strconv.FormatUint(i, 10), func(t *testing.T) {
			bubble(t, func(c *cluster) { race(c, rand.New(rand.NewPCG(first, i))) })
		})
	}
}

func race(c *cluster, r *rand.Rand) {
	for i := range 4 {
		c.start(fmt.Sprintf("s%d", i))
	}
	var rmu sync.Mutex
	chance := func(percent int) bool {
		rmu.Lock()
		defer rmu.Unlock()
		return r.IntN(100) < percent
	}
	for i := range 3 {
		m := c.master(fmt.Sprintf("m%d", i), func(cfg *master.Config) {
			cfg.LockService = lawless{cfg.LockService}
			cfg.Options.Batch = 4
		})
		m.ls.SetHook(func(lockservice.Txn, int) lsmem.Fault {
			if chance(80) {
				return lsmem.Deliver
			}
			rmu.Lock()
			defer rmu.Unlock()
			return []lsmem.Fault{lsmem.LoseRequest, lsmem.LoseReply, lsmem.LandLate, lsmem.GiveUpLost, lsmem.GiveUpApplied, lsmem.GiveUpLate}[r.IntN(6)]
		})
	}
	m := c.masters[0]
	c.await("active", time.Minute, m.Active)
	c.await("table", time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		m.client.CreateTable(ctx, createRequest(15))
		_, err := c.meta.TableByName(c.ctx, tblName)
		return err == nil
	})
	for i := range 12 {
		c.writeAll()
		c.stir(i, chance, func(n int) int { rmu.Lock(); defer rmu.Unlock(); return r.IntN(n) })
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			c.writeAll()
			c.check()
		}
		for _, m := range c.masters {
			if chance(50) {
				m.ls.Land()
			}
		}
	}
	c.await("all served", 5*time.Minute, c.allServed)
	for _, m := range c.masters {
		m.ls.Land()
	}
	c.writeAll()
	c.await("all served still", 5*time.Minute, c.allServed)
	checkTiling(c)
}

// stir does something bad to one of the servers, of which three stay.
func (c *cluster) stir(i int, chance func(int) bool, pick func(int) int) {
	var live []*server
	for _, s := range c.servers {
		if s.ctx.Err() == nil {
			live = append(live, s)
		}
	}
	s := live[pick(len(live))]
	switch pick(5) {
	case 0:
		s.crash()
	case 1:
		s.shutdown()
	case 2:
		c.net.Crash(s.name) // it listens no more, and lives
	case 3:
		c.masters[pick(len(c.masters))].client.ReportDead(c.ctx, &reportDead{Incarnation: meta.IncarnationProto(s.e())})
	case 4:
		for _, id := range s.serving() {
			if chance(50) {
				s.flush(id)
			}
		}
		return
	}
	c.start(fmt.Sprintf("r%d", i))
}

func checkTiling(c *cluster) {
	c.t.Helper()
	if wrong := meta.CheckTiling(c.tablets()); len(wrong) > 0 {
		c.t.Errorf("%v", wrong)
	}
}
