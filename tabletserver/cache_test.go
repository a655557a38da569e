package tabletserver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// openCache returns a page cache over a store, with tiny pages.
func openCache(t *testing.T, inner objstore.Store, dir string, pages int64) *pagecache.Store {
	t.Helper()
	c, err := pagecache.Open(inner, pagecache.Options{Dir: dir, Bytes: pages * 4 << 10, PageSize: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestReadsAgainstModelCached is TestReadsAgainstModel over a page cache that is
// too small for the data, with room for the metadata of few files.
func TestReadsAgainstModelCached(t *testing.T) {
	rng, dir := seedtest.New(t), t.TempDir()
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		c := openCache(t, f.Store, dir, 16)
		defer c.Close()
		f.Store = c
		f.Options.CacheBytes, f.Options.MetadataBytes = -1, 6<<10
		readAgainstModel(t, f, rng)
		if st := c.Stats(); st.Hits == 0 || st.Evicted == 0 || st.Bad > 0 || st.Disabled {
			t.Errorf("%+v", st)
		}
	})
}

// point reads one row.
func point(row string) *bigtablepb.ReadRowsRequest {
	return &bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte(row)}}}
}

// noise returns text that does not compress.
func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + r.IntN(90))
	}
	return string(b)
}

// TestWarmRestart: what a server has read of its files it need not read again
// after a restart; what compactions have replaced does not stay.
func TestWarmRestart(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction, f.Options.CacheBytes = true, -1
		var c *pagecache.Store
		f.Over = func(inner objstore.Store) objstore.Store {
			if c != nil {
				c.Close()
			}
			c = openCache(t, inner, dir, 1024)
			return c
		}
		defer func() { c.Close() }()
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		want := map[string]string{}
		const rows = 400
		for k := range 2 {
			for i := k; i < rows; i += 2 {
				row := fmt.Sprintf("row%04d", i)
				want[row] = noise(uint64(i), 500)
				f.Must(s.Set(ctx, tb, row, "cf", "q", 1000, want[row]))
			}
			f.Must(s.Flush(ctx, tb))
		}
		read := func() {
			for row, v := range want {
				got, err := s.Read(ctx, tb, point(row))
				f.Must(err)
				if len(got) != 1 || !strings.HasSuffix(got[0], "="+v) {
					t.Fatalf("%s: %q", row, got)
				}
			}
			c.Settle()
		}
		noGets := func(when string) {
			t.Helper()
			s.Store.Reset()
			read()
			if n := s.Store.Count(tabletservertest.Get, "sst/"); n != 0 {
				t.Errorf("%d GETs %s: %+v", n, when, c.Stats())
			}
		}
		noGets("of what was just written")
		s, tb = failOver(f, s, tb)
		noGets("after a restart")
		before := c.Stats().Pages
		f.Must(s.Compact(ctx, tb))
		if st := c.Stats(); st.Pages > before+2 {
			t.Errorf("%d pages, %d before both files were replaced", st.Pages, before)
		}
		noGets("after a compaction of what was cached")
		c.Forget(sstables(ctx, f)...)
		s.Store.Reset()
		read()
		if n := s.Store.Count(tabletservertest.Get, "sst/"); n == 0 || n > 60 {
			t.Errorf("%d GETs for a file of 200 KB", n)
		}
		f.Must(s.Set(ctx, tb, "row0000", "cf", "q", 1000, want["row0000"]))
		f.Must(s.Flush(ctx, tb))
		c.Forget(sstables(ctx, f)...)
		f.Must(s.Compact(ctx, tb))
		if st := c.Stats(); st.Pages != 0 {
			t.Errorf("%d pages after a compaction of what was not cached", st.Pages)
		}
		read()
	})
}

// sstables returns the keys of all SSTables in the bucket.
func sstables(ctx context.Context, f *tabletservertest.Fixture) (keys []string) {
	for info, err := range f.Store.List(ctx, "sst/", "") {
		f.Must(err)
		keys = append(keys, info.Key)
	}
	return keys
}

// columnFilter passes one column.
func columnFilter(family, qualifier string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: []*bigtablepb.RowFilter{
		{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: family}},
		{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte(qualifier)}},
	}}}}
}

// TestAbsentCostsNothing: reads of rows and of columns that no file has touch no
// file but for its tail, which is read once.
func TestAbsentCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction, f.Options.CacheBytes = true, -1
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		const files, rows = 4, 500
		for k := range files {
			for i := range rows {
				f.Must(s.Set(ctx, tb, fmt.Sprintf("row%04d", 2*i), "cf", fmt.Sprintf("q%d", k), 1000, "v"))
			}
			f.Must(s.Flush(ctx, tb))
		}
		gets := func(reads int, want int, r func(i int) *bigtablepb.ReadRowsRequest) int {
			t.Helper()
			s.Store.Reset()
			for i := range reads {
				got, err := s.Read(ctx, tb, r(i))
				f.Must(err)
				if len(got) != want {
					t.Fatalf("%v: %q", r(i), got)
				}
			}
			return s.Store.Count(tabletservertest.Get, "sst/")
		}
		absent := func(i int) *bigtablepb.ReadRowsRequest { return point(fmt.Sprintf("row%04d", 2*i%(2*rows)+1)) }
		column := func(q string) func(i int) *bigtablepb.ReadRowsRequest {
			return func(i int) *bigtablepb.ReadRowsRequest {
				r := point(fmt.Sprintf("row%04d", 2*i%(2*rows)))
				r.Filter = columnFilter("cf", q)
				return r
			}
		}
		if n := gets(1, 0, absent); n > files {
			t.Errorf("%d GETs for the first read", n)
		}
		if n := gets(rows, 0, absent); n > rows*files/200 { // false positives
			t.Errorf("%d GETs for %d reads of absent rows", n, rows)
		}
		if n := gets(rows, 0, column("other")); n > rows*files/200 {
			t.Errorf("%d GETs for %d reads of an absent column", n, rows)
		}
		if n := gets(rows, 1, column("q2")); n < rows || n > rows+rows*files/200 {
			t.Errorf("%d GETs for %d reads of a column that one of %d files has", n, rows, files)
		}
		f.Must(s.Mutate(ctx, tb, "row0000", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
		f.Must(s.Mutate(ctx, tb, "row0002", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: "cf"}}}))
		f.Must(s.Flush(ctx, tb))
		gets(2, 0, column("q2")) // deletions are found, whatever column is asked for
	})
}

// TestMetadataBudget: the filters and indexes of many files take no more memory
// than they may; each that is needed again costs one GET.
func TestMetadataBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		const files, rows, budget = 20, 300, 12 << 10
		f.Options.NoCompaction, f.Options.MetadataBytes = true, budget
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		for k := range files {
			for i := range rows {
				f.Must(s.Set(ctx, tb, fmt.Sprintf("%02d-%04d", k, i), "cf", "q", 1000, "v"))
			}
			f.Must(s.Flush(ctx, tb))
		}
		for round := range 3 {
			for i := range 200 {
				got, err := s.Read(ctx, tb, point(fmt.Sprintf("%02d-%04d", i%files, i)))
				f.Must(err)
				if len(got) != 1 {
					t.Fatalf("round %d, row %d: %q", round, i, got)
				}
				if open, bytes, closed := s.Files().MetadataStats(); bytes > budget || open == 0 || i > files && closed == 0 {
					t.Fatalf("%d files open, %d bytes of metadata, %d closed", open, bytes, closed)
				}
			}
		}
		f.Must(s.Compact(ctx, tb))
		if _, err := s.Read(ctx, tb, point("00-0000")); err != nil {
			t.Fatal(err)
		}
		if open, _, _ := s.Files().MetadataStats(); open != 1 {
			t.Errorf("%d files open after all were merged", open)
		}
		f.Must(s.Unload(ctx, tb))
		if open, bytes, _ := s.Files().MetadataStats(); open != 0 || bytes != 0 {
			t.Errorf("%d files of %d bytes open without a tablet", open, bytes)
		}
	})
}

// TestScanRanges: a scan over many files asks the bucket in ranges that grow, and
// go on growing from file to file; one of a few rows does not read what lies
// behind its end.
func TestScanRanges(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction, f.Options.Tablet.FileBytes, f.Options.Tablet.Readahead = true, 512<<10, 256<<10
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		const rows = 3000
		for i := range rows {
			f.Must(s.Set(ctx, tb, fmt.Sprintf("row%05d", i), "cf", "q", 1000, noise(uint64(i), 1000)))
		}
		f.Must(s.Flush(ctx, tb))
		files := len(sstables(ctx, f))
		if files < 5 {
			t.Fatalf("%d files", files)
		}
		if n := len(s.All(ctx, tb)); n != rows {
			t.Fatalf("%d rows", n)
		}
		// A tail and two ranges for each file, and the beginning of the first.
		if n := s.Store.Count(tabletservertest.Get, "sst/"); n > 4*files+6 {
			t.Errorf("%d GETs for %d files", n, files)
		}
		s.Store.Reset()
		got, err := s.Read(ctx, tb, &bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowRanges: []*bigtablepb.RowRange{{
			StartKey: &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: []byte("row00100")},
			EndKey:   &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte("row00200")},
		}}}})
		f.Must(err)
		if len(got) != 100 {
			t.Fatalf("%d rows", len(got))
		}
		if n := s.Store.Count(tabletservertest.Get, "sst/"); n > 5 { // 100 KB: two blocks, then 64 and 128 KiB
			t.Errorf("%d GETs for 100 rows", n)
		}
	})
}
