package sql_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

const instance = "projects/p/instances/i"

// people has families address, numbers (of aggregates) and stats; row c has
// cells in stats only, and d is not UTF-8.
func people() *memory {
	t := &memTable{schema: plan.Table{ID: "people", Families: []plan.Family{
		{Name: "address"}, {Name: "counts", Number: true}, {Name: "stats"}}}}
	t.add("row-01", "address", "city", 2000, "San Francisco")
	t.add("row-01", "address", "state", 1000, "WA")
	t.add("row-01", "address", "state", 2000, "CA")
	t.add("row-01", "counts", "n", 0, string(binary.BigEndian.AppendUint64(nil, 7)))
	t.add("row-01", "stats", "age", 3000, "41")
	t.add("row-02", "address", "city", 1000, "Phoenix")
	t.add("row-02", "address", "state", 1000, "AZ")
	t.add("row-02", "stats", "age", 3000, "9")
	t.add("row-03", "stats", "age", 3000, "23")
	t.add("row-03", "stats", "bin", 3000, string(binary.BigEndian.AppendUint64(nil, 258)))
	t.add("sow\xff", "address", "state", 1000, "CA")
	return &memory{tables: map[string]*memTable{instance + "/tables/people": t}}
}

// render writes a value as one would SQL.
func render(v *bigtablepb.Value, t *bigtablepb.Type) string {
	switch k := v.GetKind().(type) {
	case nil:
		return "NULL"
	case *bigtablepb.Value_BoolValue:
		return fmt.Sprint(k.BoolValue)
	case *bigtablepb.Value_IntValue:
		return fmt.Sprint(k.IntValue)
	case *bigtablepb.Value_FloatValue:
		return fmt.Sprintf("%gf", k.FloatValue)
	case *bigtablepb.Value_StringValue:
		return fmt.Sprintf("%q", k.StringValue)
	case *bigtablepb.Value_BytesValue:
		return fmt.Sprintf("b%q", k.BytesValue)
	case *bigtablepb.Value_TimestampValue:
		return k.TimestampValue.AsTime().Format("2006-01-02T15:04:05.999999")
	case *bigtablepb.Value_DateValue:
		return fmt.Sprintf("%d-%d-%d", k.DateValue.Year, k.DateValue.Month, k.DateValue.Day)
	case *bigtablepb.Value_ArrayValue:
		var parts []string
		for i, e := range k.ArrayValue.Values {
			switch tt := t.Kind.(type) {
			case *bigtablepb.Type_ArrayType:
				parts = append(parts, render(e, tt.ArrayType.ElementType))
			case *bigtablepb.Type_StructType:
				parts = append(parts, strings.TrimPrefix(tt.StructType.Fields[i].FieldName+":", ":")+render(e, tt.StructType.Fields[i].Type))
			case *bigtablepb.Type_MapType:
				kv := e.GetArrayValue().Values
				parts = append(parts, render(kv[0], tt.MapType.KeyType)+":"+render(kv[1], tt.MapType.ValueType))
			}
		}
		switch t.Kind.(type) {
		case *bigtablepb.Type_ArrayType:
			return "[" + strings.Join(parts, " ") + "]"
		case *bigtablepb.Type_MapType:
			return "{" + strings.Join(parts, " ") + "}"
		}
		return "(" + strings.Join(parts, " ") + ")"
	}
	return "?"
}

// result is what a stream gave.
type result struct {
	columns []string // name TYPE
	rows    []string
	tokens  [][]byte
	at      []int // rows before each token
}

// receiver assembles messages as clients do.
type receiver struct {
	t    *testing.T
	meta *bigtablepb.ResultSetMetadata
	buf  []byte
	pend []*bigtablepb.Value
	result
	most int // messages to take; 0: all
	n    int
}

var errCut = errors.New("cut")

func (r *receiver) send(m *bigtablepb.ExecuteQueryResponse) error {
	if r.n++; r.most > 0 && r.n > r.most {
		return errCut
	}
	// What is sent must survive the wire, and fit into a message.
	wire, err := proto.Marshal(m)
	if err != nil || len(wire) > 3<<20 {
		r.t.Fatalf("message of %d bytes: %v", len(wire), err)
	}
	m = new(bigtablepb.ExecuteQueryResponse)
	if err := proto.Unmarshal(wire, m); err != nil {
		r.t.Fatal(err)
	}
	if md := m.GetMetadata(); md != nil {
		r.meta = md
		return nil
	}
	p := m.GetResults()
	if p.GetReset_() {
		r.buf, r.pend = nil, nil
	} else if r.n == 1 {
		r.t.Error("the first message does not reset")
	}
	r.buf = append(r.buf, p.GetProtoRowsBatch().GetBatchData()...)
	if p.BatchChecksum != nil {
		if got := crc32.Checksum(r.buf, crc32.MakeTable(crc32.Castagnoli)); got != *p.BatchChecksum {
			r.t.Errorf("checksum is %x, batch has %x", *p.BatchChecksum, got)
		}
		var rows bigtablepb.ProtoRows
		if err := proto.Unmarshal(r.buf, &rows); err != nil {
			r.t.Fatal(err)
		}
		r.buf, r.pend = nil, append(r.pend, rows.Values...)
	}
	if len(p.ResumeToken) == 0 {
		return nil
	}
	if len(r.buf) > 0 {
		r.t.Error("a batch crosses a resume token")
	}
	cols := r.meta.GetProtoSchema().Columns
	for len(r.pend) > 0 {
		var parts []string
		for i, c := range cols {
			parts = append(parts, render(r.pend[i], c.Type))
		}
		r.rows, r.pend = append(r.rows, strings.Join(parts, " | ")), r.pend[len(cols):]
	}
	r.tokens, r.at = append(r.tokens, p.ResumeToken), append(r.at, len(r.rows))
	return nil
}

// prepare prepares a query; its parameters have the types of their values.
func prepare(t *testing.T, s *sql.Service, text string, params map[string]*bigtablepb.Value) (*bigtablepb.PrepareQueryResponse, error) {
	t.Helper()
	types := map[string]*bigtablepb.Type{}
	for name, v := range params {
		types[name] = v.Type
	}
	return s.Prepare(t.Context(), &bigtablepb.PrepareQueryRequest{InstanceName: instance, Query: text, ParamTypes: types,
		DataFormat: &bigtablepb.PrepareQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}})
}

// run prepares and executes a query.
func run(t *testing.T, s *sql.Service, text string, params map[string]*bigtablepb.Value) (*result, error) {
	t.Helper()
	p, err := prepare(t, s, text, params)
	if err != nil {
		return nil, err
	}
	return execute(t, s, p, &bigtablepb.ExecuteQueryRequest{Params: params}, 0)
}

func execute(t *testing.T, s *sql.Service, p *bigtablepb.PrepareQueryResponse, req *bigtablepb.ExecuteQueryRequest, most int) (*result, error) {
	t.Helper()
	req.InstanceName, req.PreparedQuery = instance, p.PreparedQuery
	r := &receiver{t: t, meta: p.Metadata, most: most}
	for _, c := range p.Metadata.GetProtoSchema().Columns {
		r.columns = append(r.columns, c.Name)
	}
	err := s.Execute(context.Background(), req, r.send)
	if err == nil && (len(r.tokens) == 0 || len(r.pend) > 0) {
		t.Error("the stream ends without a token")
	}
	return &r.result, err
}

// param makes a parameter; v nil is NULL of the type of like.
func param(v value.Value, ty value.Type) *bigtablepb.Value {
	p := value.ToProto(v)
	p.Type = ty.Proto()
	return p
}

func TestQueries(t *testing.T) {
	params := map[string]*bigtablepb.Value{
		"key":   param([]byte("row-02"), value.Of(value.Bytes)),
		"skey":  param("row-02", value.Of(value.String)),
		"keys":  param(value.List{[]byte("row-03"), nil, []byte("row-01")}, value.ArrayOf(value.Of(value.Bytes))),
		"n":     param(int64(1), value.Of(value.Int64)),
		"null":  param(nil, value.Of(value.Bytes)),
		"ts":    param(value.Time(1000), value.Of(value.Timestamp)),
		"ints":  param(value.List{int64(1), nil}, value.ArrayOf(value.Of(value.Int64))),
		"float": param(float32(1.5), value.Of(value.Float32)),
	}
	for _, tc := range []struct {
		sql  string
		want []string // rows; the first is the names of the columns if it begins with #
	}{
		{"SELECT * FROM people ORDER BY _key LIMIT 1", []string{"#_key,address,counts,stats",
			`b"row-01" | {b"city":b"San Francisco" b"state":b"CA"} | {b"n":7} | {b"age":b"41"}`}},
		{"SELECT * EXCEPT (counts, stats) REPLACE (1 AS address) FROM people WHERE _key = 'row-01'", []string{"#_key,address", `b"row-01" | 1`}},
		{"select p._key, p.address['state'] as s, 1 one from people as p where _key > 'row-01'", []string{"#_key,s,one",
			`b"row-02" | b"AZ" | 1`, `b"row-03" | NULL | 1`, `b"sow\xff" | b"CA" | 1`}},
		{"SELECT _key FROM people WHERE _key = @key", []string{`b"row-02"`}},
		{"SELECT _key FROM people WHERE _key = @skey", []string{`b"row-02"`}},
		{"SELECT _key FROM people WHERE _key IN UNNEST(@keys)", []string{`b"row-01"`, `b"row-03"`}},
		{"SELECT _key FROM people WHERE _key IN ('row-03', b'row-02', 'x') ORDER BY _key DESC", []string{`b"row-03"`, `b"row-02"`}},
		{"SELECT _key FROM people WHERE _key BETWEEN 'row-02' AND 'row-03'", []string{`b"row-02"`, `b"row-03"`}},
		{"SELECT _key FROM people WHERE NOT _key BETWEEN 'row-02' AND 'row-03'", []string{`b"row-01"`, `b"sow\xff"`}},
		{"SELECT _key FROM people WHERE STARTS_WITH(_key, 'row-') AND _key <> 'row-02' OR _key LIKE 's%'", []string{`b"row-01"`, `b"row-03"`, `b"sow\xff"`}},
		{"SELECT _key FROM people WHERE _key LIKE 'r_w%3'", []string{`b"row-03"`}},
		{"SELECT _key FROM people WHERE _key LIKE 'row-01'", []string{`b"row-01"`}},
		{"SELECT _key FROM people WHERE CAST(_key AS STRING) <= 'row-02'", []string{`b"row-01"`, `b"row-02"`}},
		{"SELECT _key FROM people WHERE _key = @null", nil},
		{"SELECT _key FROM people WHERE FALSE", nil},
		{"SELECT _key FROM people LIMIT @n OFFSET @n", []string{`b"row-02"`}},
		{"SELECT _key FROM people ORDER BY _key DESC LIMIT 2 OFFSET 1", []string{`b"row-03"`, `b"row-02"`}},
		{"SELECT _key FROM people LIMIT 0", nil},
		{"SELECT address FROM people", []string{`{b"city":b"San Francisco" b"state":b"CA"}`, `{b"city":b"Phoenix" b"state":b"AZ"}`, `{}`, `{b"state":b"CA"}`}},
		{"SELECT _key FROM people WHERE address['state'] = 'CA'", []string{`b"row-01"`, `b"sow\xff"`}},
		{"SELECT _key FROM people WHERE address['state'] IS NULL", []string{`b"row-03"`}},
		{"SELECT _key FROM people WHERE address['state'] IS NOT NULL AND NOT address['state'] = 'CA'", []string{`b"row-02"`}},
		{"SELECT _key FROM people WHERE (address['state'] IN UNNEST(ARRAY<BYTES>[])) = FALSE", []string{`b"row-01"`, `b"row-02"`, `b"row-03"`, `b"sow\xff"`}},
		{"SELECT _key, CAST(CAST(stats['age'] AS STRING) AS INT64) AS age FROM people WHERE STARTS_WITH(_key, 'row') ORDER BY age", []string{
			`b"row-02" | 9`, `b"row-03" | 23`, `b"row-01" | 41`}},
		{"SELECT TO_INT64(stats['bin']) FROM people WHERE stats['bin'] IS NOT NULL", []string{"#", `258`}},
		{"SELECT counts['n'] + 1, counts FROM people WHERE counts['n'] = 7", []string{"#,counts", `8 | {b"n":7}`}},
		{"SELECT address['state'] AS state FROM people(WITH_HISTORY=>TRUE) LIMIT 2", []string{"#state",
			`[(timestamp:1970-01-01T00:00:00.002 value:b"CA") (timestamp:1970-01-01T00:00:00.001 value:b"WA")]`, `[(timestamp:1970-01-01T00:00:00.001 value:b"AZ")]`}},
		{"SELECT address FROM `people`(with_history => TRUE, latest_n => 1) WHERE _key='row-01'", []string{
			`{b"city":[(timestamp:1970-01-01T00:00:00.002 value:b"San Francisco")] b"state":[(timestamp:1970-01-01T00:00:00.002 value:b"CA")]}`}},
		{"SELECT _key, address['state'] FROM people(with_history => TRUE, before => TIMESTAMP_MICROS(2000)) WHERE _key < 's'", []string{
			`b"row-01" | [(timestamp:1970-01-01T00:00:00.001 value:b"WA")]`, `b"row-02" | [(timestamp:1970-01-01T00:00:00.001 value:b"AZ")]`}},
		{"SELECT _key FROM people(with_history => TRUE, after => @ts, before_or_equal => TIMESTAMP_MICROS(2000))", []string{`b"row-01"`}},
		{"SELECT address['state'], address['city'] FROM people(as_of => @ts) WHERE _key = 'row-01'", []string{`b"WA" | NULL`}},
		{"SELECT address['state'][0].value, address['state'][SAFE_OFFSET(1)].timestamp, ARRAY_LENGTH(address['state']) FROM people(with_history => TRUE) WHERE address['state'] IS NOT NULL", []string{
			"#value,timestamp,", `b"CA" | 1970-01-01T00:00:00.001 | 2`, `b"AZ" | NULL | 1`, `b"CA" | NULL | 1`}},
		{"SELECT ARRAY_TRANSFORM(ARRAY_FILTER(address['state'], e -> e.value > 'D'), (e, i) -> STRUCT(e.value AS v, i)) AS x FROM people(with_history => TRUE) WHERE _key = 'row-01'", []string{`[(v:b"WA" i:0)]`}},
		{"SELECT MAP_KEYS(address), MAP_CONTAINS_KEY(stats, 'age'), MAP_ENTRIES(stats) FROM people WHERE _key = 'row-01'", []string{`[b"city" b"state"] | true | [(key:b"age" value:b"41")]`}},
		{"SELECT COUNT(*) FROM people", []string{`4`}},
		{"SELECT COUNT(*), MAX(address['state']), SUM(1) FROM people WHERE _key = 'none'", []string{`0 | NULL | NULL`}},
		{"SELECT address['state'] AS s, COUNT(*) AS n, MIN(_key) FROM people GROUP BY s ORDER BY n DESC, s", []string{"#s,n,",
			`b"CA" | 2 | b"row-01"`, `NULL | 1 | b"row-03"`, `b"AZ" | 1 | b"row-02"`}},
		{"SELECT address['state'], COUNT(DISTINCT _key) FROM people GROUP BY address['state'] HAVING COUNT(*) > 1", []string{`b"CA" | 2`}},
		{"SELECT _key, COUNT(address['city']) AS `result.count` FROM people GROUP BY _key LIMIT 3", []string{"#_key,result.count",
			`b"row-01" | 1`, `b"row-02" | 1`, `b"row-03" | 0`}},
		{"SELECT AVG(n), STRING_AGG(CAST(s AS STRING)) FROM people", []string{"!unknown column or family \"n\""}},
		{"SELECT AVG(CAST(CAST(stats['age'] AS STRING) AS FLOAT64)), ANY_VALUE(stats['age']), COUNTIF(stats['age'] > '3'), LOGICAL_AND(_key > 'a') FROM people", []string{
			`24.333333333333332f | b"41" | 2 | true`}},
		{"SELECT SUBSTR(_key, 1, 3) AS p, ARRAY_AGG(_key) FROM people GROUP BY 1 ORDER BY p", []string{`b"row" | [b"row-01" b"row-02" b"row-03"]`, `b"sow" | [b"sow\xff"]`}},
		{"SELECT DISTINCT address['state'] FROM people", []string{`b"CA"`, `b"AZ"`, `NULL`}},
		{"SELECT DISTINCT address['state'] AS s FROM people ORDER BY s LIMIT 2", []string{`NULL`, `b"AZ"`}},
		{"SELECT @ints, @float, @null, @ts", []string{`[1 NULL] | 1.5f | NULL | 1970-01-01T00:00:00.001`}},
		{"SELECT NULL, [], [1, NULL], [1, 2.5], STRUCT(1, 'a' AS b), (1, 'x')", []string{`NULL | [] | [1 NULL] | [1f 2.5f] | (1 b:"a") | (1 "x")`}},
		{"SELECT 'stringVal' AS strCol, b'foo' as bytesCol, 1 AS intCol, CAST(1.2 AS FLOAT32) as f32Col, true as boolCol, TIMESTAMP_FROM_UNIX_MILLIS(1000) AS tsCol, DATE(2024, 06, 08) as dateCol", []string{
			"#strCol,bytesCol,intCol,f32Col,boolCol,tsCol,dateCol", `"stringVal" | b"foo" | 1 | 1.2000000476837158f | true | 1970-01-01T00:00:01 | 2024-6-8`}},
		{"SELECT 1 + 2 * 3, 7 / 2, -7, DIV(7, 2), MOD(7, 3), 1 << 3, 6 & 3, ~0, 0xFF, -9223372036854775808", []string{`7 | 3.5f | -7 | 3 | 1 | 8 | 2 | -1 | 255 | -9223372036854775808`}},
		{"SELECT 1 < 2, 'a' || 'b', NULL AND FALSE, NULL OR TRUE, NULL = 1, 1 = 1.0, 2 NOT IN (1, NULL), 1 IS NULL, (1=1) IS TRUE", []string{`true | "ab" | false | true | NULL | true | NULL | false | true`}},
		{"SELECT CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END, CASE 3 WHEN 3 THEN 1 END, IF(TRUE, 1, 2.5), COALESCE(NULL, 'x'), IFNULL(NULL, 3), NULLIF(1, 1), GREATEST(1, 3, 2), LEAST('b', 'a')", []string{
			`"b" | 1 | 1f | "x" | 3 | NULL | 3 | "a"`}},
		{"SELECT UPPER('aé'), LOWER(b'AB'), LENGTH('é'), LENGTH(b'\\xc3\\xa9'), CONCAT('a', 'b', 'c'), SUBSTR('hello', -3, 2), TRIM('  x '), REPLACE('aXa', 'X', '-'), REVERSE('abc'), STRPOS('hello', 'l'), LPAD('7', 3, '0')", []string{
			`"AÉ" | b"ab" | 1 | 2 | "abc" | "ll" | "x" | "a-a" | "cba" | 3 | "007"`}},
		{"SELECT 'a%c' LIKE 'a\\\\%_', 'abc' LIKE 'a%', 'abc' NOT LIKE '_b', ENDS_WITH('abc', 'bc'), REGEXP_CONTAINS('abc', 'b.'), REGEXP_EXTRACT('abc', 'a(.)'), SPLIT('a,b'), TO_HEX(b'\\x01\\xff'), FROM_BASE64('YWI=')", []string{
			`true | true | true | true | true | "b" | ["a" "b"] | "01ff" | b"ab"`}},
		{"SELECT SAFE_CAST('x' AS INT64), SAFE_DIVIDE(1, 0), SAFE.SUBSTR('abc', 1, -1), CAST('12' AS INT64), CAST(1.5 AS INT64), CAST(TRUE AS STRING), CAST(2.0 AS STRING), CAST('2024-01-02' AS DATE), CAST(DATE '2024-01-02' AS TIMESTAMP)", []string{
			`NULL | NULL | NULL | 12 | 2 | "true" | "2" | 2024-1-2 | 2024-01-02T00:00:00`}},
		{"SELECT TIMESTAMP_ADD(TIMESTAMP '2024-01-31 10:00:00+02', INTERVAL 1 DAY), DATE_ADD(DATE '2024-01-31', INTERVAL 1 MONTH), TIMESTAMP_TRUNC(TIMESTAMP '2024-05-06 07:08:09', HOUR), DATE_DIFF(DATE '2024-03-01', DATE '2024-02-01', DAY), EXTRACT(YEAR FROM DATE '2024-03-01'), FORMAT_TIMESTAMP('%F %T', TIMESTAMP '2024-05-06 07:08:09'), UNIX_MILLIS(TIMESTAMP_MILLIS(-5))", []string{
			`2024-02-01T08:00:00 | 2024-2-29 | 2024-05-06T07:00:00 | 29 | 2024 | "2024-05-06 07:08:09" | -5`}},
		{"SELECT ARRAY_CONCAT([1], [2, 3]), ARRAY_REVERSE([1, 2]), [5, 6][ORDINAL(2)], ARRAY_TO_STRING(['a', NULL, 'b'], '-'), 2 IN UNNEST([1, 2]), ARRAY_INCLUDES(['a'], 'a')", []string{
			`[1 2 3] | [2 1] | 6 | "a-b" | true | true`}},
		{"SELECT ARRAY<STRUCT<a INT64, b STRING>>[(1, 'x'), (2, 'y')], STRUCT<FLOAT64>(1)", []string{`[(a:1 b:"x") (a:2 b:"y")] | (1f)`}},

		{"SELECT POW(2, 10), SQRT(16), ROUND(2.345, 2), FLOOR(-1.5), SIGN(-3), IS_NAN(CAST('nan' AS FLOAT64)), 1e308 / 2, IEEE_DIVIDE(1, 0), BIT_COUNT(7)", []string{
			`1024f | 4f | 2.35f | -2f | -1 | true | 5e+307f | +Inff | 3`}},
		{"SELECT DOT_PRODUCT([1.0, 2.0], [3.0, 4.0]), EUCLIDEAN_DISTANCE([0.0, 3.0], [4.0, 0.0]), COSINE_DISTANCE([1, 0], [0, 1]), TO_VECTOR32(b'\\x3f\\x80\\x00\\x00'), TO_FLOAT32(b'\\x3f\\x80\\x00\\x00')", []string{
			`11f | 5f | 1f | [1f] | 1f`}},
		{"SELECT INITCAP('hello wORLD'), REGEXP_REPLACE('a1b22', '([0-9]+)', '<\\\\1>'), REGEXP_REPLACE(b'$x', 'x', '$'), LTRIM('xxaxx', 'x'), RTRIM(b'abb', b'b'), REPEAT('ab', 3), RPAD('7', 3), TO_CODE_POINTS('aé'), CODE_POINTS_TO_STRING([97, 233])", []string{
			`"Hello World" | "a<1>b<22>" | b"$$" | "axx" | b"a" | "ababab" | "7  " | [97 233] | "aé"`}},
		{"SELECT EXTRACT(DAYOFWEEK FROM DATE '2024-03-01'), EXTRACT(HOUR FROM TIMESTAMP '2024-03-01 07:00:00+02'), EXTRACT(DATE FROM TIMESTAMP_MICROS(-1)), DATE_TRUNC(DATE '2024-05-06', QUARTER), DATE_TRUNC(DATE '2024-05-06', WEEK), TIMESTAMP_DIFF(TIMESTAMP_SECONDS(90), TIMESTAMP_SECONDS(0), MINUTE), DATE_DIFF(DATE '2024-01-01', DATE '2023-12-31', YEAR), DATE_SUB(DATE '2024-03-31', INTERVAL 1 MONTH)", []string{
			`6 | 5 | 1969-12-31 | 2024-4-1 | 2024-5-5 | 1 | 1 | 2024-2-29`}},
		{"SELECT BIT_AND(n), BIT_OR(n), BIT_XOR(n) FROM people", []string{`!unknown column`}},
		{"SELECT BIT_AND(LENGTH(_key)), BIT_OR(LENGTH(_key)), BIT_XOR(LENGTH(_key)), LOGICAL_OR(_key > 'z'), SUM(1.5), AVG(LENGTH(_key)), STRING_AGG(CAST(address['state'] AS STRING), ';') FROM people", []string{
			`4 | 6 | 2 | false | 6f | 5.5f | "CA;AZ;CA"`}},
		{"SELECT TRUE IS NOT FALSE, NULL IS TRUE, NOT NULL, 'b' BETWEEN 'a' AND 'c', 5 NOT BETWEEN 1 AND 3, DATE '2024-01-01' < '2024-01-02', (1, 'a') = (1, 'a'), (1, NULL) = (1, 2), (1, NULL) = (2, NULL)", []string{
			`true | false | NULL | true | true | true | true | NULL | false`}},
		{"SELECT _key FROM people WHERE _key > '" + strings.Repeat("s", 4096) + "'", nil},
		{"SELECT _key FROM people WHERE _key < '" + strings.Repeat("s", 5000) + "' AND _key != '" + strings.Repeat("s", 5000) + "' LIMIT 1", []string{`b"row-01"`}},
		{"SELECT _key FROM people WHERE _key = '" + strings.Repeat("s", 5000) + "' OR STARTS_WITH(_key, '" + strings.Repeat("s", 5000) + "')", nil},
		{"SELECT _key FROM people WHERE " + strings.Repeat("_key = 'x' OR ", 3000) + "_key = 'row-01'", []string{`b"row-01"`}},
		{"SELECT _KEY, People.Address['city'] FROM people WHERE ADDRESS['city'] IS NOT NULL LIMIT 1", []string{"#_key,", `b"row-01" | b"San Francisco"`}},
		{"SELECT _key FROM people ORDER BY LENGTH(address['city']) DESC, _key DESC LIMIT 3 OFFSET 1", []string{`b"row-02"`, `b"sow\xff"`, `b"row-03"`}},
		{"(SELECT 1) LIMIT 1", []string{`1`}}, {"SELECT 1;", []string{`1`}}, {"SELECT 1 AS a, 2 AS a -- twice", []string{"#a,a", `1 | 2`}},
		{"SELECT REGEXP_CONTAINS(_key, '(') FROM people", []string{"!regular expression"}}, {"SELECT 'a' LIKE 'a\\\\'", []string{"!single"}},
		{"SELECT MIN(MAX(_key)) FROM people", []string{"!within an aggregate"}}, {"SELECT FORMAT_DATE('%Q', DATE '2024-01-01')", []string{"!%Q is not supported"}},
		{"SELECT 1 FROM people WITH OFFSET", []string{"!syntax error"}}, {"SELECT * FROM UNNEST([1])", []string{"!UNNEST in FROM is not supported"}},
		{"FROM people |> WHERE TRUE", []string{"!not supported"}}, {"SELECT 1 FROM people TABLESAMPLE RESERVOIR (1 ROWS)", []string{"!not supported"}},

		{"SELEC 1", []string{"!syntax error"}}, {"SELECT 1 +", []string{"![at 1:11]"}}, {"SELECT (", []string{"!syntax error"}}, {"", []string{"!syntax error"}},
		{"SELECT 1; SELECT 2", []string{"!syntax error"}},
		{"SELECT x FROM people", []string{`!unknown column or family "x" of table "people": invalid argument [at 1:8]`}},
		{"SELECT x", []string{`!unknown name "x"`}}, {"SELECT *", []string{"!without FROM"}},
		{"SELECT 1 FROM nobody", []string{`!table "nobody"`}},
		{"SELECT @p", []string{"!parameter @p has no type"}},
		{"SELECT a.x FROM people a JOIN people b ON TRUE", []string{"!JOIN is not supported"}},
		{"SELECT 1 UNION ALL SELECT 2", []string{"!UNION is not supported"}}, {"WITH a AS (SELECT 1) SELECT 1", []string{"!WITH is not supported"}},
		{"SELECT (SELECT 1)", []string{"!subquery is not supported"}}, {"SELECT 1 FROM (SELECT 2)", []string{"!subquery in FROM is not supported"}},
		{"DELETE FROM people WHERE TRUE", []string{"!statement other than SELECT is not supported"}},
		{"SELECT FOO(1)", []string{"!function FOO is not supported"}}, {"SELECT UPPER(1)", []string{"!function UPPER has no signature for arguments (INT64)"}},
		{"SELECT 1 + 'a'", []string{"!no common type"}}, {"SELECT _key + 1 FROM people", []string{"!operator +"}},
		{"SELECT 1/0", []string{"!division by zero"}}, {"SELECT 9223372036854775807 + 1", []string{"!out of range"}},
		{"SELECT CAST('x' AS INT64)", []string{`!"x" is not a valid INT64`}}, {"SELECT CAST([1] AS STRING)", []string{"!invalid cast"}},
		{"SELECT _key FROM people WHERE 1", []string{"!INT64 cannot be used as BOOL"}},
		{"SELECT address, COUNT(*) FROM people", []string{`!column "address" is neither grouped nor aggregated`}},
		{"SELECT _key FROM people WHERE COUNT(*) > 1", []string{"!not allowed here"}},
		{"SELECT _key FROM people(latest_n => 2)", []string{"!need with_history"}}, {"SELECT _key FROM people(with_history => TRUE, latest_n => 0)", []string{"!latest_n is 0"}},
		{"SELECT _key FROM people(with_history => 1)", []string{"!with_history is not TRUE"}}, {"SELECT _key FROM people(foo => 1)", []string{"!unknown argument foo"}},
		{"SELECT _key FROM people LIMIT -1", []string{"!syntax error"}}, {"SELECT _key FROM people ORDER BY address", []string{"!ORDER BY of MAP"}},
		{"SELECT address.city FROM people", []string{"!has no field"}}, {"SELECT [1][5]", []string{"!out of the bounds"}},
		{"SELECT " + strings.Repeat("(", 2000) + "1", []string{"!nested more than"}},
		{"SELECT " + strings.Repeat("NOT ", 2000) + "TRUE", []string{"!nested more than"}},
		{"SELECT NUMERIC '1'", []string{"!not supported"}},
	} {
		used := map[string]*bigtablepb.Value{}
		for name, v := range params {
			if strings.Contains(tc.sql, "@"+name) {
				used[name] = v
			}
		}
		got, err := run(t, sql.New(sql.Config{Backend: people()}), tc.sql, used)
		if len(tc.want) > 0 && strings.HasPrefix(tc.want[0], "!") {
			if err == nil || !strings.Contains(err.Error(), tc.want[0][1:]) {
				t.Errorf("%s\n got error %v\nwant %s", tc.sql, err, tc.want[0][1:])
			} else if !errors.Is(err, base.ErrInvalid) && !errors.Is(err, base.ErrUnimplemented) && !errors.Is(err, base.ErrNotFound) {
				t.Errorf("%s\n error %v is none of a user", tc.sql, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s\n error %v", tc.sql, err)
			continue
		}
		want := tc.want
		if len(want) > 0 && strings.HasPrefix(want[0], "#") {
			if g := "#" + strings.Join(got.columns, ","); g != want[0] {
				t.Errorf("%s\n got columns %s\nwant %s", tc.sql, g, want[0])
			}
			want = want[1:]
		}
		if g, w := strings.Join(got.rows, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%s\n got %s\nwant %s", tc.sql, g, w)
		}
	}
}
