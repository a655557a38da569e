package bubble

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

// TestHugeThroughClient: Google's Go client writes and reads an empty value, one
// of 100 MiB and a row of 240 MiB; a longer value, and a row that is longer than a
// message may be, are refused with the limit.
func TestHugeThroughClient(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred MiB")
	}
	rng := seedtest.New(t)
	value := make([]byte, 100<<20)
	for i := 0; i+8 <= len(value); i += 8 {
		x := rng.Uint64()
		for k := range 8 {
			value[i+k] = byte(x >> (8 * k))
		}
	}
	inWorldWith(t, func(c *cluster.Config) { c.TabletServers = 1 }, func(w *world) {
		ctx, cancel := context.WithTimeout(w.ctx, time.Hour)
		defer cancel()
		cl, err := bigtable.NewClientWithConfig(ctx, "p", "i", bigtable.ClientConfig{MetricsProvider: bigtable.NoopMetricsProvider{}}, option.WithGRPCConn(w.cc))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		tbl := cl.Open("t")
		set := func(row string, cells map[string][]byte) error {
			m := bigtable.NewMutation()
			for q, v := range cells {
				m.Set("cf", q, 1000, v)
			}
			return tbl.Apply(ctx, row, m)
		}
		check := func(row string, cells map[string][]byte) {
			t.Helper()
			r, err := tbl.ReadRow(ctx, row)
			if err != nil {
				t.Fatalf("read %s: %v", row, err)
			}
			if len(r["cf"]) != len(cells) {
				t.Fatalf("%s has %d cells of %d", row, len(r["cf"]), len(cells))
			}
			for _, c := range r["cf"] {
				if want := cells[strings.TrimPrefix(c.Column, "cf:")]; !bytes.Equal(c.Value, want) {
					t.Fatalf("%s, %s: %d bytes, want %d", row, c.Column, len(c.Value), len(want))
				}
			}
		}
		one := map[string][]byte{"empty": {}, "most": value}
		row := map[string][]byte{"a": value[:80<<20], "b": value[10<<20 : 90<<20], "c": value[20<<20:]}
		for name, cells := range map[string]map[string][]byte{"a-one": one, "b-row": row} {
			if err := set(name, cells); err != nil {
				t.Fatalf("write %s: %v", name, err)
			}
			check(name, cells)
		}
		err = set("a-one", map[string][]byte{"more": append(value[:len(value):len(value)], 'x')})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), fmt.Sprint(100<<20)) {
			t.Errorf("a value that is too long: %v", err)
		}
		if err := set("b-row", map[string][]byte{"d": value[:30<<20]}); err != nil {
			t.Fatal(err)
		}
		_, err = tbl.ReadRow(ctx, "b-row")
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "256 MiB") {
			t.Errorf("a row that is too long: %v", err)
		}
		r, err := tbl.ReadRow(ctx, "b-row", bigtable.RowFilter(bigtable.ColumnFilter("a|d")))
		if err != nil || len(r["cf"]) != 2 {
			t.Errorf("two columns of it: %d, %v", len(r["cf"]), err)
		}
	})
}
