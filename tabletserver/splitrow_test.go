package tabletserver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// splitAt has the server choose where to split, and returns the row.
func splitAt(ctx context.Context, s *tabletservertest.Server, t meta.Tablet, byLoad bool) (string, error) {
	r, err := s.Control().Split(ctx, &controlpb.SplitRequest{ByLoad: byLoad, Tablet: &controlpb.TabletID{
		Table: uint64(t.Table), Tablet: uint64(t.ID), End: t.End, Tepoch: uint64(t.Epoch),
	}})
	return string(r.GetRow()), err
}

// TestSplitInTheMiddle: the row halves the bytes, wherever they are, and rows
// are never divided.
func TestSplitInTheMiddle(t *testing.T) {
	big := strings.Repeat("x", 50<<10)
	for name, c := range map[string]struct {
		fill        func(i int) (row, value string) // of 200 cells
		flush       bool
		least, most string // the row lies in [least, most]
		refused     bool
	}{
		"even, in files":  {func(i int) (string, string) { return fmt.Sprintf("r%03d", i), strings.Repeat("v", 2000) }, true, "r080", "r120", false},
		"even, in memory": {func(i int) (string, string) { return fmt.Sprintf("r%03d", i), strings.Repeat("v", 2000) }, false, "r080", "r120", false},
		"heavy end": {func(i int) (string, string) { // a tenth of the rows has nearly all
			if i >= 180 {
				return fmt.Sprintf("r%03d", i), big
			}
			return fmt.Sprintf("r%03d", i), "v"
		}, true, "r182", "r197", false},
		"one row first": {func(i int) (string, string) { // most bytes are in the first row
			if i < 150 {
				return "a", strings.Repeat("v", 2000)
			}
			return fmt.Sprintf("r%03d", i), "v"
		}, true, "r150", "r150", false},
		"two rows":         {func(i int) (string, string) { return string(rune('a' + i%2)), strings.Repeat("v", 2000) }, true, "b", "b", false},
		"one row":          {func(int) (string, string) { return "a", strings.Repeat("v", 2000) }, true, "", "", true},
		"one row, in both": {func(int) (string, string) { return "a", strings.Repeat("v", 2000) }, false, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
				ctx := t.Context()
				f.Options.Tablet.NoCompression = true
				f.Options.Tablet.BlockBytes = 4 << 10
				s := f.Open(ctx)
				tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
				for i := range 200 {
					row, value := c.fill(i)
					f.Must(s.Set(ctx, tb, row, "cf", fmt.Sprint(i), 1000, value))
				}
				if c.flush {
					f.Must(s.Flush(ctx, tb))
				}
				row, err := splitAt(ctx, s, tb, false)
				if c.refused {
					if !errors.Is(err, base.ErrPrecondition) {
						t.Errorf("split at %q, %v", row, err)
					}
					return
				}
				f.Must(err)
				if row < c.least || row > c.most {
					t.Errorf("split at %q, want it in [%s, %s]", row, c.least, c.most)
				}
			})
		})
	}
}

// TestSplitInHalvesAgain: the sizes that the children report are their own, so
// that a split does not ask for another; a child is split in its own middle.
func TestSplitInHalvesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.Tablet.NoCompression, f.Options.Tablet.BlockBytes, f.Options.NoCompaction = true, 4<<10, true
		s := f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
		for i := range 400 {
			f.Must(s.Set(ctx, tb, fmt.Sprintf("r%03d", i), "cf", "q", 1000, strings.Repeat("v", 2000)))
		}
		f.Must(s.Flush(ctx, tb))
		for range 2 {
			for _, x := range f.Tablets(ctx, meta.Table{ID: tb.Table}) {
				_, err := splitAt(ctx, s, x, false)
				f.Must(err)
			}
		}
		st, err := s.Control().Status(ctx, &controlpb.StatusRequest{})
		f.Must(err)
		if len(st.Tablets) != 4 {
			t.Fatalf("%d tablets", len(st.Tablets))
		}
		for _, l := range st.Tablets {
			if l.FileBytes < 120<<10 || l.FileBytes > 300<<10 || l.RowsEstimate < 60 || l.RowsEstimate > 140 {
				t.Errorf("tablet %d, [%s, %s), has %d bytes and %d rows of 800 KiB and 400", l.Tablet, l.Start, l.End, l.FileBytes, l.RowsEstimate)
			}
			samples, err := s.SampleRowKeys(ctx, route.Target{Tablet: base.TabletID(l.Tablet), Epoch: base.Epoch(l.Tepoch)})
			f.Must(err)
			if n := samples[len(samples)-1].Offset; n < 120<<10 || n > 300<<10 {
				t.Errorf("tablet %d is said to have %d bytes of 800 KiB", l.Tablet, n)
			}
		}
	})
}

// TestSplitByLoad: the row halves the requests, not the bytes; where most are
// for one row, or too few are known, it is not done.
func TestSplitByLoad(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		s := f.Open(ctx)
		list := f.Tablets(ctx, f.CreateTable(ctx, "m"))
		tb, lone := f.Serve(ctx, list[0], s), f.Serve(ctx, list[1], s)
		if _, err := splitAt(ctx, s, tb, true); !errors.Is(err, base.ErrPrecondition) {
			t.Errorf("without requests: %v", err)
		}
		for i := range 100 {
			f.Must(s.Set(ctx, tb, fmt.Sprintf("a%02d", i), "cf", "q", 1000, strings.Repeat("v", 1000)))
		}
		for i := range 9000 {
			f.Must(s.Set(ctx, tb, fmt.Sprintf("k%03d", i*7%1000), "cf", "q", int64(i)*1000, "v"))
			row := "z"
			if i%10 == 0 {
				row = fmt.Sprintf("n%03d", i%97)
			}
			f.Must(s.Set(ctx, lone, row, "cf", "q", int64(i)*1000, "v"))
		}
		row, err := splitAt(ctx, s, tb, true)
		f.Must(err)
		if row < "k300" || row > "k700" {
			t.Errorf("split at %q", row)
		}
		if row, err := splitAt(ctx, s, lone, true); !errors.Is(err, base.ErrPrecondition) || !strings.Contains(err.Error(), `"z"`) {
			t.Errorf("most requests are for one row: %q, %v", row, err)
		}
		time.Sleep(time.Second)
	})
}
