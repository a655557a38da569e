package target_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/bttest"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// emulator returns Google's emulator, by the official client.
func emulator(t *testing.T, connections int) target.Target {
	t.Helper()
	s, err := bttest.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	tg, err := target.OpenOfficial(t.Context(), s.Addr, target.Config{Connections: connections})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
	})
	return tg
}

const rows = 500

// filled returns a table with rows and its data.
func filled(t *testing.T, tg target.Target, hashed bool) (*load.Data, []load.Table) {
	t.Helper()
	d, err := load.NewData(rows, 100, hashed, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := tg.CreateTable(t.Context(), "t", d.Keys.Splits(3, rows)); err != nil {
		t.Fatal(err)
	}
	tables := tg.Tables("t")
	if _, err := load.Fill(t.Context(), d, 30, 3, tables); err != nil {
		t.Fatal(err)
	}
	return d, tables
}

func mustRun(t *testing.T, l load.Load, o load.Options) *load.Result {
	t.Helper()
	r, err := load.Run(t.Context(), l, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoadsOnTheEmulator(t *testing.T) {
	tg := emulator(t, 2)
	d, tables := filled(t, tg, false)
	for _, c := range []struct {
		name    string
		load    load.Load
		perOp   int64
		workers int
	}{
		{"write", load.NewWrite(d, false), 1, 8},
		{"read", load.NewRead(d), 1, 8},
		{"bulk", load.NewBulk(d, 20, false), 20, 2},
		{"scan", load.NewScan(d, 0), rows, 2},
		{"short scan", load.NewScan(d, 10), 10, 2},
	} {
		const ops = 60
		r := mustRun(t, c.load, load.Options{Workers: c.workers, Ops: ops, Tables: tables})
		if r.Failed() > 0 {
			t.Errorf("%s: errors %v", c.name, r.Examples)
		}
		if r.Ops != ops || r.Rows != ops*c.perOp || r.Bytes != ops*c.perOp*100 || r.Latency.Count != ops {
			t.Errorf("%s: %d ops, %d rows, %d bytes, %d latencies; want %d, %d, %d, %d",
				c.name, r.Ops, r.Rows, r.Bytes, r.Latency.Count, ops, ops*c.perOp, ops*c.perOp*100, ops)
		}
		if r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99 || r.Latency.P99 > r.Latency.Max {
			t.Errorf("%s: latencies %+v", c.name, r.Latency)
		}
	}
}

func TestYCSBOnTheEmulator(t *testing.T) {
	for _, w := range strings.Split("abcdef", "") {
		t.Run(w, func(t *testing.T) {
			d, tables := filled(t, emulator(t, 1), true)
			l, err := load.NewYCSB(d, w)
			if err != nil {
				t.Fatal(err)
			}
			const ops = 400
			r := mustRun(t, l, load.Options{Workers: 8, Ops: ops, Seed: 3, Tables: tables})
			if r.Failed() > 0 {
				t.Errorf("errors %v", r.Examples)
			}
			want := map[string]map[string]float64{
				"a": {"read": .5, "write": .5}, "b": {"read": .95, "write": .05}, "c": nil,
				"d": {"read": .95, "insert": .05}, "e": {"scan": .95, "insert": .05}, "f": {"read": .5, "read-modify-write": .5},
			}[w]
			if len(r.Kinds) != len(want) {
				t.Errorf("kinds %v; want %v", r.Kinds, want)
			}
			for k, share := range want {
				if got := float64(r.Kinds[k].Count) / ops; got < share-0.08 || got > share+0.08 {
					t.Errorf("%s: %.3f of all operations; want %.2f", k, got, share)
				}
			}
		})
	}
	if _, err := load.NewYCSB(nil, "g"); err == nil {
		t.Error("workload g exists")
	}
}

func TestDurationWarmupAndRate(t *testing.T) {
	tg := emulator(t, 1)
	d, tables := filled(t, tg, false)
	begun := false
	r := mustRun(t, load.NewRead(d), load.Options{
		Workers: 4, Duration: 600 * time.Millisecond, Warmup: 100 * time.Millisecond, Rate: 100, Tables: tables, Begun: func() { begun = true },
	})
	if !begun {
		t.Error("Begun was not called")
	}
	if r.Ops < 40 || r.Ops > 75 {
		t.Errorf("%d operations in 0.6 s at 100 in a second", r.Ops)
	}
	// A scan of the whole table that is under way ends early.
	r = mustRun(t, load.NewScan(d, 0), load.Options{Duration: 50 * time.Millisecond, Tables: tables})
	if r.Failed() > 0 || r.Rows == 0 {
		t.Errorf("%d rows, errors %v", r.Rows, r.Examples)
	}
}

func TestCountersAreExact(t *testing.T) {
	tg := emulator(t, 1)
	if err := tg.CreateTable(t.Context(), "t", nil); err != nil {
		t.Fatal(err)
	}
	tables := tg.Tables("t")
	for range 2 { // the second goes on where the first has ended
		c, err := load.OpenCounters(t.Context(), 10, tables[0])
		if err != nil {
			t.Fatal(err)
		}
		if r := mustRun(t, c, load.Options{Workers: 8, Ops: 200, Tables: tables}); r.Failed() > 0 {
			t.Errorf("errors %v", r.Examples)
		}
		if err := c.Check(t.Context(), tables[0]); err != nil {
			t.Error(err)
		}
	}
	c, err := load.OpenCounters(t.Context(), 10, tables[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tables[0].Increment(t.Context(), load.Keys{}.Key(4), 1); err != nil { // done twice, as it were
		t.Fatal(err)
	}
	if err := c.Check(t.Context(), tables[0]); !errors.Is(err, load.ErrWrong) || !strings.Contains(err.Error(), "counter 4") {
		t.Errorf("an increment too many passes: %v", err)
	}
}

// liar spoils some answers of a table.
type liar struct {
	load.Table
	spoil func(n int64, value []byte) ([]byte, error)
	n     atomic.Int64
}

func (l *liar) Read(ctx context.Context, key string) ([]byte, error) {
	v, err := l.Table.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	return l.spoil(l.n.Add(1), v)
}

func (l *liar) Scan(ctx context.Context, start string, limit int64, f func(string, []byte) bool) error {
	return l.Table.Scan(ctx, start, limit, func(key string, value []byte) bool {
		v, err := l.spoil(l.n.Add(1), value)
		return err != nil || f(key, v) // an error leaves out the row
	})
}

func TestVerificationFindsWrongAnswers(t *testing.T) {
	d, tables := filled(t, emulator(t, 1), false)
	stale := make([]byte, 100)
	for _, c := range []struct {
		name  string
		spoil func(n int64, v []byte) ([]byte, error)
		code  string
		load  load.Load
		want  int64
	}{
		{"flipped bit", func(n int64, v []byte) ([]byte, error) {
			if n == 17 {
				v[50] ^= 4
			}
			return v, nil
		}, "wrong value", load.NewRead(d), 1},
		{"flipped bit in a scan", func(n int64, v []byte) ([]byte, error) {
			if n == 17 {
				v[50] ^= 4
			}
			return v, nil
		}, "wrong value", load.NewScan(d, 0), 1},
		{"row left out of a scan", func(n int64, v []byte) ([]byte, error) {
			if n == 17 {
				return nil, errors.New("left out")
			}
			return v, nil
		}, "missing row", load.NewScan(d, 0), 1},
		{"lost row", func(n int64, v []byte) ([]byte, error) {
			if n%20 == 0 {
				return nil, fmt.Errorf("%w: as if", load.ErrMissing)
			}
			return v, nil
		}, "missing row", load.NewRead(d), 2},
		{"lost write", func(n int64, v []byte) ([]byte, error) {
			if n%20 == 0 { // an earlier version of the row
				version, row := int64(1), rowOf(t, d, v)
				load.FillValue(stale, row, version)
				return stale, nil
			}
			return v, nil
		}, "wrong value", load.NewRead(d), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			ops := int64(40)
			if strings.Contains(c.name, "scan") {
				ops = 2
			}
			r := mustRun(t, c.load, load.Options{Workers: 1, Ops: ops, Tables: []load.Table{&liar{Table: tables[0], spoil: c.spoil}}})
			if r.Errors[c.code] != c.want || r.Wrong() != c.want || r.Ops != ops-c.want {
				t.Errorf("errors %v, %d ops; want %d %s", r.Errors, r.Ops, c.want, c.code)
			}
		})
	}
}

// rowOf finds the row whose value v is.
func rowOf(t *testing.T, d *load.Data, v []byte) int64 {
	t.Helper()
	for row := range int64(rows) {
		if _, err := load.CheckValue(v, row, d.ValueBytes); err == nil {
			return row
		}
	}
	t.Fatal("no such row")
	return 0
}

func TestErrorsAreCounted(t *testing.T) {
	tg := emulator(t, 1) // without the table
	d, err := load.NewData(rows, 100, false, false)
	if err != nil {
		t.Fatal(err)
	}
	r := mustRun(t, load.NewWrite(d, false), load.Options{Workers: 2, Ops: 10, Tables: tg.Tables("none")})
	if r.Errors["NotFound"] != 10 || r.Ops != 0 || r.Examples["NotFound"] == "" {
		t.Errorf("errors %v, examples %v, %d ops; want 10 NotFound", r.Errors, r.Examples, r.Ops)
	}
}

func TestTables(t *testing.T) {
	tg := emulator(t, 1)
	for _, want := range []bool{false, true} {
		if has, err := tg.HasTable(t.Context(), "t"); err != nil || has != want {
			t.Fatalf("HasTable = %v, %v; want %v", has, err, want)
		}
		if !want {
			if err := tg.CreateTable(t.Context(), "t", []string{"b", "c"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tg.DropTable(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
}
