package client

import (
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// RowSet is the rows to read: a RowRange, RowList or RowRangeList.
type RowSet interface{ ranges() []rowset.Range }

// RowList is single rows. They are read in order of the keys, each once.
type RowList []string

func (l RowList) ranges() []rowset.Range {
	out := make([]rowset.Range, len(l))
	for i, k := range l {
		out[i] = rowset.Point([]byte(k))
	}
	return out
}

// RowRange is the rows between two keys. The zero RowRange is all rows.
type RowRange struct{ r rowset.Range }

func (r RowRange) ranges() []rowset.Range { return []rowset.Range{r.r} }

// Contains reports whether the row lies in r.
func (r RowRange) Contains(row string) bool { return r.r.Contains([]byte(row)) }

// RowRangeList is the union of ranges.
type RowRangeList []RowRange

func (l RowRangeList) ranges() []rowset.Range {
	out := make([]rowset.Range, len(l))
	for i, r := range l {
		out[i] = r.r
	}
	return out
}

// NewRange returns the rows in [begin, end); an empty end means no end.
func NewRange(begin, end string) RowRange {
	return RowRange{rowset.Range{Start: []byte(begin), End: []byte(end)}}
}

// after returns the next possible key. There is no empty key: "" stays "".
func after(key string) string {
	if key == "" {
		return ""
	}
	return key + "\x00"
}

// NewClosedOpenRange is NewRange.
func NewClosedOpenRange(begin, end string) RowRange { return NewRange(begin, end) }

// NewClosedRange returns the rows in [begin, end].
func NewClosedRange(begin, end string) RowRange { return NewRange(begin, after(end)) }

// NewOpenRange returns the rows in (begin, end).
func NewOpenRange(begin, end string) RowRange { return NewRange(after(begin), end) }

// NewOpenClosedRange returns the rows in (begin, end].
func NewOpenClosedRange(begin, end string) RowRange { return NewRange(after(begin), after(end)) }

// InfiniteRange returns the rows from begin on.
func InfiniteRange(begin string) RowRange { return NewRange(begin, "") }

// InfiniteReverseRange returns the rows up to and including end.
func InfiniteReverseRange(end string) RowRange { return NewClosedRange("", end) }

// PrefixRange returns the rows whose keys begin with prefix.
func PrefixRange(prefix string) RowRange { return RowRange{rowset.Prefix([]byte(prefix))} }

// SingleRow returns the set of one row.
func SingleRow(row string) RowSet { return RowList{row} }
