package client

import (
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
)

// Filter chooses and changes the cells that a read returns. Patterns are RE2,
// over bytes, and must match the whole. The zero Filter passes all.
type Filter struct{ pb *bigtablepb.RowFilter }

// String returns the filter in the text form of the API's message.
func (f Filter) String() string { return f.pb.String() }

func protos(fs []Filter) []*bigtablepb.RowFilter {
	out := make([]*bigtablepb.RowFilter, len(fs))
	for i, f := range fs {
		if out[i] = f.pb; f.pb == nil {
			out[i] = PassAllFilter().pb
		}
	}
	return out
}

// ChainFilters passes the cells that come through one filter after the other.
func ChainFilters(fs ...Filter) Filter {
	if len(fs) == 1 {
		return fs[0]
	}
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: protos(fs)}}}}
}

// InterleaveFilters passes the cells that come through any of the filters, a
// cell as often as filters pass it.
func InterleaveFilters(fs ...Filter) Filter {
	if len(fs) == 1 {
		return fs[0]
	}
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Interleave_{Interleave: &bigtablepb.RowFilter_Interleave{Filters: protos(fs)}}}}
}

// ConditionFilter applies then to rows in which predicate passes a cell, else
// otherwise.
func ConditionFilter(predicate, then, otherwise Filter) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Condition_{Condition: &bigtablepb.RowFilter_Condition{
		PredicateFilter: protos([]Filter{predicate})[0], TrueFilter: then.pb, FalseFilter: otherwise.pb,
	}}}}
}

// RowKeyFilter passes rows whose keys match.
func RowKeyFilter(pattern string) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_RowKeyRegexFilter{RowKeyRegexFilter: []byte(pattern)}}}
}

// FamilyFilter passes the families whose names match.
func FamilyFilter(pattern string) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: pattern}}}
}

// ColumnFilter passes the columns whose qualifiers match.
func ColumnFilter(pattern string) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte(pattern)}}}
}

// ColumnRangeFilter passes the columns of family in [start, end); empty means
// no bound.
func ColumnRangeFilter(family, start, end string) Filter {
	r := &bigtablepb.ColumnRange{FamilyName: family}
	if start != "" {
		r.StartQualifier = &bigtablepb.ColumnRange_StartQualifierClosed{StartQualifierClosed: []byte(start)}
	}
	if end != "" {
		r.EndQualifier = &bigtablepb.ColumnRange_EndQualifierOpen{EndQualifierOpen: []byte(end)}
	}
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnRangeFilter{ColumnRangeFilter: r}}}
}

// TimestampRangeFilter passes the cells of [start, end); zero means no bound.
func TimestampRangeFilter(start, end time.Time) Filter {
	var s, e Timestamp
	if !start.IsZero() {
		s = Time(start)
	}
	if !end.IsZero() {
		e = Time(end)
	}
	return TimestampRangeFilterMicros(s, e)
}

// TimestampRangeFilterMicros is TimestampRangeFilter of timestamps.
func TimestampRangeFilterMicros(start, end Timestamp) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_TimestampRangeFilter{TimestampRangeFilter: &bigtablepb.TimestampRange{
		StartTimestampMicros: int64(start), EndTimestampMicros: int64(end),
	}}}}
}

// ValueFilter passes the cells whose values match.
func ValueFilter(pattern string) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueRegexFilter{ValueRegexFilter: []byte(pattern)}}}
}

// ValueRangeFilter passes the cells with values in [start, end); nil means no
// bound.
func ValueRangeFilter(start, end []byte) Filter {
	r := &bigtablepb.ValueRange{}
	if start != nil {
		r.StartValue = &bigtablepb.ValueRange_StartValueClosed{StartValueClosed: start}
	}
	if end != nil {
		r.EndValue = &bigtablepb.ValueRange_EndValueOpen{EndValueOpen: end}
	}
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueRangeFilter{ValueRangeFilter: r}}}
}

// ValueBitmaskFilter passes the cells whose values have the length of mask and
// all its bits.
func ValueBitmaskFilter(mask []byte) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueBitmaskFilter{ValueBitmaskFilter: &bigtablepb.ValueBitmask{Mask: mask}}}}
}

// CellsPerRowOffsetFilter skips the first n cells of each row.
func CellsPerRowOffsetFilter(n int) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowOffsetFilter{CellsPerRowOffsetFilter: int32(n)}}}
}

// CellsPerRowLimitFilter passes the first n cells of each row.
func CellsPerRowLimitFilter(n int) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: int32(n)}}}
}

// LatestNFilter passes the newest n cells of each column.
func LatestNFilter(n int) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{CellsPerColumnLimitFilter: int32(n)}}}
}

// StripValueFilter replaces values by empty ones.
func StripValueFilter() Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_StripValueTransformer{StripValueTransformer: true}}}
}

// RowSampleFilter passes a row with probability p, between 0 and 1.
func RowSampleFilter(p float64) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_RowSampleFilter{RowSampleFilter: p}}}
}

// LabelFilter gives the cells a label.
func LabelFilter(label string) Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ApplyLabelTransformer{ApplyLabelTransformer: label}}}
}

// SinkFilter, within a chain, puts the cells into the answer directly, past
// the filters that follow.
func SinkFilter() Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Sink{Sink: true}}}
}

// PassAllFilter passes everything.
func PassAllFilter() Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_PassAllFilter{PassAllFilter: true}}}
}

// BlockAllFilter passes nothing.
func BlockAllFilter() Filter {
	return Filter{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_BlockAllFilter{BlockAllFilter: true}}}
}
