package sql_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// FuzzQuery prepares and executes any text. It must neither panic nor fail
// with an error that is not the user's.
func FuzzQuery(f *testing.F) {
	for _, text := range []string{
		"SELECT * FROM people WHERE _key LIKE 'r%' ORDER BY _key DESC LIMIT @n OFFSET 1",
		"SELECT address['state'][OFFSET(0)].value FROM `people`(with_history => TRUE, after => TIMESTAMP '2024-01-01', latest_n => 2)",
		"SELECT DISTINCT CASE WHEN stats['age'] > b'1' THEN 1 ELSE NULL END AS x FROM people p ORDER BY x",
		"SELECT stats['age'] a, COUNT(DISTINCT _key), STRING_AGG(_key, '-') FROM people GROUP BY a HAVING COUNT(*) > 0 ORDER BY 2 DESC, a",
		"SELECT ARRAY_FILTER([1, 2, NULL], (e, i) -> e + i > 1), STRUCT<a INT64>(1).a, SAFE_CAST(@b AS DATE), EXTRACT(WEEK FROM CURRENT_DATE())",
		"SELECT TIMESTAMP_DIFF(TIMESTAMP_MICROS(@n), TIMESTAMP '1-1-1', HOUR), DATE_TRUNC(DATE '9999-12-31', WEEK), FORMAT_DATE('%E3S', DATE(1,1,1))",
		"SELECT LPAD('x', 1000, 'ab'), REGEXP_REPLACE('abc', '(b)', '\\\\1\\\\1'), SUBSTR(b'abc', -9223372036854775808, 1), REPEAT('', 1 << 62)",
		"SELECT -(-9223372036854775807 - 1), DIV(-9223372036854775808, -1), MOD(1, 0), CAST('0x' AS INT64), ROUND(1e308, -300), ABS(-9223372036854775808)",
		"SELECT [1,2][@n], MAP_ENTRIES(address), ARRAY_SLICE([1,2,3], -5, 9) FROM people WHERE _key IN UNNEST([b'', b'row-01']) OR NOT _key BETWEEN '' AND @b",
		"SELECT ((((1)))), NOT NOT TRUE, - - 1, ~ ~1, 1 UNION ALL SELECT 2", "SELECT a.b.c[1].d FROM people", "SELECT SAFE.FOO(1 => 2)", "FROM people |> WHERE TRUE",
	} {
		f.Add(text)
	}
	s := sql.New(sql.Config{Backend: people()})
	params := map[string]*bigtablepb.Value{"n": param(int64(1), value.Of(value.Int64)), "b": param([]byte("row"), value.Of(value.Bytes))}
	types := map[string]*bigtablepb.Type{"n": params["n"].Type, "b": params["b"].Type}
	f.Fuzz(func(t *testing.T, text string) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		p, err := s.Prepare(ctx, &bigtablepb.PrepareQueryRequest{InstanceName: instance, Query: text, ParamTypes: types,
			DataFormat: &bigtablepb.PrepareQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}})
		if err == nil {
			req := &bigtablepb.ExecuteQueryRequest{InstanceName: instance, PreparedQuery: p.PreparedQuery, Params: params}
			r := &receiver{t: t, meta: p.Metadata}
			err = s.Execute(ctx, req, r.send)
		}
		for _, kind := range []error{nil, base.ErrInvalid, base.ErrUnimplemented, base.ErrNotFound, base.ErrPrecondition} {
			if err == kind || kind != nil && errors.Is(err, kind) {
				return
			}
		}
		t.Errorf("%q: %v", text, err)
	})
}

// FuzzTokens executes any bytes as a prepared query, with others to resume.
func FuzzTokens(f *testing.F) {
	s := sql.New(sql.Config{Backend: people()})
	for _, text := range []string{"SELECT 1", "SELECT * FROM people"} {
		p, err := s.Prepare(f.Context(), &bigtablepb.PrepareQueryRequest{InstanceName: instance, Query: text,
			ParamTypes: map[string]*bigtablepb.Type{"a": value.ArrayOf(value.Of(value.Date)).Proto(), "b": value.Of(value.Bool).Proto()},
			DataFormat: &bigtablepb.PrepareQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p.PreparedQuery, []byte{})
		f.Add(p.PreparedQuery, p.PreparedQuery[:20])
	}
	f.Fuzz(func(t *testing.T, raw, token []byte) {
		for _, b := range [][]byte{raw, token} { // past the checksum
			sql.Reseal(b)
		}
		err := s.Execute(t.Context(), &bigtablepb.ExecuteQueryRequest{InstanceName: instance, PreparedQuery: raw, ResumeToken: token},
			func(*bigtablepb.ExecuteQueryResponse) error { return nil })
		if err != nil && violation(err) == "" && !errors.Is(err, base.ErrInvalid) && !errors.Is(err, base.ErrUnimplemented) && !errors.Is(err, base.ErrNotFound) {
			t.Error(err)
		}
	})
}
