package protocol_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// freezer lets the n-th write of a server, to the bucket, its log or the lock
// service, be its last: it happens or not, and nothing that follows does. The
// server then stands there until it is killed.
type freezer struct {
	happens bool // the last write does
	mu      sync.Mutex
	left    int
	frozen  bool
}

// freeze installs a freezer on a server.
func freeze(s *tabletservertest.Server, n int, happens bool) *freezer {
	z := &freezer{happens: happens, left: n}
	s.LogStore.Before(z.put)
	z.install(s.Store, s.Lock, func() {})
	return z
}

// put lets a put of objects happen or not.
func (z *freezer) put(_ context.Context, c tabletservertest.Call) error {
	if c.Op == tabletservertest.Put && !z.write() {
		return base.ErrUnavailable
	}
	return nil
}

// install installs the freezer on what a process writes to. before is called
// before each write.
func (z *freezer) install(store *tabletservertest.Spy, lock *lockmem.Client, before func()) {
	store.Before(func(ctx context.Context, c tabletservertest.Call) error {
		if c.Op == tabletservertest.Put {
			before()
		}
		return z.put(ctx, c)
	})
	lock.SetHook(func(lockservice.Txn, int) lockmem.Fault {
		before()
		if !z.write() {
			return lockmem.GiveUpLost
		}
		if z.isFrozen() { // it was the last one: the reply is lost
			return lockmem.GiveUpApplied
		}
		return lockmem.Deliver
	})
}

// write reports whether a write happens.
func (z *freezer) write() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.frozen {
		return false
	}
	if z.left > 0 {
		z.left--
		return true
	}
	z.frozen = true
	return z.happens
}

func (z *freezer) isFrozen() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.frozen
}

// stage is a cluster before an operation that a server dies in.
type stage struct {
	*bubble
	s    []*tabletservertest.Server
	list []meta.Tablet // at s[0]
	rows []string      // acknowledged
	// unsure are rows that are all there or all not.
	unsure []string
}

// drop drops the rows in [start, end) of a tablet of s[0]. Where it is not
// acknowledged they are there or not.
func (st *stage) drop(t meta.Tablet, start, end string) error {
	st.unsure = nil
	for _, row := range st.rows {
		if row >= start && row < end {
			st.unsure = append(st.unsure, row)
		}
	}
	st.rows = slices.DeleteFunc(st.rows, func(row string) bool { return slices.Contains(st.unsure, row) })
	err := st.s[0].Drop(st.ctx, t, nil, start, end)
	if err == nil {
		st.unsure = nil
	}
	return err
}

// TestCrashPoints lets the server die before and after each single write that a
// split, a merge, a move and a drop of rows consist of, of itself or the target, and once more
// what follows. Wherever it was, another server finds every acknowledged write,
// and the check of the cluster nothing wrong (S2, T2, L1, L4, G1).
func TestCrashPoints(t *testing.T) {
	operations := map[string]struct {
		dies int // which server
		run  func(st *stage) error
	}{
		"split": {0, func(st *stage) error {
			_, err := st.s[0].Split(st.ctx, st.list[0], "f")
			return err
		}},
		"split and flush": {0, func(st *stage) error {
			c, err := st.s[0].Split(st.ctx, st.list[0], "f")
			if err == nil {
				err = st.s[0].Flush(st.ctx, c[1])
			}
			return err
		}},
		"merge": {0, func(st *stage) error {
			_, err := st.s[0].Merge(st.ctx, st.list[0], st.list[1])
			return err
		}},
		"drop of rows": {0, func(st *stage) error { return st.drop(st.list[0], "b", "h") }},
		"drop of rows and flush": {0, func(st *stage) error {
			err := st.drop(st.list[0], "b", "h")
			if err == nil {
				err = st.s[0].Flush(st.ctx, st.list[0])
			}
			return err
		}},
		"drop of rows and compaction": {0, func(st *stage) error {
			err := st.drop(st.list[0], "b", "h")
			if err == nil {
				err = st.s[0].Compact(st.ctx, st.list[0])
			}
			return err
		}},
		"move": {0, func(st *stage) error { return st.s[0].HandOver(st.ctx, st.list[0], st.s[1]) }},
		"load of a moved tablet": {1, func(st *stage) error {
			st.writeDuringFlush(st.s[0], st.list[0], "c") // to be replayed
			st.Must(st.s[0].HandOver(st.ctx, st.list[0], st.s[1]))
			st.rows = append(st.rows, "c")
			r := st.Record(st.ctx, st.list[0])
			st.Tell(st.ctx, r, st.s[1])
			for st.ctx.Err() == nil {
				if now := st.Record(st.ctx, r); now.State == meta.Serving {
					return st.s[1].Flush(st.ctx, now)
				}
				time.Sleep(10 * time.Millisecond) // fake time
			}
			return st.ctx.Err()
		}},
	}
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			points := 0
			for _, happens := range []bool{false, true} {
				for n := 0; crashAt(t, n, happens, op.dies, op.run); n++ {
					points++
				}
			}
			t.Logf("%d crash points", points)
			if points < 6 {
				t.Errorf("%d crash points: little was tested", points)
			}
		})
	}
}

// crashAt runs an operation in which a server dies at its n-th write. false: it
// made fewer.
func crashAt(t *testing.T, n int, happens bool, dies int, run func(*stage) error) (reached bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fx := tabletservertest.New(t)
		defer fx.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		st := &stage{bubble: &bubble{Fixture: fx, t: t, ctx: ctx}}
		st.s = st.servers(3)
		l, r := st.pair(st.s[0])
		st.list = []meta.Tablet{l, r}
		for i, row := range []string{"a", "g", "n", "x", "b", "h", "o", "y"} {
			if i == 4 {
				st.Must(st.s[0].Flush(ctx, l))
				st.Must(st.s[0].Flush(ctx, r))
			}
			tb := l
			if row >= "m" {
				tb = r
			}
			st.set(st.s[0], tb, row)
			st.rows = append(st.rows, row)
		}
		z := freeze(st.s[dies], n, happens)
		done := st.background(func() error { return run(st) })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		reached = z.isFrozen()
		if !reached {
			st.Must(<-done)
			z.write() // nothing of what follows happens
		}
		victim := st.s[dies]
		to := st.s[2]
		list := st.dieAndServe(l.Table, victim, to)
		cancel()
		if reached {
			<-done
		}
		st.ctx = t.Context()
		st.wantRowsAnywhere(fmt.Sprintf("write %d, which happens: %v", n, happens), list)
		st.pause(5 * time.Second) // flushes and compactions
		st.check()
	})
	return reached
}

// wantRowsAnywhere checks that the tablets, wherever they are, hold what was
// acknowledged.
func (st *stage) wantRowsAnywhere(when string, list []meta.Tablet) {
	st.t.Helper()
	if wrong := meta.CheckTiling(list); wrong != nil {
		st.t.Fatalf("%s: %v", when, wrong)
	}
	got := map[string]bool{}
	for _, tb := range list {
		for _, s := range st.s {
			if s.Incarnation() == tb.Owner {
				for _, row := range s.All(st.ctx, tb) {
					got[row] = true
				}
			}
		}
	}
	for _, row := range st.rows {
		if !got[row+" cf:q@1000=v"+row] {
			st.t.Errorf("%s: row %s is lost; there are %v", when, row, got)
		}
	}
	more := 0
	for _, row := range st.unsure {
		if got[row+" cf:q@1000=v"+row] {
			more++
		}
	}
	if more != 0 && more != len(st.unsure) || len(got) != len(st.rows)+more {
		st.t.Errorf("%s: rows %v, want %q, and all or none of %q", when, got, st.rows, st.unsure)
	}
}
