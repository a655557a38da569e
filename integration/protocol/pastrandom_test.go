package protocol_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore/faulty"
)

// written is when a version of a row was begun and acknowledged.
type written struct{ begun, acked time.Time }

// pastRows are rows whose versions are written one after the other.
type pastRows struct {
	mu   sync.Mutex
	rows map[string][]written // version k at k-1
}

// write writes versions of a row until stop.
func (w *pastRows) write(b *bubble, s *server, tb meta.Tablet, row string, r *rand.Rand, stop <-chan struct{}) {
	for k := 1; ; k++ {
		begun := time.Now()
		if err := s.Set(b.ctx, tb, row, "cf", "q", int64(k)*1000, fmt.Sprint(k)); err != nil {
			b.t.Errorf("write: %v", err)
			return
		}
		w.mu.Lock()
		w.rows[row] = append(w.rows[row], written{begun, time.Now()})
		w.mu.Unlock()
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(r.Int64N(int64(30 * time.Millisecond)))):
		}
	}
}

// TestPastAtRandom takes tables as of random times while rows are written to a
// log that is slow at times. Of each row a table has the versions up to one: all
// that were acknowledged by the time that the table is said to be of, and none
// that was begun after the time that was asked for.
//
// To break: in Cut, take the last sequence that was appended.
func TestPastAtRandom(t *testing.T) {
	r := seedtest.New(t)
	history(t, func(b *bubble) {
		slow := faulty.New(b.Store, faulty.Options{Seed: r.Uint64(), Rules: []faulty.Rule{
			{Probability: 0.2, Fault: faulty.Fault{Kind: faulty.Slow, Jitter: 500 * time.Millisecond}},
			{Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow, Jitter: 20 * time.Millisecond}}}})
		defer slow.Close()
		b.LogStore = slow
		b.Net = memnet.New()
		s := b.servers(2)
		left, right := b.pair(s[0])
		table, err := b.Meta.Table(b.ctx, left.Table)
		b.Must(err)
		service := snapshot.New(b.Meta, b.Net.Node("gateway"))
		w := &pastRows{rows: map[string][]written{}}
		stop := make(chan struct{})
		var writers sync.WaitGroup
		began := time.Now()
		for i, row := range []string{"a", "b", "c", "x", "y", "z"} {
			tb := left
			if row > "m" {
				tb = right
			}
			own := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
			writers.Go(func() { w.write(b, s[0], tb, row, own, stop) })
		}
		checked := 0
		for n := range 40 {
			b.pause(time.Duration(r.Int64N(int64(time.Second))))
			if r.IntN(8) == 0 {
				b.Must(s[0].Flush(b.ctx, left))
				b.Must(s[0].Flush(b.ctx, right))
				began = time.Now()
				b.pause(time.Second)
			}
			at := began.Add(time.Duration(r.Int64N(int64(time.Since(began)) + 1))).Truncate(time.Microsecond)
			made, of, err := service.CloneTable(b.ctx, table.Name, fmt.Sprint(admCopy, n), at)
			if err != nil { // the log was slow: nothing was acknowledged for a while after the flush
				continue
			}
			for _, tb := range b.Tablets(b.ctx, made) {
				b.Serve(b.ctx, tb, s[1])
			}
			w.check(b, n, made, of.AsOf, at)
			checked++
		}
		close(stop)
		writers.Wait()
		if checked < 10 {
			t.Errorf("%d tables were checked; little was tested", checked)
		}
		b.check()
	})
}

// check compares a table with the versions of the rows.
func (w *pastRows) check(b *bubble, n int, made meta.Table, asOf, at time.Time) {
	b.t.Helper()
	has := map[string]int{}
	newest := map[string]int{}
	for _, line := range b.contents(made) {
		cells := strings.Fields(line)
		row := cells[0]
		for _, cell := range cells[1:] {
			var ts, k int
			if _, err := fmt.Sscanf(cell, "cf:q@%d=%d", &ts, &k); err != nil || ts != k*1000 {
				b.t.Fatalf("cell %q of %q: %v", cell, line, err)
			}
			has[row]++
			newest[row] = max(newest[row], k)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for row, versions := range w.rows {
		if has[row] != newest[row] {
			b.t.Errorf("table %d: row %s has %d versions up to %d", n, row, has[row], newest[row])
		}
		for i, v := range versions {
			switch k := i + 1; {
			case k > newest[row] && !v.acked.After(asOf):
				b.t.Errorf("table %d, of %v as of %v: row %s lacks version %d, which was acknowledged at %v", n, at, asOf, row, k, v.acked)
			case k <= newest[row] && v.begun.After(at):
				b.t.Errorf("table %d, of %v: row %s has version %d, which was begun at %v", n, at, row, k, v.begun)
			}
		}
	}
	if at.Sub(asOf) > time.Second {
		b.t.Errorf("table %d is as of %v, and was wanted of %v", n, asOf, at)
	}
}
