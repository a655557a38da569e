package tabletserver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// entries returns how many entries the files of a tablet hold.
func entries(t *testing.T, s *tabletservertest.Server, tb meta.Tablet) (n uint64) {
	t.Helper()
	d, err := s.Control().Describe(t.Context(), &controlpb.DescribeRequest{Tablet: uint64(tb.ID)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range d.Manifest.GetRuns() {
		for _, f := range r.Files {
			n += f.Entries
		}
	}
	return n
}

// compactions returns how many compactions a server has made.
func compactions(t *testing.T, s *tabletservertest.Server) (n int) {
	t.Helper()
	a, err := s.Control().Activity(t.Context(), &controlpb.ActivityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range a.Recent {
		if j.Kind == "compaction" {
			n++
			t.Log(j.Detail)
		}
	}
	return n
}

// TestDeletedRangeGetsFast: scans over a range whose rows were deleted are slow at
// first, and by that they cause the compaction that makes them fast. Scans of what
// is not deleted cause none.
func TestDeletedRangeGetsFast(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		const rows, columns, deleted = 3000, 20, 900
		for i := range rows {
			var m []*bigtablepb.Mutation
			for c := range columns {
				m = append(m, SetCell("cf", fmt.Sprintf("q%02d", c), 1000, "value"))
			}
			f.Must(s.Mutate(ctx, tb, fmt.Sprintf("r%04d", i), m...))
		}
		f.Must(s.Flush(ctx, tb))
		scan := func(want int) {
			t.Helper()
			n := 0
			f.Must(s.Scan(ctx, tb, &bigtablepb.ReadRowsRequest{}, func(*chunk.Row) { n++ }))
			if n != want {
				t.Fatalf("%d rows, want %d", n, want)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for range 20 {
			scan(rows)
		}
		if n := compactions(t, s); n != 0 {
			t.Fatalf("%d compactions of what holds no garbage", n)
		}
		for i := range deleted {
			f.Must(s.Mutate(ctx, tb, fmt.Sprintf("r%04d", 1000+i), &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
		}
		f.Must(s.Flush(ctx, tb))
		before := entries(t, s, tb)
		scans := 0
		for ; scans < 20 && entries(t, s, tb) == before; scans++ {
			scan(rows - deleted)
		}
		after := entries(t, s, tb)
		t.Logf("%d entries before, %d after %d scans", before, after, scans)
		if after != (rows-deleted)*columns {
			t.Errorf("%d entries are left, want %d", after, (rows-deleted)*columns)
		}
		made := compactions(t, s)
		for range 20 {
			scan(rows - deleted)
		}
		if compactions(t, s) != made {
			t.Errorf("%d more compactions of what holds no garbage", compactions(t, s)-made)
		}
	})
}

// TestExpiredCellsGo: cells that a family keeps for an hour are gone from the
// files of a tablet to which nothing comes any more; others stay, and once there
// is no garbage nothing is rewritten again.
func TestExpiredCellsGo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		table, err := f.Meta.CreateTable(ctx, &metapb.TableRecord{
			Name:       "projects/p/instances/i/tables/ttl",
			Families:   []*metapb.Family{{Id: 1, Name: "cf", GcRule: &adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(time.Hour)}}}},
			NextFamily: 2,
		}, nil, time.Now())
		f.Must(err)
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, table)[0], s)
		set := func(row string, at time.Time) {
			f.Must(s.Set(ctx, tb, row, "cf", "q", at.UnixMilli()*1000, "value"))
		}
		began := time.Now()
		for i := range 100 {
			set(fmt.Sprintf("old%03d", i), began)
		}
		set("ahead", began.Add(24*time.Hour)) // its run must not keep the others
		f.Must(s.Flush(ctx, tb))
		time.Sleep(30 * time.Minute)
		if n := entries(t, s, tb); n != 101 {
			t.Fatalf("%d entries of 101 before their time", n)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := entries(t, s, tb); n > 1 {
			t.Errorf("%d entries are left of those that expired", n)
		}
		time.Sleep(2 * time.Hour)
		made := compactions(t, s)
		time.Sleep(24 * time.Hour)
		if n := entries(t, s, tb); n != 0 || compactions(t, s) > made {
			t.Errorf("%d entries are left, %d more compactions of nothing", n, compactions(t, s)-made)
		}
		if r := f.Record(ctx, tb); r.Owner != s.Incarnation() {
			t.Fatal("the tablet was lost")
		}
	})
}
