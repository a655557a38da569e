package server_test

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

	"github.com/anishathalye/porcupine"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/lockservice/locktest"
)

// register is one operation on one key: a read, a blind write or
// delete, or a write if it is absent.
type register struct {
	key, kind, new string
}

// outcome is what it returned. unknown: anything may have come of it.
type outcome struct {
	value   string // read
	ok      bool   // swapped
	unknown bool
}

// model is a register per key; "" is absence.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(register).key
			byKey[k] = append(byKey[k], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(s, in, out any) (bool, any) {
		state, op, got := s.(string), in.(register), out.(outcome)
		switch op.kind {
		case "read":
			return got.unknown || got.value == state, state
		case "write", "delete":
			return true, op.new
		}
		swapped := state == ""
		if !got.unknown && got.ok != swapped {
			return false, state
		}
		if swapped {
			return true, op.new
		}
		return true, state
	},
}

// TestLinearizable lets clients read, write and swap while leaders are cut
// off, stopped and moved, and checks that one order explains every answer. An
// operation that is undecided ends when the history does.
func TestLinearizable(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SEED=%d", seed)
	cfg := &locktest.ClusterConfig{Replicas: 3, Dir: t.TempDir()}
	var history []porcupine.Operation
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		start := time.Now()
		stop, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var wg sync.WaitGroup
		for n := range 4 {
			worker := c.Client(t)
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			wg.Go(func() {
				defer worker.Close()
				for i := 0; stop.Err() == nil; i++ {
					op := draw(r, n, i)
					call := time.Since(start)
					out, applied := perform(t, worker, op)
					if applied {
						o := porcupine.Operation{ClientId: n, Input: op, Call: int64(call), Output: out, Return: int64(time.Since(start))}
						if out.unknown {
							o.Return = int64(time.Hour)
						}
						mu.Lock()
						history = append(history, o)
						mu.Unlock()
					}
					time.Sleep(rand.N(100 * time.Millisecond))
				}
			})
		}
		r := rand.New(rand.NewPCG(seed, 99))
		for range 12 {
			disturb(t, c, cl, r)
		}
		cancel()
		wg.Wait()
	})
	// Outside the bubble, where the limit is one of real time.
	res, info := porcupine.CheckOperationsVerbose(model, history, 20*time.Second)
	t.Logf("%d operations: %v", len(history), res)
	if res == porcupine.Illegal {
		path := os.TempDir() + "/lockservice-history.html"
		if err := porcupine.VisualizePath(model, info, path); err == nil {
			t.Logf("history in %s", path)
		}
		t.Error("the history is not linearizable")
	}
}

func draw(r *rand.Rand, n, i int) register {
	op := register{key: fmt.Sprintf("k%d", r.IntN(3)), new: fmt.Sprintf("%d.%d", n, i)}
	op.kind = [...]string{"read", "read", "write", "swap", "delete"}[r.IntN(5)]
	if op.kind == "delete" {
		op.new = ""
	}
	return op
}

// perform runs op. applied is false where it certainly had no effect and answered nothing.
func perform(t *testing.T, c *client.Client, op register) (out outcome, applied bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if op.kind == "read" {
		kv, _, _, err := c.Get(ctx, op.key, lockservice.ReadOptions{})
		return outcome{value: string(kv.Value)}, err == nil
	}
	txn := lockservice.Txn{Then: []lockservice.Op{lockservice.Put(op.key, []byte(op.new))}}
	if op.kind == "delete" {
		txn.Then = []lockservice.Op{lockservice.Delete(op.key)}
	}
	if op.kind == "swap" {
		txn.If = []lockservice.Compare{lockservice.Absent(op.key)}
	}
	r, err := c.Txn(ctx, txn)
	switch {
	case err == nil && !r.Succeeded && r.Retried:
		return outcome{unknown: true}, true
	case err == nil:
		return outcome{ok: r.Succeeded}, true
	case errors.Is(err, base.ErrUndecided):
		return outcome{unknown: true}, true
	case errors.Is(err, base.ErrNoLeader):
		return outcome{}, false
	}
	t.Errorf("%v: %v", op, err)
	return outcome{unknown: true}, true
}

// disturb does one bad thing to the cluster, waits, and undoes it.
func disturb(t *testing.T, c *locktest.Cluster, cl *client.Client, r *rand.Rand) {
	victim := c.Leader(t)
	if r.IntN(3) == 0 {
		victim = r.IntN(3)
	}
	pause := 500*time.Millisecond + time.Duration(r.Int64N(int64(3*time.Second)))
	switch r.IntN(4) {
	case 0:
		c.Isolate(victim, true)
		time.Sleep(pause)
		c.Isolate(victim, false)
	case 1:
		c.Stop(t, victim)
		time.Sleep(pause)
		c.Start(t, victim)
	case 2:
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := cl.TransferLeadership(ctx, ""); err != nil {
			t.Logf("transfer: %v", err)
		}
		cancel()
	case 3: // one way only
		other := (victim + 1) % 3
		c.Net.Cut(locktest.Name(victim), locktest.Name(other))
		time.Sleep(pause)
		c.Net.Heal(locktest.Name(victim), locktest.Name(other))
	}
	time.Sleep(pause / 2)
}
