package router_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
)

// fixture is a cluster, a router and a table "t".
type fixture struct {
	*testing.T
	*tabletstest.Cluster
	servers []*tabletstest.Server
	r       *router.Router
	table   meta.Table
	name    []byte
}

// inBubble runs f on a table with the splits, over that many servers, called
// over gRPC.
func inBubble(t *testing.T, servers int, splits []string, f func(*fixture)) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, Cluster: tabletstest.New(t), name: []byte(tabletstest.TableName("t"))}
		defer x.Cluster.Close()
		for i := range servers {
			x.servers = append(x.servers, x.AddServer(fmt.Sprintf("server%d", i), nil))
		}
		x.table = x.CreateTable("t", splits, x.servers...)
		x.r = router.New(router.Config{Meta: x.Meta, Network: x.Net.Node("client")})
		defer x.r.Close()
		f(x)
	})
}

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func set(qualifier, value string, ts int64) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: "f", ColumnQualifier: []byte(qualifier), TimestampMicros: ts, Value: []byte(value),
	}}}
}

func (x *fixture) write(ctx context.Context, row string, ms ...*bigtablepb.Mutation) error {
	if ms == nil {
		ms = []*bigtablepb.Mutation{set("q", row, 1000)}
	}
	return x.r.MutateRow(ctx, x.name, []byte(row),
		marshal(x, &bigtablepb.MutateRowRequest{TableName: string(x.name), RowKey: []byte(row), Mutations: ms}))
}

func (x *fixture) fill(rows ...string) {
	x.Helper()
	for _, r := range rows {
		if err := x.write(within(time.Minute), r); err != nil {
			x.Fatal(err)
		}
	}
}

// read returns the keys of the rows and what the client saw of resets.
func (x *fixture) read(ctx context.Context, req *bigtablepb.ReadRowsRequest) (rows []string, resets int, stats *bigtablepb.RequestStats, err error) {
	raw := marshal(x, req)
	p, err := router.ParseReadRows(raw)
	if err != nil {
		return nil, 0, nil, err
	}
	cur := ""
	err = x.r.ReadRows(ctx, x.name, p.Scan, raw, func(b mem.Buffer) error {
		defer b.Free()
		var resp bigtablepb.ReadRowsResponse
		if err := proto.Unmarshal(b.ReadOnlyData(), &resp); err != nil {
			return err
		}
		if stats != nil {
			return errors.New("frame after the statistics")
		}
		stats = resp.RequestStats
		for _, c := range resp.Chunks {
			if len(c.RowKey) > 0 {
				if cur != "" {
					return fmt.Errorf("row %q began within row %q", c.RowKey, cur)
				}
				cur = string(c.RowKey)
			}
			switch {
			case c.GetResetRow():
				resets++
				cur = ""
			case c.GetCommitRow():
				rows = append(rows, cur)
				cur = ""
			}
		}
		return nil
	})
	return rows, resets, stats, err
}

func (x *fixture) expect(req *bigtablepb.ReadRowsRequest, want ...string) {
	x.Helper()
	got, _, _, err := x.read(within(time.Minute), req)
	if err != nil || !slices.Equal(got, want) {
		x.Fatalf("%v: read %q, %v; want %q", req, got, err, want)
	}
}

func TestOverManyTablets(t *testing.T) {
	inBubble(t, 3, []string{"b", "d", "f"}, func(x *fixture) {
		x.fill("a", "b", "c", "d", "e", "f", "g")
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "b", "c", "d", "e", "f", "g")
		x.expect(&bigtablepb.ReadRowsRequest{Reversed: true}, "g", "f", "e", "d", "c", "b", "a")
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: 4}, "a", "b", "c", "d")
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: 4, Reversed: true}, "g", "f", "e", "d")
		some := &bigtablepb.RowSet{
			RowKeys:   [][]byte{[]byte("g"), []byte("a"), []byte("x")},
			RowRanges: []*bigtablepb.RowRange{{StartKey: &bigtablepb.RowRange_StartKeyOpen{StartKeyOpen: []byte("c")}, EndKey: &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte("f")}}},
		}
		x.expect(&bigtablepb.ReadRowsRequest{Rows: some}, "a", "d", "e", "g")
		x.expect(&bigtablepb.ReadRowsRequest{Rows: some, Reversed: true}, "g", "e", "d", "a")
		x.expect(&bigtablepb.ReadRowsRequest{Rows: some, RowsLimit: 3}, "a", "d", "e")

		_, _, stats, err := x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{RequestStatsView: bigtablepb.ReadRowsRequest_REQUEST_STATS_FULL})
		if n := stats.GetFullReadStatsView().GetReadIterationStats().GetRowsReturnedCount(); err != nil || n != 7 {
			x.Errorf("statistics of %d rows, %v", n, err)
		}
	})
}

func TestTabletsOutsideTheRowsAreNotAsked(t *testing.T) {
	inBubble(t, 1, []string{"b", "d", "f"}, func(x *fixture) {
		x.fill("a", "c", "e", "g")
		x.expect(&bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("a"), []byte("g")}}}, "a", "g")
		if n := x.servers[0].Calls("ReadRows"); n != 2 {
			x.Errorf("%d tablets were asked", n)
		}
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: 2}, "a", "c")
		if n := x.servers[0].Calls("ReadRows"); n != 2 {
			x.Errorf("with a limit, %d tablets were asked", n)
		}
	})
}

func TestFollowsMovesAndSplits(t *testing.T) {
	inBubble(t, 2, []string{"m"}, func(x *fixture) {
		x.fill("a", "k", "p", "z")
		left := x.TabletOf(x.table.ID, "a")
		x.Move(left, x.servers[1])
		x.fill("b")
		a, _ := x.Split(left, "h")
		x.fill("c", "i")
		x.Move(a, x.servers[0])
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "b", "c", "i", "k", "p", "z")
		x.Merge(x.TabletOf(x.table.ID, "h"), x.TabletOf(x.table.ID, "z"))
		x.expect(&bigtablepb.ReadRowsRequest{Reversed: true}, "z", "p", "k", "i", "c", "b", "a")
		x.fill("n")
		if s := x.r.Stats(); s.Redirects == 0 || s.Tablets != 2 {
			x.Errorf("%+v", s)
		}
	})
}

func TestHeldUntilServed(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		tb := x.Stop(x.TabletOf(x.table.ID, "a"))
		errs := make(chan error)
		for i := range 100 {
			go func() { errs <- x.write(within(20*time.Second), fmt.Sprint("r", i)) }()
		}
		time.Sleep(7 * time.Second)
		lookups := x.r.Stats().Lookups
		if lookups > 60 {
			x.Errorf("%d look-ups for 100 requests that wait for 7 s", lookups)
		}
		tb = x.Assign(tb, x.servers[0])
		time.Sleep(3 * time.Second)
		began := time.Now()
		x.Serve(tb, x.servers[0])
		for range 100 {
			if err := <-errs; err != nil {
				x.Fatal(err)
			}
		}
		if d := time.Since(began); d > 50*time.Millisecond {
			x.Errorf("noticed %v after the tablet was served", d)
		}
	})
}

func TestHeldWithoutAWatch(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		// The record says that it is served, the server does not know yet: no
		// event will tell.
		tb := x.TabletOf(x.table.ID, "a")
		x.servers[0].Forget(tb.ID)
		done := make(chan error)
		go func() { done <- x.write(within(20*time.Second), "b") }()
		time.Sleep(3 * time.Second)
		began := time.Now()
		tb.Epoch--
		x.Serve(tb, x.servers[0])
		if err := <-done; err != nil || time.Since(began) > 300*time.Millisecond {
			x.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDeadlineNamesTheTablet(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		tb := x.Assign(x.Stop(x.TabletOf(x.table.ID, "a")), x.servers[0])
		time.Sleep(time.Second)
		began := time.Now()
		err := x.write(within(3*time.Second), "b")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			x.Fatalf("%v after %v", err, time.Since(began))
		}
		for _, part := range []string{fmt.Sprint("tablet ", tb.ID), "loading", "server0", "for 4s now"} {
			if !strings.Contains(err.Error(), part) {
				x.Errorf("%q is missing in %q", part, err)
			}
		}
	})
}

func TestDefaultDeadline(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.Stop(x.TabletOf(x.table.ID, "a"))
		began := time.Now()
		if err := x.write(context.Background(), "b"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			x.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

func TestUnknownOutcome(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		lost := 0
		x.servers[0].SetFault(tabletstest.Fault{After: func(tabletstest.Op) error {
			if lost++; lost%2 == 1 {
				return base.ErrUnavailable // applied, but the reply is lost
			}
			return nil
		}})
		ctx := within(time.Minute)
		if err := x.write(ctx, "a"); err != nil || x.servers[0].Calls("MutateRow") != 2 {
			x.Errorf("a cell with a timestamp: %v", err)
		}
		if err := x.write(ctx, "a", set("q", "v", -1)); !errors.Is(err, base.ErrUnknownOutcome) || x.servers[0].Calls("MutateRow") != 1 {
			x.Errorf("a cell with the server's timestamp: %v", err)
		}
		lost = 0
		inc := marshal(x, &bigtablepb.ReadModifyWriteRowRequest{RowKey: []byte("n"), Rules: []*bigtablepb.ReadModifyWriteRule{
			{FamilyName: "f", ColumnQualifier: []byte("n"), Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: 1}}}})
		if _, err := x.r.ReadModifyWriteRow(ctx, x.name, []byte("n"), inc); !errors.Is(err, base.ErrUnknownOutcome) {
			x.Errorf("an increment: %v", err)
		}
		if n := x.servers[0].Calls("ReadModifyWriteRow"); n != 1 {
			x.Errorf("an increment was sent %d times", n)
		}
	})
}

func TestNotServingHidesFromEveryKindOfWrite(t *testing.T) {
	inBubble(t, 2, nil, func(x *fixture) {
		x.fill("a")
		for i, do := range []func(context.Context) error{
			func(ctx context.Context) error { return x.write(ctx, "a", set("q", "v", -1)) },
			func(ctx context.Context) error {
				_, err := x.r.CheckAndMutateRow(ctx, x.name, []byte("a"), marshal(x, &bigtablepb.CheckAndMutateRowRequest{
					RowKey: []byte("a"), TrueMutations: []*bigtablepb.Mutation{set("q", "v", -1)}}))
				return err
			},
			func(ctx context.Context) error {
				_, err := x.r.ReadModifyWriteRow(ctx, x.name, []byte("a"), marshal(x, &bigtablepb.ReadModifyWriteRowRequest{
					RowKey: []byte("a"), Rules: []*bigtablepb.ReadModifyWriteRule{{FamilyName: "f", Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("x")}}}}))
				return err
			},
		} {
			tb := x.Stop(x.TabletOf(x.table.ID, "a"))
			time.AfterFunc(2*time.Second, func() { x.Serve(tb, x.servers[i%2]) })
			if err := do(within(10 * time.Second)); err != nil {
				x.Error(err)
			}
		}
	})
}

func TestServerCrash(t *testing.T) {
	inBubble(t, 2, []string{"m"}, func(x *fixture) {
		x.fill("a", "z")
		tb := x.TabletOf(x.table.ID, "a")
		x.servers[0].Stop()
		time.AfterFunc(5*time.Second, func() { x.Move(tb, x.servers[1]) })
		// Nothing was sent to a server that refuses connections, so even this
		// write is safe to hold.
		if err := x.write(within(20*time.Second), "a", set("q", "v", -1)); err != nil {
			x.Fatal(err)
		}
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "z")
		time.Sleep(3 * time.Minute)
		if s := x.r.Stats(); s.Servers != 1 {
			x.Errorf("connections to %d servers, of which 1 runs", s.Servers)
		}
	})
}

func TestOverload(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		n := 0
		x.servers[0].SetFault(tabletstest.Fault{Before: func(tabletstest.Op) error {
			if n++; n <= 2 {
				return &base.OverloadError{After: 2 * time.Second, Reason: "too much"}
			}
			return nil
		}})
		began := time.Now()
		if err := x.write(within(10*time.Second), "b", set("q", "v", -1)); err != nil {
			x.Fatal(err)
		}
		if d := time.Since(began); d < 3*time.Second || d > 6*time.Second {
			x.Errorf("took %v", d)
		}
		n, began = 0, time.Now()
		if err := x.write(within(time.Second), "b"); !errors.Is(err, base.ErrOverloaded) || time.Since(began) > 0 {
			x.Errorf("a caller with less patience than the server asks for got %v after %v", err, time.Since(began))
		}
	})
}

func TestRetryBudget(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		x.servers[0].SetFault(tabletstest.Fault{Before: func(tabletstest.Op) error { return base.ErrUnavailable }})
		x.servers[0].Calls("MutateRow")
		errs := make(chan error)
		for range 1000 {
			go func() { errs <- x.write(within(30*time.Second), "b") }()
		}
		for range 1000 {
			if err := <-errs; err == nil {
				x.Fatal("no error")
			}
		}
		if n := x.servers[0].Calls("MutateRow"); n > 1101 {
			x.Errorf("1000 requests became %d", n)
		}
	})
}

func TestTables(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		if err := x.r.MutateRow(within(time.Second), []byte(tabletstest.TableName("none")), []byte("a"), nil); !errors.Is(err, base.ErrNotFound) {
			x.Errorf("write to a table that does not exist: %v", err)
		}
		x.DropTable(x.table)
		if err := x.write(within(5*time.Second), "b"); !errors.Is(err, base.ErrNotFound) {
			x.Errorf("write to a deleted table: %v", err)
		}
		x.table = x.CreateTable("t", nil, x.servers...)
		x.fill("b")
		x.expect(&bigtablepb.ReadRowsRequest{}, "b")

		// Deleted and made anew while a request waits.
		x.Stop(x.TabletOf(x.table.ID, "b"))
		done := make(chan error)
		go func() { done <- x.write(within(time.Minute), "c") }()
		time.Sleep(10 * time.Second)
		x.DropTable(x.table)
		x.table = x.CreateTable("t", []string{"c"}, x.servers...)
		if err := <-done; err != nil {
			x.Error(err)
		}
		x.expect(&bigtablepb.ReadRowsRequest{}, "c")
	})
}

func TestScanResumes(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		inBubble(t, 2, []string{"m"}, func(x *fixture) {
			var want []string
			for c := 'a'; c <= 'z'; c++ {
				want = append(want, string(c))
				if err := x.write(within(time.Minute), string(c), set("p", "1", 1000), set("q", "2", 1000), set("r", "3", 1000)); err != nil {
					x.Fatal(err)
				}
			}
			if reversed {
				slices.Reverse(want)
			}
			n := 0
			for _, s := range x.servers {
				s.SetFrames(2, 2) // rows are cut
				s.SetFault(tabletstest.Fault{Frame: func(op tabletstest.Op) error {
					if n++; n%5 != 0 {
						return nil
					}
					if n == 20 {
						tb := x.TabletOf(x.table.ID, "a")
						x.Split(tb, "c")
						x.Move(tb, x.servers[1])
					}
					return base.ErrUnavailable
				}})
			}
			rows, resets, _, err := x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{Reversed: reversed})
			if err != nil || !slices.Equal(rows, want) || resets == 0 {
				x.Errorf("read %q, %d resets, %v", rows, resets, err)
			}
			rows, _, _, err = x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{Reversed: reversed, RowsLimit: 17})
			if err != nil || !slices.Equal(rows, want[:17]) {
				x.Errorf("with a limit: %q, %v", rows, err)
			}
		})
	}
}

func TestMutateRows(t *testing.T) {
	inBubble(t, 3, []string{"c", "e", "g"}, func(x *fixture) {
		var entries [][]byte
		entry := func(row string, ms ...*bigtablepb.Mutation) {
			entries = append(entries, marshal(x, &bigtablepb.MutateRowsRequest_Entry{RowKey: []byte(row), Mutations: ms}))
		}
		rows := strings.Split("a b c d e f g h", " ")
		for _, r := range rows {
			entry(r, set("q", "1", 1000))
			entry(r, set("q", "2", 1000)) // after the first
		}
		entry("", set("q", "1", 1000))
		bad := set("q", "1", 1000)
		bad.GetSetCell().FamilyName = "none"
		entry("b", bad)
		tb := x.Stop(x.TabletOf(x.table.ID, "d"))
		time.AfterFunc(2*time.Second, func() { x.Serve(tb, x.servers[0]) })
		x.servers[2].Stop()
		time.AfterFunc(3*time.Second, func() { x.Move(x.TabletOf(x.table.ID, "e"), x.servers[1]) })
		errs, err := x.r.MutateRows(within(time.Minute), x.name, entries)
		if err != nil {
			x.Fatal(err)
		}
		for i, err := range errs {
			switch {
			case i == len(entries)-2:
				if !errors.Is(err, base.ErrInvalid) {
					x.Errorf("empty row key: %v", err)
				}
			case i == len(entries)-1:
				if !errors.Is(err, base.ErrFamilyNotFound) {
					x.Errorf("unknown family: %v", err)
				}
			case err != nil:
				x.Errorf("entry %d: %v", i, err)
			}
		}
		x.expect(&bigtablepb.ReadRowsRequest{}, rows...)
		if _, err := x.r.MutateRows(within(time.Second), []byte(tabletstest.TableName("none")), entries); !errors.Is(err, base.ErrNotFound) {
			x.Errorf("unknown table: %v", err)
		}
	})
}

func TestMutateRowsUnknownOutcome(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		lost := false
		x.servers[0].SetFault(tabletstest.Fault{After: func(tabletstest.Op) error {
			if !lost {
				lost = true
				return base.ErrUnavailable
			}
			return nil
		}})
		errs, err := x.r.MutateRows(within(time.Minute), x.name, [][]byte{
			marshal(x, &bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("a"), Mutations: []*bigtablepb.Mutation{set("q", "1", 1000)}}),
			marshal(x, &bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("b"), Mutations: []*bigtablepb.Mutation{set("q", "1", -1)}}),
		})
		if err != nil || errs[0] != nil || !errors.Is(errs[1], base.ErrUnknownOutcome) {
			x.Errorf("%v, %v", errs, err)
		}
	})
}

func TestSampleRowKeys(t *testing.T) {
	inBubble(t, 2, []string{"c", "e"}, func(x *fixture) {
		x.fill("a", "b", "d", "f")
		x.r.SampleRowKeys(within(time.Minute), x.name) // fills the cache
		x.Split(x.TabletOf(x.table.ID, "a"), "b")
		x.Merge(x.TabletOf(x.table.ID, "d"), x.TabletOf(x.table.ID, "f"))
		samples, err := x.r.SampleRowKeys(within(time.Minute), x.name)
		var got []string
		last := int64(0)
		for _, s := range samples {
			got = append(got, string(s.Key))
			if s.Offset < last {
				x.Errorf("offsets fall: %v", samples)
			}
			last = s.Offset
		}
		if err != nil || !slices.Equal(got, []string{"b", "c", ""}) || last == 0 {
			x.Errorf("%q, %v", got, err)
		}
	})
}

func TestLockServiceAway(t *testing.T) {
	inBubble(t, 1, []string{"m"}, func(x *fixture) {
		x.fill("a")
		x.LS.(interface{ Partition(bool) }).Partition(true)
		// Both tablets were read with the first look-up.
		x.fill("b", "z")
		x.LS.(interface{ Partition(bool) }).Partition(false)
	})
}

func TestPartition(t *testing.T) {
	inBubble(t, 2, nil, func(x *fixture) {
		x.fill("a")
		x.Net.Partition("client", "server0")
		tb := x.TabletOf(x.table.ID, "a")
		type result struct {
			err error
			at  time.Duration
		}
		began := time.Now()
		try := func(f func() error) chan result {
			ch := make(chan result, 1)
			go func() { err := f(); ch <- result{err, time.Since(began)} }()
			return ch
		}
		read := try(func() error {
			_, _, _, err := x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{})
			return err
		})
		write := try(func() error { return x.write(within(time.Minute), "b") })
		unsafe := try(func() error { return x.write(within(20*time.Second), "b", set("q", "v", -1)) })
		time.Sleep(5 * time.Second)
		x.Move(tb, x.servers[1])
		time.Sleep(2 * time.Second)
		if err := x.write(within(time.Second), "c", set("q", "v", -1)); err != nil {
			x.Errorf("a new write: %v", err)
		}
		for name, ch := range map[string]chan result{"read": read, "idempotent write": write} {
			if r := <-ch; r.err != nil || r.at > 8*time.Second {
				x.Errorf("%s: %v after %v", name, r.err, r.at)
			}
		}
		if r := <-unsafe; !errors.Is(r.err, base.ErrUnknownOutcome) {
			x.Errorf("a write that may have been applied: %v after %v", r.err, r.at)
		}
		x.Net.Join("client", "server0")
	})
}

func TestManyTabletsFailOver(t *testing.T) {
	var splits []string
	for i := 1; i < 500; i++ {
		splits = append(splits, fmt.Sprintf("%03d", i))
	}
	inBubble(t, 2, splits, func(x *fixture) {
		write := func(d time.Duration) {
			x.Helper()
			errs := make(chan error)
			for i := range 500 {
				go func() { errs <- x.write(within(d), fmt.Sprintf("%03d", i*7919%500)) }()
			}
			for range 500 {
				if err := <-errs; err != nil {
					x.Fatal(err)
				}
			}
		}
		write(time.Second)
		if s := x.r.Stats(); s.Lookups > 200 || s.Tablets != 500 {
			x.Errorf("cold: %+v", s)
		}
		before := x.r.Stats().Lookups
		// Half of the tablets lose their server, and come up elsewhere over
		// five seconds.
		x.servers[0].Stop()
		go func() {
			time.Sleep(10 * time.Second)
			for _, tb := range x.Tablets(x.table.ID) {
				if tb.OwnerAddress == "server0" {
					time.Sleep(20 * time.Millisecond)
					x.Serve(x.Stop(tb), x.servers[1])
				}
			}
		}()
		began := time.Now()
		write(20 * time.Second)
		if d := time.Since(began); d > 15500*time.Millisecond {
			x.Errorf("took %v", d)
		}
		x.Logf("%d look-ups in %v", x.r.Stats().Lookups-before, time.Since(began))
		if n := x.r.Stats().Lookups - before; n > 200 {
			x.Errorf("%d look-ups", n)
		}
	})
}
