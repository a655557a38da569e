package tabletserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// memoryOf returns what a server says of what is kept of a tablet.
func memoryOf(ctx context.Context, s *tabletservertest.Server, t meta.Tablet) *controlpb.InMemory {
	s.F.T.Helper()
	r, err := s.Control().Describe(ctx, &controlpb.DescribeRequest{Tablet: uint64(t.ID)})
	s.F.Must(err)
	return r.InMemory
}

// metricOf returns the value of a metric of the server.
func metricOf(t testing.TB, s *tabletservertest.Server, name string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(tabletserver.NewMetrics(func() *tabletserver.Server { return s.Server }))
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.GetName() == "tabletdb_tabletserver_"+name {
			return m.Metric[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestInMemoryGroup: a group that is kept in memory is read without a GET soon
// after its files were opened, at any server, also after compactions; what does
// not fit is read as ever, and said to be; what need not be kept any more goes.
func TestInMemoryGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.CacheBytes, f.Options.InMemoryBytes = 1<<20, 200_000
		s := f.Open(ctx)
		table := groupTable(ctx, f)
		setStorage(ctx, f, table, inGroup("w", "big"), &controlpb.FamilyStorage{Family: "cf", LocalityGroup: proto.String("hot"), InMemory: proto.Bool(true)})
		tb := f.Serve(ctx, f.Tablets(ctx, table)[0], s)
		if m := memoryOf(ctx, s, tb); m != nil {
			t.Errorf("%v of a tablet without files", m)
		}
		const rows = 500
		fill := func(version int64) {
			for i := range rows {
				f.Must(s.Mutate(ctx, tb, fmt.Sprintf("row%03d", i), tabletservertest.SetCell("cf", "q", version, noise(uint64(i), 100)), tabletservertest.SetCell("w", "q", version, "w")))
			}
			f.Must(s.Flush(ctx, tb))
			time.Sleep(5 * time.Second)
		}
		scan := func(when string, gets bool) {
			t.Helper()
			s.Store.Reset()
			got, err := s.Read(ctx, tb, &bigtablepb.ReadRowsRequest{Filter: family("cf")})
			f.Must(err)
			one := point("row042")
			one.Filter = family("cf")
			row, err := s.Read(ctx, tb, one)
			f.Must(err)
			if len(got) != rows || len(row) != 1 || !strings.Contains(row[0], noise(42, 100)) {
				t.Errorf("%s: %d rows, %q", when, len(got), row)
			}
			if n := s.Store.Count(tabletservertest.Get, base.SSTablePrefix); (n > 0) != gets {
				t.Errorf("%s: %d GETs", when, n)
			}
		}
		kept := func(when string, files, kept uint32) {
			t.Helper()
			m := memoryOf(ctx, s, tb)
			if m == nil || m.Files != files || m.Kept != kept || m.Error != "" || m.ServerBytes > m.ServerLimit || (m.Kept > 0) != (m.ServerBytes > 0) {
				t.Errorf("%s: %v", when, m)
			}
			if got := metricOf(t, s, "in_memory_left_out_files"); got != float64(files-kept) {
				t.Errorf("%s: %v files are said to be left out", when, got)
			}
			if got := metricOf(t, s, "in_memory_files"); got != float64(kept) {
				t.Errorf("%s: %v files are said to be kept", when, got)
			}
		}
		fill(1000)
		kept("flushed", 1, 1)
		scan("flushed", false)
		s, tb = failOver(f, s, tb)
		time.Sleep(5 * time.Second)
		kept("at another server", 1, 1)
		scan("at another server", false)
		fill(2000)
		kept("flushed again", 2, 2)
		scan("flushed again", false)
		fill(3000) // three times 70 kB do not fit
		kept("with more than fits", 3, 2)
		s.Store.Reset()
		time.Sleep(time.Minute)
		if n := s.Store.Count(tabletservertest.Get, base.SSTablePrefix); n > 0 {
			t.Errorf("%d GETs while there is no room", n)
		}
		f.Must(s.Drop(ctx, tb, nil, "row100", ""))
		f.Must(s.Compact(ctx, tb))
		time.Sleep(5 * time.Second)
		kept("after what was too much is gone", 1, 1)
		setStorage(ctx, f, table, &controlpb.FamilyStorage{Family: "cf", InMemory: proto.Bool(false)})
		time.Sleep(5 * time.Second)
		if m := memoryOf(ctx, s, tb); m != nil || metricOf(t, s, "in_memory_bytes") != 0 {
			t.Errorf("%v is kept that need not be any more", m)
		}
	})
}
