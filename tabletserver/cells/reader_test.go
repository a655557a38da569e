package cells_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
)

func TestReaderAgainstModel(t *testing.T) {
	rng, s := seedtest.New(t), testSchema(t)
	for round := range 300 {
		entries := randomEntries(rng, rng.IntN(400), 1+rng.IntN(12))
		snapshot := base.MaxSeq
		if rng.IntN(2) == 0 {
			snapshot = base.Seq(rng.IntN(len(entries) + 1))
		}
		want := cellsOf(s, entries, snapshot)
		it := newSlice(entries)
		diff(t, fmt.Sprintf("round %d, forward", round), readAll(t, it, s, snapshot), want)

		var reversed []string
		r := cells.NewReader(it, s, snapshot, now)
		for ok := r.SeekLT(nil); ok; ok = r.PrevRow() {
			var row []string
			for r.Next() {
				row = append(row, format(r.Row(), r.Cell()))
			}
			reversed = append(row, reversed...)
		}
		diff(t, fmt.Sprintf("round %d, reverse", round), reversed, want)

		for range 20 {
			row := fmt.Sprintf("r%02d", rng.IntN(13))
			wantRow := slices.DeleteFunc(slices.Clone(want), func(c string) bool { return !strings.HasPrefix(c, fmt.Sprintf("%q ", row)) })
			var got []string
			if r.SeekGE([]byte(row)) && string(r.Row()) == row {
				for r.Next() {
					got = append(got, format(r.Row(), r.Cell()))
				}
			}
			diff(t, fmt.Sprintf("round %d, row %s", round, row), got, wantRow)
		}
	}
}

// TestReaderSkips: seeking within a row changes nothing of what is seen behind.
func TestReaderSkips(t *testing.T) {
	rng, s := seedtest.New(t), testSchema(t)
	quals := []string{"", "\x00", "a", "a\x00", "b", "c", "\xff", "\xff\xff"}
	for round := range 300 {
		entries := randomEntries(rng, 100+rng.IntN(400), 1+rng.IntN(4))
		snapshot := base.Seq(rng.IntN(len(entries) + 1))
		rows := map[string][]string{}
		for _, c := range cellsOf(s, entries, snapshot) {
			row, cell, _ := strings.Cut(c, " ")
			rows[row] = append(rows[row], cell)
		}
		r := cells.NewReader(newSlice(entries), s, snapshot, now)
		for ok := r.SeekGE(nil); ok; ok = r.NextRow() {
			want := rows[fmt.Sprintf("%q", r.Row())]
			for {
				if rng.IntN(4) == 0 {
					f, q := base.FamilyID(1+rng.IntN(int(highest))), quals[rng.IntN(len(quals))]
					r.SeekColumn(f, []byte(q))
					want = slices.DeleteFunc(slices.Clone(want), func(c string) bool { return before(c, s.ByID(f).Name, f, q) })
				}
				if !r.Next() {
					if len(want) > 0 {
						t.Fatalf("round %d: the row %q ends before %s", round, r.Row(), want[0])
					}
					break
				}
				_, got, _ := strings.Cut(format(r.Row(), r.Cell()), " ")
				if len(want) == 0 || got != want[0] {
					t.Fatalf("round %d: row %q has %s, want %q", round, r.Row(), got, want)
				}
				want = want[1:]
				column, _, _ := strings.Cut(got, "@")
				family, _, _ := strings.Cut(got, ":")
				switch rng.IntN(6) {
				case 0:
					r.SkipColumn()
					want = slices.DeleteFunc(slices.Clone(want), func(c string) bool { return strings.HasPrefix(c, column+"@") })
				case 1:
					r.SkipFamily()
					want = slices.DeleteFunc(slices.Clone(want), func(c string) bool { return strings.HasPrefix(c, family+":") })
				}
				if rng.IntN(20) == 0 {
					break // leave the row early
				}
			}
		}
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// before reports whether a formatted cell stands before the column.
func before(cell, name string, f base.FamilyID, q string) bool {
	order := []string{"all", "one", "young", "union", "inter", "sums", "highest"}
	family, rest, _ := strings.Cut(cell, ":")
	if family != name {
		return slices.Index(order, family)+1 < int(f)
	}
	var qual string
	if _, err := fmt.Sscanf(rest, "%q", &qual); err != nil {
		panic(err)
	}
	return qual < q
}

func TestReaderOfDamagedKeys(t *testing.T) {
	s := testSchema(t)
	for _, key := range [][]byte{[]byte("abc"), []byte("a\x00\x01"), []byte("a\x00\x01short"), append(base.AppendRowPrefix(nil, []byte("a")), "0123456789abcdef"...)} {
		it := &slice{keys: [][]byte{key}, values: [][]byte{nil}}
		r := cells.NewReader(it, s, base.MaxSeq, now)
		for ok := r.SeekGE(nil); ok; ok = r.NextRow() {
			for r.Next() {
			}
		}
		if !errors.Is(r.Err(), base.ErrCorrupt) {
			t.Errorf("reader of key %x: %v, want corruption", key, r.Err())
		}
		c := cells.NewCompactor(it, s, true, now)
		for ok := c.First(); ok; ok = c.Next() {
		}
		if !errors.Is(c.Err(), base.ErrCorrupt) {
			t.Errorf("compactor of key %x: %v, want corruption", key, c.Err())
		}
	}
}
