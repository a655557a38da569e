package tabletserver_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// TestConcurrentUse runs everything at once on one tablet, for the race
// detector, and counts what comes out.
func TestConcurrentUse(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.Tablet.MemtableBytes = 16 << 10
		f.Options.Tablet.FileBytes = 8 << 10
		f.Options.MinTruncate = 1
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		const writers, rounds, rows = 6, 60, 8
		var wg, others sync.WaitGroup
		done := make(chan struct{})
		beside := func(do func() error) {
			others.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						f.Must(do())
					}
				}
			})
		}
		for w := range writers {
			wg.Go(func() {
				for i := range rounds {
					row := fmt.Sprintf("r%d", i%rows)
					f.Must(s.Set(ctx, tb, row, "cf", fmt.Sprintf("w%d", w), int64(i+1)*1000, strings.Repeat("x", 100)))
					_, err := s.Increment(ctx, tb, row, "v1", "n", 1)
					f.Must(err)
					f.Must(bulk(f, s, tb, fmt.Sprintf("b%d-%d", w, i)))
					_, err = s.CheckAndMutate(ctx, tb, row, nil, []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "q", 1000, "x")})
					f.Must(err)
				}
			})
		}
		beside(func() error { return s.Flush(ctx, tb) })
		beside(func() error { return s.Compact(ctx, tb) })
		beside(func() error { _, err := s.Read(ctx, tb, &bigtablepb.ReadRowsRequest{RowsLimit: 20}); return err })
		beside(func() error { _, err := s.Read(ctx, tb, &bigtablepb.ReadRowsRequest{Reversed: true}); return err })
		beside(func() error {
			_, err := s.SampleRowKeys(ctx, route.Target{Tablet: tb.ID, Epoch: tb.Epoch})
			return err
		})
		beside(func() error {
			s.Files().Floor()
			s.Files().Pinned()
			if _, err := s.Control().Status(ctx, &controlpb.StatusRequest{}); err != nil {
				return err
			}
			_, err := s.Control().Describe(ctx, &controlpb.DescribeRequest{Tablet: uint64(tb.ID)})
			return err
		})
		wg.Wait()
		close(done)
		others.Wait()

		check := func(s *tabletservertest.Server, tb meta.Tablet) {
			t.Helper()
			for r := range rows {
				n := 0
				for i := range rounds {
					if i%rows == r {
						n += writers
					}
				}
				got, err := s.Increment(ctx, tb, fmt.Sprintf("r%d", r), "v1", "n", 0)
				f.Must(err)
				if got != int64(n) {
					t.Errorf("row r%d counts %d, want %d", r, got, n)
				}
			}
			if all := s.All(ctx, tb); len(all) != rows+2*writers*rounds {
				t.Errorf("%d rows, want %d", len(all), rows+2*writers*rounds)
			}
		}
		check(s, tb)
		before := s.All(ctx, tb)
		s, tb = failOver(f, s, tb)
		if after := s.All(ctx, tb); !slices.Equal(before, after) {
			t.Errorf("%d rows after the fail-over differ from %d before", len(after), len(before))
		}
		check(s, tb)
	})
}

// bulk writes two rows with one request.
func bulk(f *tabletservertest.Fixture, s *tabletservertest.Server, tb meta.Tablet, row string) error {
	var entries [][]byte
	for _, suffix := range []string{"x", "y"} {
		e, err := proto.Marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte(row + suffix), Mutations: []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "q", 1000, "v")}})
		f.Must(err)
		entries = append(entries, e)
	}
	errs, err := s.MutateRows(f.T.Context(), route.Target{Tablet: tb.ID, Epoch: tb.Epoch}, entries)
	if err == nil && errs != nil {
		err = fmt.Errorf("entries failed: %v", errs)
	}
	return err
}
