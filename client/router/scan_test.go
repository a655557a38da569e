package router_test

import (
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/internal/base"
)

func TestOverManyTablets(t *testing.T) {
	inBubble(t, 3, []string{"b", "d", "f"}, func(x *fixture) {
		x.fill("a", "b", "c", "d", "e", "f", "g")
		x.expect(&bigtablepb.ReadRowsRequest{}, "a", "b", "c", "d", "e", "f", "g")
		x.expect(&bigtablepb.ReadRowsRequest{Reversed: true}, "g", "f", "e", "d", "c", "b", "a")
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: 4}, "a", "b", "c", "d")
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: 4, Reversed: true}, "g", "f", "e", "d")
		some := &bigtablepb.RowSet{
			RowKeys:   [][]byte{[]byte("g"), []byte("a"), []byte("x")},
			RowRanges: []*bigtablepb.RowRange{{StartKey: &bigtablepb.RowRange_StartKeyOpen{StartKeyOpen: []byte("c")}, EndKey: &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte("f")}}},
		}
		x.expect(&bigtablepb.ReadRowsRequest{Rows: some}, "a", "d", "e", "g")
		x.expect(&bigtablepb.ReadRowsRequest{Rows: some, Reversed: true}, "g", "e", "d", "a")
		x.expect(&bigtablepb.ReadRowsRequest{Rows: some, RowsLimit: 3}, "a", "d", "e")

		_, _, stats, err := x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{RequestStatsView: bigtablepb.ReadRowsRequest_REQUEST_STATS_FULL})
		if n := stats.GetFullReadStatsView().GetReadIterationStats().GetRowsReturnedCount(); err != nil || n != 7 {
			x.Errorf("statistics of %d rows, %v", n, err)
		}
	})
}

func TestTabletsOutsideTheRowsAreNotAsked(t *testing.T) {
	inBubble(t, 1, []string{"b", "d", "f"}, func(x *fixture) {
		x.fill("a", "c", "e", "g")
		x.expect(&bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("a"), []byte("g")}}}, "a", "g")
		if n := x.servers[0].Calls("ReadRows"); n != 2 {
			x.Errorf("%d tablets were asked", n)
		}
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: 2}, "a", "c")
		if n := x.servers[0].Calls("ReadRows"); n != 2 {
			x.Errorf("with a limit, %d tablets were asked", n)
		}
	})
}

func TestScanResumes(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		inBubble(t, 2, []string{"m"}, func(x *fixture) {
			var want []string
			for c := 'a'; c <= 'z'; c++ {
				want = append(want, string(c))
				if err := x.write(within(time.Minute), string(c), set("p", "1", 1000), set("q", "2", 1000), set("r", "3", 1000)); err != nil {
					x.Fatal(err)
				}
			}
			if reversed {
				slices.Reverse(want)
			}
			n := 0
			for _, s := range x.servers {
				s.SetFrames(2, 2) // rows are cut
				s.SetFault(tabletstest.Fault{Frame: func(op tabletstest.Op) error {
					if n++; n%5 != 0 {
						return nil
					}
					if n == 20 {
						tb := x.TabletOf(x.table.ID, "a")
						x.Split(tb, "c")
						x.Move(tb, x.servers[1])
					}
					return base.ErrUnavailable
				}})
			}
			rows, resets, _, err := x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{Reversed: reversed})
			if err != nil || !slices.Equal(rows, want) || resets == 0 {
				x.Errorf("read %q, %d resets, %v", rows, resets, err)
			}
			rows, _, _, err = x.read(within(time.Minute), &bigtablepb.ReadRowsRequest{Reversed: reversed, RowsLimit: 17})
			if err != nil || !slices.Equal(rows, want[:17]) {
				x.Errorf("with a limit: %q, %v", rows, err)
			}
		})
	}
}

func TestSampleRowKeys(t *testing.T) {
	inBubble(t, 2, []string{"c", "e"}, func(x *fixture) {
		x.fill("a", "b", "d", "f")
		x.r.SampleRowKeys(within(time.Minute), x.name) // fills the cache
		x.Split(x.TabletOf(x.table.ID, "a"), "b")
		x.Merge(x.TabletOf(x.table.ID, "d"), x.TabletOf(x.table.ID, "f"))
		samples, err := x.r.SampleRowKeys(within(time.Minute), x.name)
		var got []string
		last := int64(0)
		for _, s := range samples {
			got = append(got, string(s.Key))
			if s.Offset < last {
				x.Errorf("offsets fall: %v", samples)
			}
			last = s.Offset
		}
		if err != nil || !slices.Equal(got, []string{"b", "c", ""}) || last == 0 {
			x.Errorf("%q, %v", got, err)
		}
	})
}
