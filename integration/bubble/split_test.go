package bubble

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// small are options under which a test's table is large.
func small(c *cluster.Config) {
	c.Master = master.Options{BalanceInterval: time.Second, Balance: balance.Options{
		SplitBytes: 256 << 10, SplitRequests: 60, MergeAge: 2 * time.Minute, MergeAbove: 1,
	}}
	c.Tablet.Tablet.MemtableBytes = 64 << 10
	c.Tablet.Tablet.BlockBytes = 4 << 10
	c.Tablet.Tablet.NoCompression = true
}

// bounds are the ends of the table's tablets, and what SampleRowKeys says they
// are.
func (w *world) bounds() (ends, sampled []string) {
	w.t.Helper()
	for _, t := range w.records() {
		ends = append(ends, string(t.End))
	}
	st, err := w.data.SampleRowKeys(w.ctx, &bigtablepb.SampleRowKeysRequest{TableName: table})
	w.must(err)
	for {
		r, err := st.Recv()
		if err == io.EOF {
			return ends, sampled
		}
		w.must(err)
		sampled = append(sampled, string(r.RowKey))
	}
}

// TestGrowingTableIsSplit: the master splits tablets as they grow and spreads
// them, and merges them when the data has gone. Nothing of it is seen from
// outside, but for SampleRowKeys.
func TestGrowingTableIsSplit(t *testing.T) {
	inWorldWith(t, small, func(w *world) {
		value := strings.Repeat("v", 4000)
		want := map[string]string{}
		for i := range 800 {
			row := "a" + name(i*7919%800)
			w.must(w.put(time.Minute, row, value))
			want[row] = value
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		list := w.records()
		if len(list) < 12 {
			t.Errorf("%d tablets of 3 MiB", len(list))
		}
		got, err := w.rows(time.Minute)
		w.must(err)
		if len(got) != len(want) {
			t.Errorf("%d rows, want %d", len(got), len(want))
		}
		w.verify()
		w.check()
		ends, sampled := w.bounds()
		for _, e := range ends {
			if !slices.Contains(sampled, e) {
				t.Errorf("SampleRowKeys does not tell the end %q: %q", e, sampled)
			}
		}
		if n := w.owned(); n["tablet1"] == 0 || n["tablet2"] == 0 || n["tablet3"] == 0 {
			t.Errorf("the tablets are at %v", n)
		}
		if why := list[1].Why; why == "" {
			t.Error("no reason is given")
		}

		for row := range want {
			_, err := w.data.MutateRow(w.ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte(row), Mutations: []*bigtablepb.Mutation{
				{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}}})
			w.must(err)
		}
		clear(w.written)
		w.compact()
		w.until(30*time.Minute, "tablets are merged", func() bool { return len(w.records()) <= 4 })
		time.Sleep(10 * time.Minute)
		before := w.records()
		if len(before) < 3 {
			t.Errorf("%d tablets are left for 3 servers", len(before))
		}
		w.must(w.put(time.Minute, "b", "still here"))
		w.verify()
		w.check()
	})
}

// compact compacts all tablets.
func (w *world) compact() {
	w.t.Helper()
	for _, n := range w.c.TabletServers() {
		_, err := n.Server().Control().Compact(w.ctx, &controlpb.CompactRequest{})
		w.must(err)
	}
}

// TestHotTabletIsSplit: a range of rows gets all requests; its tablet is split
// where they are, again and again, and the parts go to several servers. One hot
// row is left alone.
func TestHotTabletIsSplit(t *testing.T) {
	inWorldWith(t, small, func(w *world) {
		ctx, cancel := context.WithTimeout(w.ctx, 100*time.Second)
		defer cancel()
		done := make(chan struct{})
		for c := range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for i := c; ctx.Err() == nil; i++ {
					row := fmt.Appendf(nil, "b%03d", i*37%500)
					if c == 3 {
						row = []byte("e-hot")
					}
					_, err := w.data.MutateRow(w.ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: row, Mutations: []*bigtablepb.Mutation{{
						Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{FamilyName: "cf", ColumnQualifier: []byte("q"), TimestampMicros: 1000, Value: []byte("v")}}}}})
					if err != nil {
						t.Errorf("row %s: %v", row, err)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
		}
		for range 4 {
			<-done
		}
		owners := map[string]int{}
		hot := 0
		for _, tb := range w.records() {
			if bytes.HasPrefix(tb.End, []byte("b")) || string(tb.Start) == "b" {
				owners[tb.Owner.String()]++
			}
			if tb.Contains([]byte("e-hot")) && string(tb.Start) == "e" && string(tb.End) == "f" {
				hot++
			}
		}
		if len(owners) < 2 || hot != 1 {
			t.Errorf("the hot range is at %v; the tablet of the hot row was left alone: %v", owners, hot == 1)
		}
		var tablet meta.Tablet
		for _, tb := range w.records() {
			if tb.Contains([]byte("e-hot")) {
				tablet = tb
			}
		}
		op := w.operator()
		defer op.Close()
		w.must(op.Call(w.ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			r, err := m.Explain(ctx, &controlpb.ExplainRequest{Tablet: uint64(tablet.ID)})
			if err == nil && !slices.ContainsFunc(r.Decisions, func(d *controlpb.Decision) bool { return strings.Contains(d.Outcome, "e-hot") }) {
				t.Errorf("that one row is hot is not explained: %v", r.Decisions)
			}
			return err
		}))
		w.check()
	})
}
