package snapshot

import (
	"bytes"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
)

// flushed is which rows of a table were flushed since the taking of an image
// began.
type flushed struct {
	table base.TableID
	rows  []rows // in order, without overlap or contact
}

// rows are the rows in [start, end); an empty end is none.
type rows struct{ start, end []byte }

// of forgets everything if it was of another table.
func (f *flushed) of(table base.TableID) {
	if f.table != table {
		*f = flushed{table: table}
	}
}

// add notes the rows of a tablet.
func (f *flushed) add(t meta.Tablet) {
	f.rows = append(f.rows, rows{t.Start, t.End})
	slices.SortFunc(f.rows, func(a, b rows) int { return bytes.Compare(a.start, b.start) })
	joined := f.rows[:1]
	for _, r := range f.rows[1:] {
		last := &joined[len(joined)-1]
		switch {
		case len(last.end) == 0:
		case bytes.Compare(r.start, last.end) > 0:
			joined = append(joined, r)
		case len(r.end) == 0 || bytes.Compare(r.end, last.end) > 0:
			last.end = r.end
		}
	}
	f.rows = joined
}

// missing returns those of the tablets of which not all rows were flushed.
func (f *flushed) missing(tablets []meta.Tablet) []meta.Tablet {
	return slices.DeleteFunc(slices.Clone(tablets), func(t meta.Tablet) bool {
		return slices.ContainsFunc(f.rows, func(r rows) bool {
			return bytes.Compare(r.start, t.Start) <= 0 && (len(r.end) == 0 || len(t.End) > 0 && bytes.Compare(t.End, r.end) <= 0)
		})
	})
}
