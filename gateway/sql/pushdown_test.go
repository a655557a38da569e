package sql_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

// TestReads says what the backend is asked for.
func TestReads(t *testing.T) {
	exists := `interleave {filters {%s} filters {chain {filters {cells_per_row_limit_filter: 1} filters {strip_value_transformer: true} filters {apply_label_transformer: "exists"}}}}`
	one := `filters {cells_per_column_limit_filter: 1}`
	state := `column_range_filter {family_name: "address" start_qualifier_closed: "state" end_qualifier_closed: "state"}`
	for _, tc := range []struct{ sql, want string }{
		{"SELECT * FROM people", `filter {cells_per_column_limit_filter: 1}`},
		{"SELECT * FROM people(with_history => TRUE)", ``},
		{"SELECT * FROM people(with_history => TRUE, latest_n => 2)", `filter {cells_per_column_limit_filter: 2}`},
		{"SELECT * FROM people(as_of => TIMESTAMP_MICROS(7))", `filter {chain {filters {timestamp_range_filter {end_timestamp_micros: 8}} ` + one + `}}`},
		{"SELECT _key FROM people ORDER BY _key DESC LIMIT 3 OFFSET 1", `filter {chain {filters {cells_per_row_limit_filter: 1} filters {strip_value_transformer: true}}} rows_limit: 4 reversed: true`},
		{"SELECT address['state'] FROM people", "filter {" + fmt.Sprintf(exists, "chain {filters {"+state+"} "+one+"}") + "}"},
		{"SELECT address['state'] FROM people WHERE address['state'] > 'A'", `filter {chain {filters {` + state + `} ` + one + `}}`},
		{"SELECT address FROM people WHERE address['state'] > 'A'", `filter {chain {filters {family_name_regex_filter: "address"} ` + one + `}}`},
		{"SELECT * FROM people WHERE _key = 'a' OR _key IN ('c', 'b')", `rows {row_keys: "a" row_keys: "b" row_keys: "c"} filter {cells_per_column_limit_filter: 1}`},
		{"SELECT * FROM people WHERE _key >= 'a' AND _key < 'c' LIMIT 5", `rows {row_ranges {start_key_closed: "a" end_key_open: "c"}} filter {cells_per_column_limit_filter: 1} rows_limit: 5`},
		{"SELECT * FROM people WHERE _key LIKE 'a%b%' LIMIT 5", `rows {row_ranges {start_key_closed: "a" end_key_open: "b"}} filter {cells_per_column_limit_filter: 1}`},
		{"SELECT * FROM people WHERE 'b' > _key AND STARTS_WITH(_key, 'a') AND TRUE", `rows {row_ranges {start_key_closed: "a" end_key_open: "b"}} filter {cells_per_column_limit_filter: 1}`},
		{"SELECT * FROM people WHERE _key = 'a' AND _key = 'b'", `none`},
		{"SELECT * FROM people LIMIT 0", `none`},
		{"SELECT 1", `none`},
	} {
		m := people()
		if _, err := run(t, sql.New(sql.Config{Backend: m}), tc.sql, nil); err != nil {
			t.Errorf("%s: %v", tc.sql, err)
			continue
		}
		got := "none"
		if len(m.reads) > 0 {
			m.reads[0].TableName = ""
			got = strings.NewReplacer(":  ", ": ", "  ", " ").Replace(prototext.MarshalOptions{}.Format(m.reads[0]))
		}
		if normal(got) != normal(tc.want) {
			t.Errorf("%s\n got %s\nwant %s", tc.sql, got, tc.want)
		}
	}
}

// normal drops the white space, which prototext varies.
func normal(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, ":{", "{")), "")
}

func TestManyKeysAreSeveralReads(t *testing.T) {
	m := wide(10, 1)
	var keys value.List
	for i := range 3000 {
		keys = append(keys, []byte(fmt.Sprintf("k%05d%s", i%10, strings.Repeat("x", i/10))))
	}
	params := map[string]*bigtablepb.Value{"keys": param(keys, value.ArrayOf(value.Of(value.Bytes)))}
	for _, order := range []string{"", " DESC"} {
		got, err := run(t, sql.New(sql.Config{Backend: m}), "SELECT _key FROM wide WHERE _key IN UNNEST(@keys) ORDER BY _key"+order, params)
		if err != nil || len(got.rows) != 10 || !slices.IsSorted(got.rows) != (order != "") {
			t.Errorf("%v, %v", got.rows, err)
		}
	}
	if len(m.reads) < 4 {
		t.Errorf("%d reads", len(m.reads))
	}
}

// TestPushdownChangesNothing compares random conditions with themselves put so
// that nothing of them can be pushed down.
func TestPushdownChangesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := sql.New(sql.Config{Backend: people()})
	pick := func(xs ...string) string { return xs[rnd.IntN(len(xs))] }
	key := func() string {
		return pick("'row-01'", "'row-02'", "b'row-03'", "'row'", "'s'", "''", "b'sow\\xff'", "b'\\xff'", "NULL", "CONCAT(b'row-', b'02')")
	}
	var cond func(depth int) string
	cond = func(depth int) string {
		if depth > 0 && rnd.IntN(2) == 0 {
			return "(" + cond(depth-1) + pick(" AND ", " OR ") + pick("", "", "NOT ") + "(" + cond(depth-1) + "))"
		}
		switch rnd.IntN(9) {
		case 0:
			return "_key " + pick("=", "<", "<=", ">", ">=", "!=") + " " + key()
		case 1:
			return key() + " " + pick("=", "<", "<=", ">", ">=", "!=") + " _key"
		case 2:
			return "_key " + pick("", "NOT ") + "BETWEEN " + key() + " AND " + key()
		case 3:
			return "_key " + pick("", "NOT ") + "IN (" + key() + ", " + key() + ")"
		case 4:
			return "STARTS_WITH(_key, " + key() + ")"
		case 5:
			return "_key " + pick("", "NOT ") + "LIKE " + pick("'row%'", "'row-0_'", "'%'", "''", "'row-01'", "'row\\\\%'", "NULL")
		case 6:
			return "address['state'] " + pick("= 'CA'", "IS NULL", "IS NOT NULL", "< 'B'", "IN ('AZ', 'CA')", "NOT IN ('AZ')", "IN UNNEST(ARRAY<BYTES>[])")
		case 7:
			return "MAP_CONTAINS_KEY(" + pick("address, 'city'", "stats, 'bin'") + ")"
		}
		return pick("TRUE", "FALSE", "counts['n'] > 3", "COALESCE(stats['bin'], b'x') = b'x'", "_key IS NULL")
	}
	for range 3000 {
		c, cols := cond(3), pick("_key", "_key, address['state']", "*", "_key, stats", "counts['n'], _key")
		tail := pick("", "", " ORDER BY _key DESC", " LIMIT 2", " LIMIT 1 OFFSET 1", " ORDER BY _key DESC LIMIT 2")
		direct := "SELECT " + cols + " FROM people WHERE " + c + tail
		got, err := run(t, s, direct, nil)
		want, werr := run(t, s, "SELECT "+cols+", address IS NULL, counts IS NULL, stats IS NULL FROM people WHERE ("+c+") IS TRUE"+tail, nil)
		if err != nil || werr != nil {
			t.Fatalf("%s: %v, %v", direct, err, werr)
		}
		for i := range want.rows {
			want.rows[i] = strings.TrimSuffix(want.rows[i], " | false | false | false")
		}
		if !slices.Equal(got.rows, want.rows) {
			t.Fatalf("%s\n got %s\nwant %s", direct, got.rows, want.rows)
		}
	}
}
