package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/gateway"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
)

// fixture is a cluster with a gateway, and a client.
type fixture struct {
	*testing.T
	*tabletstest.Cluster
	servers []*tabletstest.Server
	client  *client.Client
}

// inBubble runs f with a client that finds tablets by itself, and with one of a
// gateway.
func inBubble(t *testing.T, o client.Options, f func(context.Context, *fixture)) {
	for _, way := range []string{"native", "gateway"} {
		synctest.Test(t, func(t *testing.T) {
			x := &fixture{T: t, Cluster: tabletstest.New(t)}
			defer x.Cluster.Close()
			r := router.New(router.Config{Meta: x.Meta, Network: x.Net.Node("server0"), Local: func(addr string) route.Server {
				if addr == "server0" {
					return x.Local(addr)
				}
				return nil
			}})
			defer r.Close()
			gw := gateway.New(gateway.Config{Router: r, Meta: x.Meta, Network: x.Net.Node("server0")})
			defer gw.Close()
			x.servers = append(x.servers, x.AddServer("server0", gw, gw.Register), x.AddServer("server1", nil))
			master := x.AddMaster("master0")
			defer master.Stop()
			config := client.Config{Network: x.Net.Node("client"), Options: o}
			if way == "native" {
				config.Cell = x.NewLockService()
				defer config.Cell.Close()
			} else {
				config.Endpoint = "server0"
			}
			c, err := client.Open(context.Background(), config)
			if err != nil {
				t.Fatal(way, err)
			}
			defer c.Close()
			x.client = c
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			f(ctx, x)
			if t.Failed() {
				t.Log("with the", way, "client")
			}
		})
	}
}

func (x *fixture) table(ctx context.Context, splits ...string) *client.Table {
	x.Helper()
	err := x.client.Admin().CreateTableFromConf(ctx, &client.TableConf{
		Table: "t", Families: []client.Family{{Name: "f"}, {Name: "g", GC: client.MaxVersionsPolicy(1)}}, Splits: splits,
	})
	if err != nil {
		x.Fatal(err)
	}
	return x.client.Open("t")
}

func cell(column, value string, ts client.Timestamp) *client.Mutation {
	m := client.NewMutation()
	m.Set("f", column, ts, []byte(value))
	return m
}

func (x *fixture) keys(ctx context.Context, t *client.Table, set client.RowSet, opts ...client.ReadOption) (keys []string) {
	x.Helper()
	for row, err := range t.Rows(ctx, set, opts...) {
		if err != nil {
			x.Fatal(err)
		}
		keys = append(keys, row.Key)
	}
	return keys
}

func TestRows(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx, "c", "e")
		for _, r := range strings.Split("a b c d e f", " ") {
			m := cell("q", r+"1", 1000)
			m.Set("f", "q", 2000, []byte(r+"2"))
			m.Set("g", "p", 0, nil)
			if err := tbl.Apply(ctx, r, m); err != nil {
				t.Fatal(err)
			}
		}
		row, err := tbl.ReadRow(ctx, "d")
		if err != nil || len(row.Cells) != 3 || len(row.Family("f")) != 2 || row.Family("f")[1].Timestamp != 1000 {
			t.Errorf("%+v, %v", row, err)
		}
		if v, ok := row.Value("f", "q"); !ok || string(v) != "d2" {
			t.Errorf("%q, %v", v, ok)
		}
		if row, err := tbl.ReadRow(ctx, "none"); err != nil || row.Exists() {
			t.Errorf("%+v, %v", row, err)
		}
		for _, c := range []struct {
			set  client.RowSet
			opts []client.ReadOption
			want string
		}{
			{client.InfiniteRange(""), nil, "a b c d e f"},
			{client.RowRange{}, nil, "a b c d e f"},
			{client.InfiniteRange("e"), nil, "e f"},
			{client.InfiniteReverseRange("b"), nil, "a b"},
			{client.NewRange("b", "d"), nil, "b c"},
			{client.NewClosedRange("b", "d"), nil, "b c d"},
			{client.NewOpenRange("b", "d"), nil, "c"},
			{client.NewOpenClosedRange("b", "d"), nil, "c d"},
			{client.PrefixRange("c"), nil, "c"},
			{client.RowList{"f", "a", "a", "x"}, nil, "a f"},
			{client.RowRangeList{client.NewRange("a", "c"), client.NewRange("b", "e")}, nil, "a b c d"},
			{client.RowList{}, nil, ""},
			{client.RowRange{}, []client.ReadOption{client.LimitRows(3)}, "a b c"},
			{client.RowRange{}, []client.ReadOption{client.LimitRows(3), client.ReverseScan()}, "f e d"},
		} {
			if got := strings.Join(x.keys(ctx, tbl, c.set, c.opts...), " "); got != c.want {
				t.Errorf("%+v: %q, want %q", c.set, got, c.want)
			}
		}
		var stats *client.FullReadStats
		x.keys(ctx, tbl, client.RowRange{}, client.WithFullReadStats(func(s *client.FullReadStats) { stats = s }))
		if stats == nil || stats.RowsReturned != 6 {
			t.Errorf("%+v", stats)
		}
		n := 0
		if err := tbl.ReadRows(ctx, client.RowRange{}, func(client.Row) bool { n++; return n < 2 }); err != nil || n != 2 {
			t.Errorf("read %d rows, %v", n, err)
		}
		samples, err := tbl.SampleRowKeys(ctx)
		if err != nil || len(samples) != 3 || samples[0].Key != "c" || samples[2].Key != "" || samples[2].Offset == 0 {
			t.Errorf("%+v, %v", samples, err)
		}
	})
}

func TestMutations(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx)
		apply := func(want string, f func(*client.Mutation)) {
			t.Helper()
			m := client.NewMutation()
			f(m)
			if err := tbl.Apply(ctx, "r", m); err != nil {
				t.Fatal(err)
			}
			row, err := tbl.ReadRow(ctx, "r")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range row.Cells {
				got = append(got, fmt.Sprintf("%s:%s@%d=%s", c.Family, c.Column, c.Timestamp, c.Value))
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%q, want %q", s, want)
			}
		}
		apply("f:a@3000=3 f:a@2000=2 f:a@1000=1 f:b@1000=x g:@0=", func(m *client.Mutation) {
			m.Set("f", "a", 1000, []byte("1"))
			m.Set("f", "a", 2000, []byte("2"))
			m.Set("f", "a", 3000, []byte("3"))
			m.Set("f", "b", 1000, []byte("x"))
			m.Set("g", "", 0, nil)
		})
		apply("f:a@3000=3 f:a@1000=1 f:b@1000=x g:@0=", func(m *client.Mutation) { m.DeleteTimestampRange("f", "a", 2000, 3000) })
		apply("f:b@1000=x g:@0=", func(m *client.Mutation) { m.DeleteCellsInColumn("f", "a") })
		apply("g:@0=", func(m *client.Mutation) { m.DeleteCellsInFamily("f") })
		apply("g:@0=\x00\x00\x00\x00\x00\x00\x00\x07", func(m *client.Mutation) { m.AddIntToCell("g", "", 0, 7) })
		apply("f:q@5000=v", func(m *client.Mutation) { m.DeleteRow(); m.Set("f", "q", 5000, []byte("v")) })

		var matched bool
		cond := client.NewCondMutation(client.PassAllFilter(), cell("q", "yes", 6000), cell("q", "no", 6000))
		if err := tbl.Apply(ctx, "r", cond, client.GetCondMutationResult(&matched)); err != nil || !matched {
			t.Errorf("%v, %v", matched, err)
		}
		if err := tbl.Apply(ctx, "other", cond, client.GetCondMutationResult(&matched)); err != nil || matched {
			t.Errorf("%v, %v", matched, err)
		}
		rmw := client.NewReadModifyWrite()
		rmw.AppendValue("f", "q", []byte("!"))
		rmw.Increment("f", "n", 5)
		row, err := tbl.ApplyReadModifyWrite(ctx, "r", rmw)
		v, _ := row.Value("f", "q")
		n, _ := row.Value("f", "n")
		if err != nil || string(v) != "yes!" || binary.BigEndian.Uint64(n) != 5 {
			t.Errorf("%+v, %v", row, err)
		}
	})
}

func TestErrors(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx)
		bad := client.NewCondMutation(client.PassAllFilter(), nil, nil)
		bad.DeleteRow()
		none := client.NewMutation()
		none.Set("none", "q", 0, nil)
		for i, c := range []struct{ err, want error }{
			{x.client.Open("none").Apply(ctx, "r", cell("q", "v", 0)), client.ErrNotFound},
			{tbl.Apply(ctx, "r", none), client.ErrFamilyNotFound},
			{tbl.Apply(ctx, "", cell("q", "v", 0)), client.ErrInvalid},
			{tbl.Apply(ctx, "r", bad), client.ErrInvalid},
			{x.client.Admin().CreateTable(ctx, "t"), client.ErrExists},
			{x.client.Admin().CreateTable(ctx, "bad table id"), client.ErrInvalid},
			{x.client.Admin().DeleteTable(ctx, "none"), client.ErrNotFound},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("case %d: %v", i, c.err)
			}
		}
		errs, err := tbl.ApplyBulk(ctx, []string{"a", "b", "c"}, []*client.Mutation{cell("q", "v", 0), none, cell("q", "v", 0)})
		if err != nil || errs[0] != nil || !errors.Is(errs[1], client.ErrFamilyNotFound) || errs[2] != nil {
			t.Errorf("%v, %v", errs, err)
		}
		if _, err := client.Open(ctx, client.Config{}); !errors.Is(err, client.ErrInvalid) {
			t.Error(err)
		}
	})
}

func TestAdmin(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx, "b")
		a := x.client.Admin()
		if err := errors.Join(
			a.CreateTable(ctx, "s"),
			a.CreateColumnFamilyFromConf(ctx, "t", client.Family{Name: "sum", Sum: true}),
			a.SetGCPolicy(ctx, "t", "f", client.UnionPolicy(client.MaxVersionsPolicy(2), client.MaxAgePolicy(time.Hour))),
			a.DeleteColumnFamily(ctx, "t", "g"),
		); err != nil {
			t.Fatal(err)
		}
		info, err := a.TableInfo(ctx, "t")
		if err != nil || len(info.Families) != 2 || info.Families[0].GC.String() == "" || !info.Families[1].Sum {
			t.Errorf("%+v, %v", info, err)
		}
		for _, r := range []string{"a1", "a2", "b1", "b2"} {
			if err := tbl.Apply(ctx, r, cell("q", "v", 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.DropRowRange(ctx, "t", "a"); err != nil {
			t.Error(err)
		}
		if k := x.keys(ctx, tbl, client.RowRange{}); !slices.Equal(k, []string{"b1", "b2"}) {
			t.Errorf("%q are left", k)
		}
		if err := a.DropAllRows(ctx, "t"); err != nil || len(x.keys(ctx, tbl, client.RowRange{})) > 0 {
			t.Error(err)
		}
		if err := a.DeleteTable(ctx, "s"); err != nil {
			t.Error(err)
		}
		if names, err := a.Tables(ctx); err != nil || !slices.Equal(names, []string{"t"}) {
			t.Errorf("%q, %v", names, err)
		}
	})
}

func TestFamilyStorage(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		x.table(ctx)
		a := x.client.Admin()
		big := client.Storage{LocalityGroup: "big", Compression: client.Zstd, Bloom: client.BloomRow}
		hot := client.Storage{LocalityGroup: "hot", InMemory: true}
		if err := errors.Join(
			a.CreateTableFromConf(ctx, &client.TableConf{Table: "s", Families: []client.Family{{Name: "body", Storage: big}, {Name: "plain"}}}),
			a.CreateColumnFamilyFromConf(ctx, "s", client.Family{Name: "flags", Storage: hot}),
			a.SetFamilyStorage(ctx, "s", "plain", client.Storage{LocalityGroup: "hot", InMemory: true, Compression: client.NoCompression}),
		); err != nil {
			t.Fatal(err)
		}
		got, err := a.FamilyStorage(ctx, "s")
		want := map[string]client.Storage{"body": big, "flags": hot, "plain": {LocalityGroup: "hot", InMemory: true, Compression: client.NoCompression}}
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if _, err := a.FamilyStorage(ctx, "missing"); !errors.Is(err, client.ErrNotFound) {
			t.Error(err)
		}
		if err := a.SetFamilyStorage(ctx, "s", "body", client.Storage{Compression: 99}); !errors.Is(err, client.ErrInvalid) {
			t.Error(err)
		}
	})
}

func TestScanIsResumed(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx, "m")
		var want []string
		for c := 'a'; c <= 'z'; c++ {
			want = append(want, string(c))
			m := cell("p", "1", 0)
			m.Set("f", "q", 0, []byte("2"))
			if err := tbl.Apply(ctx, string(c), m); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for _, s := range x.servers {
			s.SetFrames(2, 3)
			s.SetFault(tabletstest.Fault{Frame: func(tabletstest.Op) error {
				if n++; n%4 == 0 {
					return base.ErrUnavailable
				}
				return nil
			}})
		}
		if got := x.keys(ctx, tbl, client.RowRange{}); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		slices.Reverse(want)
		if got := x.keys(ctx, tbl, client.RowRange{}, client.ReverseScan(), client.LimitRows(20)); !slices.Equal(got, want[:20]) {
			t.Errorf("%q", got)
		}
	})
}

// slow makes each write take a while.
func (x *fixture) slow(d time.Duration) {
	for _, s := range x.servers {
		s.SetFault(tabletstest.Fault{Before: func(tabletstest.Op) error { time.Sleep(d); return nil }})
	}
}

func TestCoalescing(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx)
		if err := tbl.Apply(ctx, "first", cell("q", "v", 0)); err != nil {
			t.Fatal(err)
		}
		x.slow(10 * time.Millisecond)
		x.servers[0].Calls("MutateRow")
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				m := cell("q", "v", client.ServerTime)
				if i%100 == 7 {
					m.Set("none", "q", 0, nil)
				}
				err := tbl.Apply(ctx, fmt.Sprintf("r%03d", i), m)
				if want := i%100 == 7; errors.Is(err, client.ErrFamilyNotFound) != want || err != nil && !want {
					t.Errorf("row %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := x.servers[0].Calls("MutateRow") + x.servers[0].Calls("MutateRows"); n > 6 {
			t.Errorf("500 writes at the same time were sent in %d requests", n)
		}
		if n := len(x.keys(ctx, tbl, client.PrefixRange("r"))); n != 495 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestCoalescingHonoursDeadlines(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx)
		if err := tbl.Apply(ctx, "first", cell("q", "v", 0)); err != nil {
			t.Fatal(err)
		}
		x.slow(10 * time.Second)
		var wg sync.WaitGroup
		for i := range 2 { // these fill the lane
			wg.Go(func() { tbl.Apply(ctx, fmt.Sprint("slow", i), cell("q", "v", 0)) })
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		err := tbl.Apply(short, "queued", cell("q", "v", 0))
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnknownOutcome) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		wg.Wait()
		x.slow(0)
		if row, err := tbl.ReadRow(ctx, "queued"); err != nil || row.Exists() {
			t.Errorf("a write that was given up before it was sent: %+v, %v", row, err)
		}
	})
}

func TestBulkWriter(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx, "r2", "r4", "r6")
		x.slow(3 * time.Millisecond)
		var mu sync.Mutex
		done := map[string]int{}
		w := tbl.NewBulkWriter(client.BulkOptions{BytesInFlight: 10_000, BatchEntries: 20, Done: func(row string, err error) {
			mu.Lock()
			defer mu.Unlock()
			done[row]++
		}})
		if err := w.Flush(ctx); err != nil {
			t.Error(err)
		}
		for n := range 1000 {
			if err := w.Add(ctx, fmt.Sprintf("r%d", n%8), cell("q", fmt.Sprint(n), 1000)); err != nil {
				t.Fatal(err)
			}
			switch n {
			case 300:
				x.Split(x.TabletOf(1, "r0"), "r1") // the only table
			case 600:
				x.Move(x.TabletOf(1, "r5"), x.servers[0])
			}
		}
		bad := client.NewMutation()
		bad.Set("none", "q", 0, nil)
		if err := w.Add(ctx, "bad", bad); err != nil {
			t.Fatal(err)
		}
		err := w.Flush(ctx)
		var be *client.BulkError
		if !errors.As(err, &be) || be.Failed != 1 || !errors.Is(err, client.ErrFamilyNotFound) {
			t.Errorf("%v", err)
		}
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := w.Add(ctx, "r", bad); !errors.Is(err, client.ErrPrecondition) {
			t.Errorf("a closed writer: %v", err)
		}
		for i := range 8 {
			key := fmt.Sprintf("r%d", i)
			row, err := tbl.ReadRow(ctx, key)
			if v, _ := row.Value("f", "q"); err != nil || string(v) != fmt.Sprint(992+i) || done[key] != 125 {
				t.Errorf("row %s: the last value is %s, written %d times, %v", key, v, done[key], err)
			}
		}
	})
}

func TestBulkWriterBackPressure(t *testing.T) {
	inBubble(t, client.Options{}, func(ctx context.Context, x *fixture) {
		tbl := x.table(ctx)
		x.slow(time.Second)
		w := tbl.NewBulkWriter(client.BulkOptions{BytesInFlight: 1000})
		value := strings.Repeat("x", 400)
		began := time.Now()
		for i := range 10 {
			if err := w.Add(ctx, fmt.Sprint(i), cell("q", value, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 4*time.Second {
			t.Errorf("ten rows, two of which fit, took %v to add", d)
		}
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if err := w.Add(short, "a", cell("q", value, 0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if err := w.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close in time: %v", err)
		}
	})
}
