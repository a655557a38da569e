package sql_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// TestRandomExpressions builds calls of all functions over all kinds of
// arguments: whatever passes the analysis must evaluate without a panic.
func TestRandomExpressions(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	names := strings.Fields(`ABS SIGN CEIL FLOOR ROUND TRUNC SQRT EXP LN LOG POW SIN IS_NAN IS_INF MOD DIV IEEE_DIVIDE SAFE_DIVIDE SAFE_ADD
		SAFE_MULTIPLY UPPER LOWER LENGTH BYTE_LENGTH SUBSTR STARTS_WITH ENDS_WITH CONTAINS_SUBSTR STRPOS TRIM LTRIM RTRIM REVERSE REPLACE REPEAT LPAD
		RPAD INITCAP SPLIT ARRAY_TO_STRING REGEXP_CONTAINS REGEXP_EXTRACT REGEXP_REPLACE TO_INT64 TO_FLOAT64 TO_FLOAT32 FROM_INT64 TO_VECTOR32 TO_VECTOR64
		COSINE_DISTANCE EUCLIDEAN_DISTANCE DOT_PRODUCT BIT_COUNT TO_HEX FROM_HEX TO_BASE64 FROM_BASE64 TO_BASE32 FROM_BASE32 SAFE_CONVERT_BYTES_TO_STRING
		TO_CODE_POINTS CODE_POINTS_TO_STRING CODE_POINTS_TO_BYTES MD5 SHA1 SHA256 SHA512 DATE TIMESTAMP STRING TIMESTAMP_SECONDS TIMESTAMP_MILLIS
		TIMESTAMP_MICROS UNIX_SECONDS UNIX_MILLIS UNIX_DATE DATE_FROM_UNIX_DATE FORMAT_TIMESTAMP FORMAT_DATE COALESCE IFNULL NULLIF GREATEST LEAST CONCAT
		CURRENT_DATE MAP_KEYS MAP_VALUES MAP_ENTRIES MAP_CONTAINS_KEY MAP_EMPTY ARRAY_LENGTH ARRAY_REVERSE ARRAY_FIRST ARRAY_LAST ARRAY_CONCAT ARRAY_INCLUDES
		ARRAY_SLICE SAFE.ROUND SAFE.REPEAT`)
	atoms := []string{"NULL", "TRUE", "0", "1", "-1", "9223372036854775807", "-9223372036854775808", "1.5", "-1e308", "CAST('nan' AS FLOAT64)",
		"CAST('inf' AS FLOAT32)", "''", "'é%_'", "'a\\\\'", "b''", "b'\\xff\\x00'", "b'12345678'", "'(b)'", "DATE '2024-02-29'", "DATE '0001-01-01'",
		"TIMESTAMP '9999-12-31 23:59:59.999999'", "TIMESTAMP_MICROS(-1)", "[]", "[1, NULL]", "['a', NULL]", "[1.5]", "[b'x']", "[STRUCT(1 AS a, 'b')]", "(1, 'a')",
		"STRUCT(NULL)", "@n", "@null", "@list", "_key", "address", "counts", "counts['n']", "address['state']", "stats['age']", "CURRENT_TIMESTAMP()"}
	pick := func(xs []string) string { return xs[rnd.IntN(len(xs))] }
	var gen func(depth int) string
	gen = func(depth int) string {
		if depth == 0 {
			return pick(atoms)
		}
		x := func() string { return gen(rnd.IntN(depth)) }
		switch rnd.IntN(14) {
		case 0:
			return "(" + x() + " " + pick(strings.Fields("+ - * / || & | ^ << >> = != < <= AND OR LIKE")) + " " + x() + ")"
		case 1:
			return pick([]string{"-", "~", "NOT ", "+"}) + "(" + x() + ")"
		case 2:
			return pick([]string{"CAST", "SAFE_CAST"}) + "(" + x() + " AS " + pick(strings.Fields("BOOL INT64 FLOAT32 FLOAT64 STRING BYTES DATE TIMESTAMP ARRAY<INT64> ARRAY<BYTES> STRUCT<FLOAT64>")) + ")"
		case 3:
			return "(CASE " + pick([]string{"", x()}) + " WHEN " + x() + " THEN " + x() + " ELSE " + x() + " END)"
		case 4:
			return "(" + x() + pick([]string{" IN (", " NOT IN ("}) + x() + ", " + x() + "))"
		case 5:
			return "(" + x() + " IN UNNEST(" + x() + "))"
		case 6:
			return "(" + x() + " BETWEEN " + x() + " AND " + x() + ")"
		case 7:
			return "(" + x() + ")[" + pick([]string{"", "SAFE_"}) + pick([]string{"OFFSET(", "ORDINAL("}) + x() + ")]"
		case 8:
			return pick([]string{"ARRAY_FILTER", "ARRAY_TRANSFORM"}) + "(" + x() + ", (e, i) -> " + pick([]string{"e", "i", "e = e", "e.a", x()}) + ")"
		case 9:
			part := pick(strings.Fields("MICROSECOND SECOND HOUR DAY WEEK MONTH QUARTER YEAR"))
			d := pick([]string{"DATE", "TIMESTAMP"})
			return pick([]string{d + "_ADD(" + x() + ", INTERVAL @n " + part + ")", d + "_SUB(" + x() + ", INTERVAL 9223372036854775807 " + part + ")",
				d + "_DIFF(" + x() + ", " + x() + ", " + part + ")", d + "_TRUNC(" + x() + ", " + part + ")", "EXTRACT(" + part + " FROM " + x() + ")"})
		case 10:
			if rnd.IntN(2) == 0 {
				return "[" + x() + ", " + x() + "]"
			}
			return "STRUCT(" + x() + " AS a, " + x() + ")"
		}
		args := make([]string, 1+rnd.IntN(3))
		for i := range args {
			args[i] = x()
		}
		return pick(names) + "(" + strings.Join(args, ", ") + ")"
	}
	s := sql.New(sql.Config{Backend: people()})
	params := map[string]*bigtablepb.Value{"n": param(int64(-1)<<40, value.Of(value.Int64)), "null": param(nil, value.Of(value.String)),
		"list": param(value.List{"x", nil}, value.ArrayOf(value.Of(value.String)))}
	types := map[string]*bigtablepb.Type{}
	for name, v := range params {
		types[name] = v.Type
	}
	good := 0
	for range 6_000 {
		e := gen(1 + rnd.IntN(2))
		text := pick([]string{"SELECT ? AS x FROM people", "SELECT _key FROM people WHERE ?", "SELECT COUNT(*), ? FROM people GROUP BY 2 ORDER BY 2",
			"SELECT MAX(?), ARRAY_AGG(?), SUM(?) FROM people", "SELECT DISTINCT ? FROM people ORDER BY 1", "SELECT _key, ? FROM people GROUP BY _key"})
		text = strings.ReplaceAll(text, "?", e)
		p, err := s.Prepare(t.Context(), &bigtablepb.PrepareQueryRequest{InstanceName: instance, Query: text, ParamTypes: types,
			DataFormat: &bigtablepb.PrepareQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}})
		if err == nil {
			good++
			r := &receiver{t: t, meta: p.Metadata}
			err = s.Execute(context.Background(), &bigtablepb.ExecuteQueryRequest{InstanceName: instance, PreparedQuery: p.PreparedQuery, Params: params}, r.send)
		}
		if err != nil && !errors.Is(err, base.ErrInvalid) && !errors.Is(err, base.ErrUnimplemented) {
			t.Fatalf("%s: %v", text, err)
		}
		if t.Failed() {
			t.Fatal(text)
		}
	}
	if good < 100 {
		t.Errorf("%d of 6000 queries were valid", good)
	}
}
