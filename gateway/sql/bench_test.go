package sql_test

import (
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql"
)

// BenchmarkExecute is the cost per execution of a prepared query, over rows
// whose filtering is part of it.
func BenchmarkExecute(b *testing.B) {
	m := wide(1000, 100)
	s := sql.New(sql.Config{Backend: m})
	for name, text := range map[string]string{
		"point":  "SELECT _key, f['q'] FROM wide WHERE _key = 'k00500'",
		"scan":   "SELECT * FROM wide",
		"filter": "SELECT _key FROM wide WHERE f['even'] = 'true' AND STARTS_WITH(f['q'], 'a')",
		"group":  "SELECT f['even'], COUNT(*), MAX(f['q']) FROM wide GROUP BY f['even']",
	} {
		p, err := s.Prepare(b.Context(), &bigtablepb.PrepareQueryRequest{InstanceName: instance, Query: text,
			DataFormat: &bigtablepb.PrepareQueryRequest_ProtoFormat{ProtoFormat: &bigtablepb.ProtoFormat{}}})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			m.rows = 0
			for b.Loop() {
				m.reads = nil
				err := s.Execute(b.Context(), &bigtablepb.ExecuteQueryRequest{InstanceName: instance, PreparedQuery: p.PreparedQuery},
					func(*bigtablepb.ExecuteQueryResponse) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(m.rows, 1)), "ns/row")
		})
	}
}
