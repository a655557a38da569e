package sql_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// wide has n rows of size bytes each.
func wide(n, size int) *memory {
	t := &memTable{schema: plan.Table{ID: "wide", Families: []plan.Family{{Name: "f"}}}}
	for i := range n {
		t.add(fmt.Sprintf("k%05d", i), "f", "q", 1000, strings.Repeat(string(rune('a'+i%26)), size))
		t.add(fmt.Sprintf("k%05d", i), "f", "even", 1000, fmt.Sprint(i%2 == 0))
	}
	return &memory{tables: map[string]*memTable{instance + "/tables/wide": t}}
}

// TestResumeAfterCut cuts the stream after each message in turn, resumes with
// the last token, and wants no row twice and none missing.
func TestResumeAfterCut(t *testing.T) {
	m := wide(60, 40<<10)
	s := sql.New(sql.Config{Backend: m})
	for _, text := range []string{
		"SELECT _key, SUBSTR(f['q'], 1, 1), f FROM wide",
		"SELECT _key, f FROM wide ORDER BY _key DESC",
		"SELECT _key, f FROM wide WHERE f['even'] = 'true' LIMIT 25 OFFSET 3",
		"SELECT _key, f FROM wide WHERE _key >= 'k00010' LIMIT 40 OFFSET 5",
		"SELECT _key, MAX(f['q']) FROM wide GROUP BY _key",
		"SELECT _key, f FROM wide ORDER BY f['q'], _key LIMIT 30",
		"SELECT DISTINCT f['q'] FROM wide",
	} {
		p, err := prepare(t, s, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := execute(t, s, p, &bigtablepb.ExecuteQueryRequest{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for cut := 1; ; cut++ {
			got, err := execute(t, s, p, &bigtablepb.ExecuteQueryRequest{}, cut)
			if err == nil {
				if cut < 3 {
					t.Errorf("%s: %d messages only", text, cut)
				}
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			req := &bigtablepb.ExecuteQueryRequest{}
			if n := len(got.tokens); n > 0 {
				req.ResumeToken = got.tokens[n-1]
			}
			rest, err := execute(t, s, p, req, 0)
			if err != nil {
				t.Fatalf("%s: resume after %d messages: %v", text, cut, err)
			}
			if rows := slices.Concat(got.rows, rest.rows); !slices.Equal(rows, whole.rows) {
				t.Errorf("%s: cut after %d messages: %d and %d rows, want %d", text, cut, len(got.rows), len(rest.rows), len(whole.rows))
			}
		}
		end, err := execute(t, s, p, &bigtablepb.ExecuteQueryRequest{ResumeToken: whole.tokens[len(whole.tokens)-1]}, 0)
		if err != nil || len(end.rows) > 0 || len(end.tokens) != 1 || !bytes.Equal(end.tokens[0], whole.tokens[len(whole.tokens)-1]) {
			t.Errorf("%s: the sentinel gives %d rows, %d tokens, %v", text, len(end.rows), len(end.tokens), err)
		}
	}
}

func TestTokensOfSparseQueries(t *testing.T) {
	s := sql.New(sql.Config{Backend: wide(25_000, 1)})
	got, err := run(t, s, "SELECT _key FROM wide WHERE f['q'] = 'none'", nil)
	if err != nil || len(got.rows) != 0 || len(got.tokens) != 3 {
		t.Errorf("%d rows, %d tokens, %v", len(got.rows), len(got.tokens), err)
	}
}

func TestLongValuesSpanMessages(t *testing.T) {
	got, err := run(t, sql.New(sql.Config{Backend: wide(2, 5<<20)}), "SELECT f FROM wide", nil)
	if err != nil || len(got.rows) != 2 || len(got.rows[0]) < 5<<20 {
		t.Errorf("%d rows, %v", len(got.rows), err)
	}
}

func TestResumeTokensAreOfOneRequest(t *testing.T) {
	s := sql.New(sql.Config{Backend: people()})
	params := map[string]*bigtablepb.Value{"n": param(int64(3), value.Of(value.Int64))}
	p, err := prepare(t, s, "SELECT _key FROM people LIMIT @n", params)
	if err != nil {
		t.Fatal(err)
	}
	got, err := execute(t, s, p, &bigtablepb.ExecuteQueryRequest{Params: params}, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]*bigtablepb.Value{"n": param(int64(4), value.Of(value.Int64))}
	if _, err = execute(t, s, p, &bigtablepb.ExecuteQueryRequest{Params: other, ResumeToken: got.tokens[0]}, 0); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("other parameters: %v", err)
	}
	if _, err = execute(t, s, p, &bigtablepb.ExecuteQueryRequest{Params: params, ResumeToken: got.tokens[0][:8]}, 0); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("malformed: %v", err)
	}
}

// violation returns the type of the violation that err tells of.
func violation(err error) string {
	for _, d := range status.Convert(err).Details() {
		if f, ok := d.(*errdetails.PreconditionFailure); ok {
			return f.Violations[0].Type
		}
	}
	return ""
}

func TestPreparedQueriesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := wide(60, 40<<10)
		s := sql.New(sql.Config{Backend: m, TTL: time.Minute})
		p, err := prepare(t, s, "SELECT _key, f FROM wide", nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Until(p.ValidUntil.AsTime()); d != time.Minute {
			t.Errorf("valid for %v", d)
		}
		cut, err := execute(t, s, p, &bigtablepb.ExecuteQueryRequest{}, 2)
		if !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err = execute(t, s, p, &bigtablepb.ExecuteQueryRequest{}, 0); violation(err) != "PREPARED_QUERY_EXPIRED" {
			t.Errorf("after its time: %v", err)
		}
		rest, err := execute(t, s, p, &bigtablepb.ExecuteQueryRequest{ResumeToken: cut.tokens[len(cut.tokens)-1]}, 0)
		if err != nil || len(cut.rows)+len(rest.rows) != 60 {
			t.Errorf("resumed after its time: %d and %d rows, %v", len(cut.rows), len(rest.rows), err)
		}
		if p, err = prepare(t, s, "SELECT _key FROM wide", nil); err != nil {
			t.Fatal(err)
		}
		delete(m.tables, instance+"/tables/wide")
		if _, err = execute(t, s, p, &bigtablepb.ExecuteQueryRequest{}, 0); !errors.Is(err, base.ErrNotFound) {
			t.Errorf("without its table: %v", err)
		}
	})
}

func TestRequestsAreChecked(t *testing.T) {
	s := sql.New(sql.Config{Backend: people()})
	p, err := prepare(t, s, "SELECT 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]*bigtablepb.ExecuteQueryRequest{
		"nothing":        {InstanceName: instance},
		"both":           {InstanceName: instance, Query: "SELECT 1", PreparedQuery: p.PreparedQuery},
		"other instance": {InstanceName: instance + "x", PreparedQuery: p.PreparedQuery},
		"format": {InstanceName: instance, PreparedQuery: p.PreparedQuery,
			DataFormat: &bigtablepb.ExecuteQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}},
		"malformed":     {InstanceName: instance, PreparedQuery: p.PreparedQuery[1:]},
		"unknown param": {InstanceName: instance, PreparedQuery: p.PreparedQuery, Params: map[string]*bigtablepb.Value{"x": {}}},
	} {
		if err := s.Execute(t.Context(), req, func(*bigtablepb.ExecuteQueryResponse) error { return nil }); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := &receiver{t: t}
	err = s.Execute(t.Context(), &bigtablepb.ExecuteQueryRequest{InstanceName: instance, Query: "SELECT _key FROM people LIMIT 1",
		DataFormat: &bigtablepb.ExecuteQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}},
		func(m *bigtablepb.ExecuteQueryResponse) error {
			if m.GetMetadata() != nil {
				r.n = -1 // the first with results is the next
			}
			return r.send(m)
		})
	if err != nil || len(r.rows) != 1 {
		t.Errorf("without preparing: %v, %v", r.rows, err)
	}
}

// TestNoFormat: Google's client for Node.js names no data format.
func TestNoFormat(t *testing.T) {
	s := sql.New(sql.Config{Backend: people()})
	p, err := s.Prepare(t.Context(), &bigtablepb.PrepareQueryRequest{InstanceName: instance, Query: "SELECT 1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]*bigtablepb.ExecuteQueryRequest{
		"prepared": {InstanceName: instance, PreparedQuery: p.PreparedQuery},
		"text":     {InstanceName: instance, Query: "SELECT 1"},
	} {
		n := 0
		if err := s.Execute(t.Context(), req, func(*bigtablepb.ExecuteQueryResponse) error { n++; return nil }); err != nil || n == 0 {
			t.Errorf("%s: %d messages, %v", name, n, err)
		}
	}
}
