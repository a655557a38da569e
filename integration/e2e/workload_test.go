//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/integration/linearizability"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// Size and pace of the workload. It should reach every tablet all the time, and
// leave most of a small machine to the servers.
const (
	rowsPerTablet = 4
	rowWorkers    = 8
	scanWorkers   = 2
	ledgerWorkers = 2
	pause         = 15 * time.Millisecond // of a worker between operations
	opDeadline    = 12 * time.Second
)

// workload runs clients against the table and remembers what they were told.
type workload struct {
	t       testing.TB
	fronts  []frontend // the first is the gateway
	space   string     // part of the keys: where a history begins, its rows are empty
	history *linearizability.History
	ledger  *ledger

	end    context.CancelFunc
	done   sync.WaitGroup
	stamps atomic.Int64 // the last timestamp that a client chose
	acked  atomic.Int64
	mu     struct {
		sync.Mutex
		avoid  map[frontend]bool
		errors map[string]int // by operation, code and text
		wrong  []string
	}
}

// startWorkload runs clients at the given front ends until stop.
func startWorkload(t testing.TB, fronts ...frontend) *workload {
	t.Helper()
	w := &workload{t: t, space: "row", history: linearizability.NewHistory(), ledger: newLedger(), fronts: fronts}
	w.start()
	return w
}

// start begins.
func (w *workload) start() {
	t := w.t
	w.mu.errors, w.mu.avoid = map[string]int{}, map[frontend]bool{}
	w.stamps.Store(time.Now().UnixMilli())
	var ctx context.Context
	ctx, w.end = context.WithCancel(t.Context())
	client := 0
	run := func(n int, f func(context.Context, int, *rand.Rand)) {
		for range n {
			client++
			rng := rand.New(rand.NewPCG(settings.seed, uint64(client)))
			w.done.Go(func() { w.loop(ctx, client, rng, f) })
		}
	}
	run(rowWorkers, w.touchRow)
	run(scanWorkers, w.scan)
	run(ledgerWorkers, w.writeLedger)
	t.Cleanup(func() { w.end(); w.done.Wait() })
}

// loop runs f with pauses. A call that has begun is let finish, so that its
// outcome is known, if it is going to be.
func (w *workload) loop(ctx context.Context, client int, rng *rand.Rand, f func(context.Context, int, *rand.Rand)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), opDeadline)
		f(call, client, rng)
		cancel()
	}
}

// stop ends the clients and waits for their last calls.
func (w *workload) stop() {
	w.end()
	w.done.Wait()
}

// front chooses a front end. Most calls go to the first.
func (w *workload) front(rng *rand.Rand) frontend {
	if len(w.fronts) > 1 && rng.IntN(2) == 0 {
		front := w.fronts[1+rng.IntN(len(w.fronts)-1)]
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.mu.avoid[front] {
			return front
		}
	}
	return w.fronts[0]
}

// avoid keeps clients from a front end whose process is down. Calls that are
// under way see its end.
func (w *workload) avoid(front frontend) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.avoid[front] = true
}

// failed notes an error that a client saw.
func (w *workload) failed(op string, err error) {
	err = rpc.ToStatus(err) // errors of our own client may have no code yet
	code, text := status.Code(err), status.Convert(err).Message()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.errors[fmt.Sprintf("%s: %v: %.200s", op, code, text)]++
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted:
	default:
		w.mu.wrong = append(w.mu.wrong, fmt.Sprintf("%s: an error with code %v reached a client: %v", op, code, err))
	}
}

func (w *workload) wrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.wrong = append(w.mu.wrong, fmt.Sprintf(format, args...))
}

// errors returns how many errors clients saw, and what they were.
func (w *workload) errors() (int, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	var lines []string
	for _, text := range slices.Sorted(maps.Keys(w.mu.errors)) {
		n += w.mu.errors[text]
		lines = append(lines, fmt.Sprintf("%5d  %s", w.mu.errors[text], text))
	}
	return n, strings.Join(lines, "\n")
}

func (w *workload) prefix(tablet int) string { return letter(tablet) + "/" + w.space + "/" }

func (w *workload) rowKey(tablet, n int) string { return fmt.Sprintf("%s%d", w.prefix(tablet), n) }

// touchRow makes one operation on a random row.
func (w *workload) touchRow(ctx context.Context, client int, rng *rand.Rand) {
	front := w.front(rng)
	call := linearizability.Call{Row: w.rowKey(rng.IntN(tabletCount), rng.IntN(rowsPerTablet)), Kind: linearizability.Read}
	stamp := w.stamps.Add(1)
	value := fmt.Sprintf("%d-%d", client, stamp)
	called := w.history.Now()
	var a linearizability.Answer
	var err error
	switch n := rng.IntN(100); {
	case n < 25:
		call.Kind, call.Value = linearizability.Write, value
		err = front.set(ctx, call.Row, register(value)...)
	case n < 40:
		call.Kind, call.Value, call.Timestamp = linearizability.WriteNewest, value, stamp
		err = front.set(ctx, call.Row, cell{familyNewest, "v", stamp * 1000, value})
	case n < 55:
		call.Kind, call.Delta = linearizability.Increment, 1+rng.Int64N(5)
		a.Sum, err = front.increment(ctx, call.Row, call.Delta)
	case n < 70:
		// What is expected is read first, which is an operation of its own.
		a.Row, err = w.readRow(ctx, front, call.Row)
		if err == nil && a.Row.Register != "" {
			w.history.Add(client, called, call, a)
			call.Kind, call.Value, call.Expect = linearizability.CheckAndWrite, value, a.Row.Register
			called, a = w.history.Now(), linearizability.Answer{}
			a.Matched, err = front.setIf(ctx, call.Row, call.Expect, register(value)...)
		}
	default:
		a.Row, err = w.readRow(ctx, front, call.Row)
	}
	if err != nil {
		w.failed(call.Kind.String(), err)
		a = linearizability.Answer{Unknown: true}
	} else {
		w.acked.Add(1)
	}
	w.history.Add(client, called, call, a)
}

// register returns the two cells of a register.
func register(value string) []cell {
	return []cell{{familyRegister, "a", serverTime, value}, {familyRegister, "b", serverTime, value}}
}

func (w *workload) readRow(ctx context.Context, front frontend, key string) (linearizability.Row, error) {
	cells, err := front.read(ctx, key)
	if err != nil {
		return linearizability.Row{}, err
	}
	return w.parse(key, cells), nil
}

// parse returns the content of a row, and notes where it is impossible.
func (w *workload) parse(key string, cells []cell) linearizability.Row {
	var row linearizability.Row
	other := ""
	for _, c := range cells {
		switch c.family + ":" + c.column {
		case familyRegister + ":a":
			row.Register = c.value
		case familyRegister + ":b":
			other = c.value
		case familyNewest + ":v":
			row.Newest, row.Timestamp = c.value, c.micros/1000
		case familyCounter + ":v":
			n, err := sum([]byte(c.value))
			if err != nil {
				w.wrong("row %q: the counter holds %q", key, c.value)
			}
			row.Counter = n
		default:
			w.wrong("row %q: a column that nobody wrote: %+v", key, c)
		}
	}
	if other != row.Register {
		w.wrong("row %q: half a write: column a is %q, b is %q", key, row.Register, other)
	}
	return row
}

// scan reads all rows of some tablets in one call; each row of the answer is a
// read between the call and the end of the scan.
func (w *workload) scan(ctx context.Context, client int, rng *rand.Rand) {
	var prefixes []string
	expected := map[string]bool{}
	first, n := rng.IntN(tabletCount), 1+rng.IntN(4)
	for i := first; i < min(first+n, tabletCount); i++ {
		prefixes = append(prefixes, w.prefix(i))
		for j := range rowsPerTablet {
			expected[w.rowKey(i, j)] = true
		}
	}
	w.record(ctx, client, w.front(rng), prefixes, expected)
}

// record scans the rows with some prefixes and records a read of each of those
// that are expected.
func (w *workload) record(ctx context.Context, client int, front frontend, prefixes []string, expected map[string]bool) error {
	rows := map[string]linearizability.Row{}
	called, last := w.history.Now(), ""
	err := front.scan(ctx, prefixes, func(key string, cells []cell) {
		if key <= last || !expected[key] {
			w.wrong("scan of %v: row %q after %q", prefixes, key, last)
		}
		last = key
		rows[key] = w.parse(key, cells)
	})
	if err != nil {
		w.failed("scan", err)
		return err
	}
	returned := w.history.Now()
	w.acked.Add(1)
	for key := range expected {
		w.history.AddAt(client, called, returned, linearizability.Call{Kind: linearizability.Read, Row: key},
			linearizability.Answer{Row: rows[key]})
	}
	return nil
}

// writeLedger writes a batch of new rows, and deletes an old one.
func (w *workload) writeLedger(ctx context.Context, client int, rng *rand.Rand) {
	var keys []string
	var cells []cell
	front := w.front(rng)
	for range 8 {
		stamp := w.stamps.Add(1)
		key := fmt.Sprintf("%x/ledger/%d-%d", rng.IntN(tabletCount), client, stamp)
		keys, cells = append(keys, key), append(cells, cell{familyLedger, "v", stamp * 1000, ledgerValue(key)})
	}
	w.ledger.attempt(keys)
	errs, err := front.setAll(ctx, keys, cells)
	for i, key := range keys {
		switch {
		case err != nil:
			w.failed("bulk", err)
		case errs != nil && errs[i] != nil:
			w.failed("bulk", errs[i])
		default:
			w.acked.Add(1)
			w.ledger.ack(key)
		}
	}
	if key, ok := w.ledger.deletable(rng); ok {
		err := front.deleteRow(ctx, key)
		if err != nil {
			w.failed("delete", err)
		}
		w.ledger.deleted(key, err)
	}
}
