package manifest

import (
	"bytes"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
)

// ShownBytes returns about how many stored bytes of the file the reference shows.
func (f *File) ShownBytes() int64 {
	if f.Shown > 0 {
		return min(f.Shown, f.Size)
	}
	return f.Size
}

// Clipped reports whether the reference shows a part of the file only.
func (f *File) Clipped() bool { return len(f.Lower) > 0 || len(f.Upper) > 0 }

// Span returns bounds of the cell keys that the reference shows: all are at or
// above smallest and at or below largest. The file's own keys, where the
// reference has no bounds.
func (f *File) Span() (smallest, largest []byte) {
	smallest, largest = f.Smallest, f.Largest
	if len(f.Lower) > 0 {
		if k := base.AppendRowPrefix(nil, f.Lower); bytes.Compare(k, smallest) > 0 {
			smallest = k
		}
	}
	if len(f.Upper) > 0 {
		if k := base.AppendRowPrefix(nil, f.Upper); bytes.Compare(k, largest) < 0 {
			largest = k
		}
	}
	return smallest, largest
}

// Clip returns the reference with its bounds narrowed to the rows [start, end),
// an empty end meaning no end, and whether it shows anything there. Bounds that
// cut nothing off are not set, so that what is not shared does not look so. The
// caller sets Shown of what was cut.
func (f File) Clip(start, end []byte) (File, bool) {
	smallest, largest := f.Span()
	if len(start) > 0 {
		k := base.AppendRowPrefix(nil, start)
		if bytes.Compare(largest, k) < 0 || len(f.Upper) > 0 && bytes.Compare(f.Upper, start) <= 0 {
			return f, false
		}
		if bytes.Compare(smallest, k) < 0 {
			f.Lower = start
		}
	}
	if len(end) > 0 {
		k := base.AppendRowPrefix(nil, end)
		if bytes.Compare(smallest, k) >= 0 {
			return f, false
		}
		if bytes.Compare(largest, k) >= 0 && (len(f.Upper) == 0 || bytes.Compare(end, f.Upper) < 0) {
			f.Upper = end
		}
	}
	return f, true
}

// Clip returns the runs as a tablet of the rows [start, end) shows them (R8).
// Runs of which nothing is left are left out. shown estimates how many stored
// bytes a reference that was cut shows.
func Clip(runs []Run, start, end []byte, shown func(File) int64) []Run {
	var out []Run
	for _, r := range runs {
		var c Run
		for _, f := range r {
			g, ok := f.Clip(start, end)
			if !ok {
				continue
			}
			if !bytes.Equal(f.Lower, g.Lower) || !bytes.Equal(f.Upper, g.Upper) {
				g.Shown = max(shown(g), 1)
			}
			c = append(c, g)
		}
		if len(c) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// Join returns the runs of two neighbours as their merger shows them: references
// keep their bounds, and two to one file stay two, for each half may have
// compacted away what the other's part of it held (R9, H21). Runs that are
// alike, for the same locality groups, are paired, from the oldest on. The rows
// are disjoint, so that any pairing keeps the order of age that keeps the orders
// of both tablets.
func Join(left, right []Run, alike func(left, right Run) bool) []Run {
	// common[i][j] is the most pairs that left[:i] and right[:j] have.
	common := make([][]int, len(left)+1)
	for i := range common {
		common[i] = make([]int, len(right)+1)
		for j := 1; i > 0 && j <= len(right); j++ {
			if alike(left[i-1], right[j-1]) {
				common[i][j] = common[i-1][j-1] + 1
			} else {
				common[i][j] = max(common[i-1][j], common[i][j-1])
			}
		}
	}
	var out []Run // oldest first
	i, j := len(left), len(right)
	for i > 0 || j > 0 {
		switch {
		case i > 0 && j > 0 && alike(left[i-1], right[j-1]):
			i, j = i-1, j-1
			out = append(out, slices.Concat(left[i], right[j]))
		case j == 0 || i > 0 && common[i-1][j] >= common[i][j-1]:
			i--
			out = append(out, left[i])
		default:
			j--
			out = append(out, right[j])
		}
	}
	slices.Reverse(out)
	return out
}
