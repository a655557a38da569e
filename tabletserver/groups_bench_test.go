package tabletserver_test

import (
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"

	"github.com/tabletdb/tabletdb/meta/schema"
)

// BenchmarkScanBesideLarge scans the values of 10 bytes of one family, beside
// another with values of 10,000 bytes, from a store in memory, without a cache:
// in one locality group, in two, and in two of which the small one is kept in
// memory.
func BenchmarkScanBesideLarge(b *testing.B) {
	const rows = 2000
	for _, c := range []struct {
		name     string
		group    string
		inMemory bool
	}{{"together", "", false}, {"apart", "big", false}, {"apart, in memory", "big", true}} {
		b.Run(c.name, func(b *testing.B) {
			ctx := b.Context()
			f := tabletservertest.New(b)
			defer f.Close()
			f.Options.MemtableBytes, f.Options.NoCompaction = 1<<30, true
			f.Options.CacheBytes = 64 << 20
			table := groupTable(ctx, f)
			change := []*controlpb.FamilyStorage{inGroup("w", c.group), {Family: "w", Compression: metapb.Storage_COMPRESSION_NONE.Enum()}}
			if c.inMemory {
				change = append(change, &controlpb.FamilyStorage{Family: "cf", InMemory: &c.inMemory})
			}
			rec, err := schema.SetStorage(table.Record, change)
			f.Must(err)
			_, err = f.Meta.UpdateTable(ctx, table, rec)
			f.Must(err)
			s := f.Open(ctx)
			tb := f.Serve(ctx, f.Tablets(ctx, table)[0], s)
			for i := range rows {
				f.Must(s.Mutate(ctx, tb, fmt.Sprintf("row%06d", i), tabletservertest.SetCell("cf", "q", 1000, "0123456789"), tabletservertest.SetCell("w", "q", 1000, noise(uint64(i), 10_000))))
			}
			f.Must(s.Flush(ctx, tb))
			for deadline := time.Now().Add(10 * time.Second); c.inMemory && metricOf(b, s, "in_memory_files") == 0; {
				if time.Now().After(deadline) {
					b.Fatal("the group is not in memory")
				}
			}
			s.Store.Reset()
			for b.Loop() {
				n := 0
				f.Must(s.Scan(ctx, tb, &bigtablepb.ReadRowsRequest{Filter: family("cf")}, func(*chunk.Row) { n++ }))
				if n != rows {
					b.Fatalf("%d rows", n)
				}
			}
			b.ReportMetric(float64(s.Store.Count(tabletservertest.Get, base.SSTablePrefix))/float64(b.N), "GETs/op")
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
