package sql_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/civil"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// server serves a Service the way the gateway does.
type server struct {
	bigtablepb.UnimplementedBigtableServer
	s        *sql.Service
	prepares atomic.Int64
}

func (s *server) PrepareQuery(ctx context.Context, req *bigtablepb.PrepareQueryRequest) (*bigtablepb.PrepareQueryResponse, error) {
	s.prepares.Add(1)
	resp, err := s.s.Prepare(ctx, req)
	return resp, rpc.ToStatus(err)
}

func (s *server) ExecuteQuery(req *bigtablepb.ExecuteQueryRequest, stream bigtablepb.Bigtable_ExecuteQueryServer) error {
	return rpc.ToStatus(s.s.Execute(stream.Context(), req, stream.Send))
}

// dial returns the official client of a server over s.
func dial(t *testing.T, s *sql.Service) (*bigtable.Client, *server) {
	t.Helper()
	lis, srv := bufconn.Listen(1<<20), grpc.NewServer()
	impl := &server{s: s}
	bigtablepb.RegisterBigtableServer(srv, impl)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	c, err := bigtable.NewClientWithConfig(t.Context(), "p", "i", bigtable.ClientConfig{MetricsProvider: bigtable.NoopMetricsProvider{}}, option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		conn.Close()
		srv.Stop()
		<-served
	})
	return c, impl
}

// query runs a query with the official client and returns the first row, each
// column as it decodes into any.
func query(t *testing.T, c *bigtable.Client, text string, types map[string]bigtable.SQLType, values map[string]any) []any {
	t.Helper()
	ps, err := c.PrepareStatement(t.Context(), text, types)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	bs, err := ps.Bind(values)
	if err != nil {
		t.Fatal(err)
	}
	var row []any
	err = bs.Execute(t.Context(), func(r bigtable.ResultRow) bool {
		for i := range r.Metadata.Columns {
			var v any
			if err := r.GetByIndex(i, &v); err != nil {
				t.Errorf("%s: column %d: %v", text, i, err)
			}
			row = append(row, v)
		}
		return false
	})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return row
}

func ptr[T any](v T) *T { return &v }

func TestOfficialClientDecodesParameters(t *testing.T) {
	c, _ := dial(t, sql.New(sql.Config{Backend: people()}))
	now := time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)
	day := civil.DateOf(now)
	for _, tc := range []struct {
		t    bigtable.SQLType
		in   any
		want any
	}{
		{bigtable.BytesSQLType{}, []byte("foo"), []byte("foo")},
		{bigtable.BytesSQLType{}, []byte{}, []byte{}},
		{bigtable.StringSQLType{}, "foo", "foo"},
		{bigtable.Int64SQLType{}, int64(-1), int64(-1)},
		{bigtable.Float32SQLType{}, float32(1.3), float32(1.3)},
		{bigtable.Float64SQLType{}, 1.4, 1.4},
		{bigtable.BoolSQLType{}, true, true},
		{bigtable.TimestampSQLType{}, now, now},
		{bigtable.DateSQLType{}, day, day},
		{bigtable.Int64SQLType{}, nil, nil},
		{bigtable.StringSQLType{}, nil, nil},
		{bigtable.ArraySQLType{ElemType: bigtable.BytesSQLType{}}, [][]byte{[]byte("a"), nil}, [][]byte{[]byte("a"), nil}},
		{bigtable.ArraySQLType{ElemType: bigtable.StringSQLType{}}, []string{"a", "b"}, []*string{ptr("a"), ptr("b")}},
		{bigtable.ArraySQLType{ElemType: bigtable.Int64SQLType{}}, []any{int64(1), nil}, []*int64{ptr(int64(1)), nil}},
		{bigtable.ArraySQLType{ElemType: bigtable.Float32SQLType{}}, []any{float32(1.3), nil}, []*float32{ptr(float32(1.3)), nil}},
		{bigtable.ArraySQLType{ElemType: bigtable.Float64SQLType{}}, []any{1.3, nil}, []*float64{ptr(1.3), nil}},
		{bigtable.ArraySQLType{ElemType: bigtable.BoolSQLType{}}, []any{true, nil}, []*bool{ptr(true), nil}},
		{bigtable.ArraySQLType{ElemType: bigtable.TimestampSQLType{}}, []any{now, nil}, []*time.Time{ptr(now), nil}},
		{bigtable.ArraySQLType{ElemType: bigtable.DateSQLType{}}, []civil.Date{day}, []*civil.Date{ptr(day)}},
		{bigtable.ArraySQLType{ElemType: bigtable.Int64SQLType{}}, nil, nil},
	} {
		got := query(t, c, "SELECT @p AS p", map[string]bigtable.SQLType{"p": tc.t}, map[string]any{"p": tc.in})
		if len(got) != 1 || !reflect.DeepEqual(got[0], tc.want) {
			t.Errorf("%T %v: got %#v, want %#v", tc.t, tc.in, got, tc.want)
		}
	}
}

// TestOfficialClientDecodesColumns runs what Google's TestIntegration_Execute
// does.
func TestOfficialClientDecodesColumns(t *testing.T) {
	c, _ := dial(t, sql.New(sql.Config{Backend: people()}))
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	row := query(t, c, "SELECT 'stringVal' AS strCol, b'foo' as bytesCol, 1 AS intCol, CAST(1.2 AS FLOAT32) as f32Col, "+
		"CAST(1.3 AS FLOAT64) as f64Col, true as boolCol, TIMESTAMP_FROM_UNIX_MILLIS(1000) AS tsCol, "+
		"DATE(2024, 06, 01) as dateCol, STRUCT(1 as a, \"foo\" as b) AS structCol, [1,2,3] AS arrCol, "+
		"address as mapCol FROM `people` WHERE _key='row-01' LIMIT 1", nil, nil)
	want := []any{"stringVal", []byte("foo"), int64(1), float32(1.2), 1.3, true, time.Unix(1, 0).UTC(), civil.Date{Year: 2024, Month: 6, Day: 1}}
	for i, w := range want {
		if !reflect.DeepEqual(row[i], w) {
			t.Errorf("column %d: got %#v, want %#v", i, row[i], w)
		}
	}
	st := row[8].(bigtable.Struct)
	var a int64
	var b string
	if err := st.GetByName("a", &a); err != nil || a != 1 {
		t.Errorf("field a: %v %v", a, err)
	}
	if err := st.GetByName("b", &b); err != nil || b != "foo" {
		t.Errorf("field b: %v %v", b, err)
	}
	if !reflect.DeepEqual(row[9], []*int64{ptr(int64(1)), ptr(int64(2)), ptr(int64(3))}) {
		t.Errorf("array: %#v", row[9])
	}
	if got, want := fmt.Sprintf("%s", row[10]), fmt.Sprintf("%s", map[string][]byte{b64("city"): []byte("San Francisco"), b64("state"): []byte("CA")}); got != want {
		t.Errorf("map: %s, want %s", got, want)
	}
	row = query(t, c, "SELECT _key, address['state'] AS state, address FROM `people`(WITH_HISTORY=>TRUE) LIMIT 5", nil, nil)
	versions := func(l any) (out []string) {
		for _, s := range l.([]bigtable.Struct) {
			var ts time.Time
			var v []byte
			if err := s.GetByName("timestamp", &ts); err != nil {
				t.Error(err)
			}
			if err := s.GetByName("value", &v); err != nil {
				t.Error(err)
			}
			out = append(out, fmt.Sprintf("%d:%s", ts.UnixMicro(), v))
		}
		return out
	}
	if got := fmt.Sprint(versions(row[1])); got != "[2000:CA 1000:WA]" {
		t.Errorf("history: %s", got)
	}
	if got := fmt.Sprint(versions(row[2].(map[string][]bigtable.Struct)[b64("city")])); got != "[2000:San Francisco]" {
		t.Errorf("history of a family: %s", got)
	}
}

func TestOfficialClientPreparesAnew(t *testing.T) {
	m := people()
	c, srv := dial(t, sql.New(sql.Config{Backend: m}))
	ps, err := c.PrepareStatement(t.Context(), "SELECT * FROM people LIMIT 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	columns := func() (n int) {
		bs, err := ps.Bind(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := bs.Execute(t.Context(), func(r bigtable.ResultRow) bool { n = len(r.Metadata.Columns); return true }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := columns(); n != 4 || srv.prepares.Load() != 1 {
		t.Fatalf("%d columns, %d prepares", n, srv.prepares.Load())
	}
	m.mu.Lock()
	tb := m.tables[instance+"/tables/people"]
	tb.schema.Families = append(tb.schema.Families, tb.schema.Families[0])
	tb.schema.Families[3].Name = "zip"
	m.mu.Unlock()
	if n := columns(); n != 5 || srv.prepares.Load() != 2 {
		t.Fatalf("%d columns, %d prepares", n, srv.prepares.Load())
	}
}
