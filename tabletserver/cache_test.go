package tabletserver_test

import (
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
// too small for the data.
func TestReadsAgainstModelCached(t *testing.T) {
	rng, dir := seedtest.New(t), t.TempDir()
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		c := openCache(t, f.Store, dir, 16)
		defer c.Close()
		f.Store = c
		f.Options.CacheBytes = -1
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
		read()
		if n := s.Store.Count(tabletservertest.Get, "sst/"); n > 60 {
			t.Errorf("%d GETs for two files of 100 KB", n)
		}
		s, tb = failOver(f, s, tb)
		read()
		if n := s.Store.Count(tabletservertest.Get, "sst/"); n != 0 {
			t.Errorf("%d GETs after a restart: %+v", n, c.Stats())
		}
		before := c.Stats().Pages
		f.Must(s.Compact(ctx, tb))
		if st := c.Stats(); st.Pages > before/10 {
			t.Errorf("%d pages of %d are there after both files were replaced", st.Pages, before)
		}
		read()
	})
}
