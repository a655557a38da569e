//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/integration/linearizability"
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
	tables  []*bigtable.Table // the front ends; the first is the gateway
	history *linearizability.History
	ledger  *ledger

	end    context.CancelFunc
	done   sync.WaitGroup
	stamps atomic.Int64 // the last timestamp that a client chose
	acked  atomic.Int64
	mu     struct {
		sync.Mutex
		avoid  map[*bigtable.Table]bool
		errors map[string]int // by operation, code and text
		wrong  []string
	}
}

// startWorkload runs clients at the given front ends until stop.
func startWorkload(t testing.TB, addrs ...string) *workload {
	t.Helper()
	w := &workload{t: t, history: linearizability.NewHistory(), ledger: newLedger()}
	w.mu.errors, w.mu.avoid = map[string]int{}, map[*bigtable.Table]bool{}
	for _, a := range addrs {
		w.tables = append(w.tables, open(t, a))
	}
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
	return w
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

// table chooses a front end. Most calls go to the first.
func (w *workload) table(rng *rand.Rand) *bigtable.Table {
	if len(w.tables) > 1 && rng.IntN(4) == 0 {
		table := w.tables[1+rng.IntN(len(w.tables)-1)]
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.mu.avoid[table] {
			return table
		}
	}
	return w.tables[0]
}

// avoid keeps clients from front end i, whose process is down, or lets them use
// it again. Calls that are under way see its end.
func (w *workload) avoid(i int, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.avoid[w.tables[i]] = down
}

// failed notes an error that a client saw.
func (w *workload) failed(op string, err error) {
	code := status.Code(err)
	text := status.Convert(err).Message()
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

func rowKey(tablet, n int) string { return fmt.Sprintf("%x/row/%d", tablet, n) }

// touchRow makes one operation on a random row.
func (w *workload) touchRow(ctx context.Context, client int, rng *rand.Rand) {
	table := w.table(rng)
	call := linearizability.Call{Row: rowKey(rng.IntN(tabletCount), rng.IntN(rowsPerTablet)), Kind: linearizability.Read}
	stamp := w.stamps.Add(1)
	value := fmt.Sprintf("%d-%d", client, stamp)
	m := bigtable.NewMutation()
	called := w.history.Now()
	var a linearizability.Answer
	var err error
	switch n := rng.IntN(100); {
	case n < 25:
		call.Kind, call.Value = linearizability.Write, value
		setRegister(m, value)
		err = table.Apply(ctx, call.Row, m)
	case n < 40:
		call.Kind, call.Value, call.Timestamp = linearizability.WriteNewest, value, stamp
		m.Set(familyNewest, "v", bigtable.Timestamp(stamp*1000), []byte(value))
		err = table.Apply(ctx, call.Row, m)
	case n < 55:
		call.Kind, call.Delta = linearizability.Increment, 1+rng.Int64N(5)
		a.Sum, err = increment(ctx, table, call.Row, call.Delta)
	case n < 70:
		// What is expected is read first, which is an operation of its own.
		a.Row, err = w.readRow(ctx, table, call.Row)
		if err == nil && a.Row.Register != "" {
			w.history.Add(client, called, call, a)
			call.Kind, call.Value, call.Expect = linearizability.CheckAndWrite, value, a.Row.Register
			setRegister(m, value)
			called, a = w.history.Now(), linearizability.Answer{}
			err = table.Apply(ctx, call.Row, bigtable.NewCondMutation(registerIs(call.Expect), m, nil), bigtable.GetCondMutationResult(&a.Matched))
		}
	default:
		a.Row, err = w.readRow(ctx, table, call.Row)
	}
	if err != nil {
		w.failed(call.Kind.String(), err)
		a = linearizability.Answer{Unknown: true}
	} else {
		w.acked.Add(1)
	}
	w.history.Add(client, called, call, a)
}

func setRegister(m *bigtable.Mutation, value string) {
	m.Set(familyRegister, "a", bigtable.ServerTime, []byte(value))
	m.Set(familyRegister, "b", bigtable.ServerTime, []byte(value))
}

func registerIs(value string) bigtable.Filter {
	return bigtable.ChainFilters(bigtable.FamilyFilter(familyRegister), bigtable.ColumnFilter("a"), bigtable.LatestNFilter(1),
		bigtable.ValueFilter("^"+value+"$"))
}

func increment(ctx context.Context, table *bigtable.Table, row string, delta int64) (int64, error) {
	m := bigtable.NewReadModifyWrite()
	m.Increment(familyCounter, "v", delta)
	r, err := table.ApplyReadModifyWrite(ctx, row, m)
	if err != nil {
		return 0, err
	}
	if len(r[familyCounter]) != 1 || len(r[familyCounter][0].Value) != 8 {
		return 0, fmt.Errorf("increment returned %v", r)
	}
	return int64(binary.BigEndian.Uint64(r[familyCounter][0].Value)), nil
}

// rowContent is the filter for what linearizability.Row holds.
func rowContent() bigtable.ReadOption {
	return bigtable.RowFilter(bigtable.ChainFilters(
		bigtable.FamilyFilter(familyRegister+"|"+familyNewest+"|"+familyCounter), bigtable.LatestNFilter(1)))
}

func (w *workload) readRow(ctx context.Context, table *bigtable.Table, key string) (linearizability.Row, error) {
	r, err := table.ReadRow(ctx, key, rowContent())
	if err != nil {
		return linearizability.Row{}, err
	}
	return w.parse(key, r), nil
}

// parse returns the content of a row, and notes where it is impossible.
func (w *workload) parse(key string, r bigtable.Row) linearizability.Row {
	var row linearizability.Row
	registers := map[string]string{}
	for _, item := range slices.Concat(r[familyRegister], r[familyNewest], r[familyCounter]) {
		value := string(item.Value)
		switch item.Column {
		case familyRegister + ":a", familyRegister + ":b":
			registers[item.Column] = value
		case familyNewest + ":v":
			row.Newest, row.Timestamp = value, int64(item.Timestamp)/1000
		case familyCounter + ":v":
			if len(item.Value) != 8 {
				w.wrong("row %q: counter holds %q", key, value)
				continue
			}
			row.Counter = int64(binary.BigEndian.Uint64(item.Value))
		default:
			w.wrong("row %q: column %q, which nobody wrote", key, item.Column)
		}
	}
	row.Register = registers[familyRegister+":a"]
	if b := registers[familyRegister+":b"]; b != row.Register {
		w.wrong("row %q: half a write: column a is %q, b is %q", key, row.Register, b)
	}
	return row
}

// scan reads all rows of some tablets in one call; each row of the answer is a
// read between the call and the end of the scan.
func (w *workload) scan(ctx context.Context, client int, rng *rand.Rand) {
	var ranges bigtable.RowRangeList
	expected := map[string]bool{}
	first, n := rng.IntN(tabletCount), 1+rng.IntN(4)
	for i := first; i < min(first+n, tabletCount); i++ {
		ranges = append(ranges, bigtable.PrefixRange(letter(i)+"/row/"))
		for j := range rowsPerTablet {
			expected[rowKey(i, j)] = true
		}
	}
	w.record(ctx, client, w.table(rng), ranges, expected)
}

// record scans ranges and records a read of each expected row.
func (w *workload) record(ctx context.Context, client int, table *bigtable.Table, ranges bigtable.RowRangeList, expected map[string]bool) error {
	rows := map[string]linearizability.Row{}
	called, last := w.history.Now(), ""
	err := table.ReadRows(ctx, ranges, func(r bigtable.Row) bool {
		key := r.Key()
		if key <= last || !expected[key] {
			w.wrong("scan of %v: row %q after %q", ranges, key, last)
		}
		last = key
		rows[key] = w.parse(key, r)
		return true
	}, rowContent())
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
	var ms []*bigtable.Mutation
	table := w.table(rng)
	for range 8 {
		stamp := w.stamps.Add(1)
		key := fmt.Sprintf("%x/ledger/%d-%d", rng.IntN(tabletCount), client, stamp)
		m := bigtable.NewMutation()
		m.Set(familyLedger, "v", bigtable.Timestamp(stamp*1000), []byte(ledgerValue(key)))
		keys, ms = append(keys, key), append(ms, m)
	}
	w.ledger.attempt(keys)
	errs, err := table.ApplyBulk(ctx, keys, ms)
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
		m := bigtable.NewMutation()
		m.DeleteRow()
		err := table.Apply(ctx, key, m)
		if err != nil {
			w.failed("delete", err)
		}
		w.ledger.deleted(key, err)
	}
}
