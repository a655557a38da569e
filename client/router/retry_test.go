package router_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/internal/base"
)

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
		if err := x.write(ctx, "s", set("q", "v", -1)); err != nil || x.servers[0].Calls("MutateRow") != 2 {
			x.Errorf("a cell with the server's timestamp: %v", err)
		}
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "s")
		lost = 0
		inc := marshal(x, &bigtablepb.ReadModifyWriteRowRequest{RowKey: []byte("n"), Rules: []*bigtablepb.ReadModifyWriteRule{
			{FamilyName: "f", ColumnQualifier: []byte("n"), Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: 1}}}})
		for want := byte(1); want < 4; want++ {
			raw, err := x.r.ReadModifyWriteRow(ctx, x.name, []byte("n"), inc)
			var resp bigtablepb.ReadModifyWriteRowResponse
			if err == nil {
				err = proto.Unmarshal(raw, &resp)
			}
			if err != nil || resp.Row.Families[0].Columns[0].Cells[0].Value[7] != want {
				x.Errorf("increment %d: %v, %v", want, &resp, err)
			}
		}
		if n := x.servers[0].Calls("ReadModifyWriteRow"); n != 6 {
			x.Errorf("3 increments were sent %d times", n)
		}
		check := marshal(x, &bigtablepb.CheckAndMutateRowRequest{RowKey: []byte("c"), FalseMutations: []*bigtablepb.Mutation{set("q", "v", 1000)}})
		if matched, err := x.r.CheckAndMutateRow(ctx, x.name, []byte("c"), check); err != nil || matched || x.servers[0].Calls("CheckAndMutateRow") != 2 {
			x.Errorf("matched %v, %v: the first attempt made the row", matched, err)
		}
	})
}

// TestRepeatsEnd: what must not be applied twice is sent again for a while only,
// however patient the caller is, for it is not remembered for ever.
func TestRepeatsEnd(t *testing.T) {
	inBubble(t, 1, nil, func(x *fixture) {
		x.fill("a")
		x.servers[0].SetFault(tabletstest.Fault{Before: func(tabletstest.Op) error { return base.ErrUnavailable }})
		began := time.Now()
		if err := x.write(within(time.Hour), "a", set("q", "v", -1)); !errors.Is(err, base.ErrUnknownOutcome) {
			x.Error(err)
		}
		if d := time.Since(began); d > base.SystemRetention/2 {
			x.Errorf("gave up after %v", d)
		}
		began = time.Now()
		entry := marshal(x, &bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("b"), Mutations: []*bigtablepb.Mutation{set("q", "1", -1)}})
		if errs, err := x.r.MutateRows(within(time.Hour), x.name, [][]byte{entry}); err != nil || !errors.Is(errs[0], base.ErrUnknownOutcome) {
			x.Error(errs, err)
		}
		if d := time.Since(began); d > base.SystemRetention/2 {
			x.Errorf("gave up after %v", d)
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
		if n := x.servers[0].Calls("MutateRow"); n > 2001 {
			x.Errorf("1000 requests became %d", n)
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
		if err != nil || errs != nil {
			x.Errorf("%v, %v", errs, err)
		}
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "b")
		if n := x.servers[0].Calls("MutateRows"); n != 2 {
			x.Errorf("sent %d times", n)
		}
	})
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
