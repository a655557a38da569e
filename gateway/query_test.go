package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestQueries runs SQL with Google's own client over several tablets.
func TestQueries(t *testing.T) {
	serve(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admin, err := bigtable.NewAdminClient(ctx, "p", "i")
	must(err)
	defer admin.Close()
	must(admin.CreatePresplitTable(ctx, "t", []string{"row-2", "row-4"}))
	must(admin.CreateColumnFamily(ctx, "t", "f"))
	client, err := bigtable.NewClient(ctx, "p", "i")
	must(err)
	defer client.Close()
	tbl := client.Open("t")
	for i := range 6 {
		m := bigtable.NewMutation()
		m.Set("f", "old", 1000, []byte("x"))
		m.Set("f", "parity", 1000, []byte{'0'})
		m.Set("f", "parity", 2000, []byte{'0' + byte(i%2)})
		must(tbl.Apply(ctx, fmt.Sprintf("row-%d", i), m))
	}
	prepare := func(text string) *bigtable.BoundStatement {
		t.Helper()
		ps, err := client.PrepareStatement(ctx, text, nil)
		must(err)
		bs, err := ps.Bind(nil)
		must(err)
		return bs
	}
	rows := func(bs *bigtable.BoundStatement) (out []string) {
		t.Helper()
		must(bs.Execute(ctx, func(r bigtable.ResultRow) bool {
			var line string
			for i := range r.Metadata.Columns {
				var v any
				must(r.GetByIndex(i, &v))
				if l, ok := v.([]bigtable.Struct); ok {
					v = len(l)
				}
				line += fmt.Sprintf("%s ", v)
			}
			out = append(out, line)
			return true
		}))
		return out
	}
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"SELECT _key, f['parity'] FROM t WHERE _key BETWEEN 'row-1' AND 'row-4' AND f['parity'] = '1'", []string{"row-1 1 ", "row-3 1 "}},
		{"SELECT _key FROM t ORDER BY _key DESC LIMIT 3 OFFSET 1", []string{"row-4 ", "row-3 ", "row-2 "}},
		{"SELECT f['parity'] AS p, COUNT(*), STRING_AGG(_key) FROM t GROUP BY p ORDER BY p", []string{"0 %!s(int64=3) row-0,row-2,row-4 ", "1 %!s(int64=3) row-1,row-3,row-5 "}},
		{"SELECT f['parity'] AS p FROM t(with_history => TRUE) LIMIT 1", []string{"%!s(int=2) "}},
		{"SELECT f['none'], _key FROM t WHERE STARTS_WITH(_key, 'row-5')", []string{"%!s(<nil>) row-5 "}},
	} {
		if got := rows(prepare(tc.text)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.text, got, tc.want)
		}
	}
	bs := prepare("SELECT * FROM t LIMIT 1")
	columns := func() (n int) {
		must(bs.Execute(ctx, func(r bigtable.ResultRow) bool { n = len(r.Metadata.Columns); return true }))
		return n
	}
	before := columns()
	must(admin.CreateColumnFamily(ctx, "t", "a"))
	prepare("SELECT 1 FROM t") // which learns of the new family
	if after := columns(); before != 2 || after != 3 {
		t.Errorf("%d columns, then %d", before, after)
	}
	for text, want := range map[string]codes.Code{
		"SELECT 1 FROM none":            codes.NotFound,
		"SELECT x FROM t":               codes.InvalidArgument,
		"SELECT":                        codes.InvalidArgument,
		"SELECT 1 FROM `t/../x`":        codes.InvalidArgument,
		"SELECT 1 FROM t JOIN t ON 1=1": codes.Unimplemented,
	} {
		if _, err := client.PrepareStatement(ctx, text, nil); status.Code(err) != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
