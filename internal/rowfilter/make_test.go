package rowfilter

import "cloud.google.com/go/bigtable/apiv2/bigtablepb"

// Short names for the filters of the API.

func chain(f ...*bigtablepb.RowFilter) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: f}}}
}

func interleave(f ...*bigtablepb.RowFilter) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Interleave_{Interleave: &bigtablepb.RowFilter_Interleave{Filters: f}}}
}

func when(p, yes, no *bigtablepb.RowFilter) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Condition_{Condition: &bigtablepb.RowFilter_Condition{PredicateFilter: p, TrueFilter: yes, FalseFilter: no}}}
}

func sink() *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Sink{Sink: true}}
}

func pass() *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_PassAllFilter{PassAllFilter: true}}
}

func block() *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_BlockAllFilter{BlockAllFilter: true}}
}

func strip() *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_StripValueTransformer{StripValueTransformer: true}}
}

func label(s string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ApplyLabelTransformer{ApplyLabelTransformer: s}}
}

func sample(p float64) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_RowSampleFilter{RowSampleFilter: p}}
}

func rowRegex(s string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_RowKeyRegexFilter{RowKeyRegexFilter: []byte(s)}}
}

func family(s string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: s}}
}

func qualifier(s string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte(s)}}
}

func valueRegex(s string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueRegexFilter{ValueRegexFilter: []byte(s)}}
}

// columns makes a column range: "[" is closed, "(" open, "" no bound.
func columns(family, from, start, to, end string) *bigtablepb.RowFilter {
	r := &bigtablepb.ColumnRange{FamilyName: family}
	switch from {
	case "[":
		r.StartQualifier = &bigtablepb.ColumnRange_StartQualifierClosed{StartQualifierClosed: []byte(start)}
	case "(":
		r.StartQualifier = &bigtablepb.ColumnRange_StartQualifierOpen{StartQualifierOpen: []byte(start)}
	}
	switch to {
	case "]":
		r.EndQualifier = &bigtablepb.ColumnRange_EndQualifierClosed{EndQualifierClosed: []byte(end)}
	case ")":
		r.EndQualifier = &bigtablepb.ColumnRange_EndQualifierOpen{EndQualifierOpen: []byte(end)}
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnRangeFilter{ColumnRangeFilter: r}}
}

func values(from, start, to, end string) *bigtablepb.RowFilter {
	r := &bigtablepb.ValueRange{}
	switch from {
	case "[":
		r.StartValue = &bigtablepb.ValueRange_StartValueClosed{StartValueClosed: []byte(start)}
	case "(":
		r.StartValue = &bigtablepb.ValueRange_StartValueOpen{StartValueOpen: []byte(start)}
	}
	switch to {
	case "]":
		r.EndValue = &bigtablepb.ValueRange_EndValueClosed{EndValueClosed: []byte(end)}
	case ")":
		r.EndValue = &bigtablepb.ValueRange_EndValueOpen{EndValueOpen: []byte(end)}
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueRangeFilter{ValueRangeFilter: r}}
}

func times(start, end int64) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_TimestampRangeFilter{TimestampRangeFilter: &bigtablepb.TimestampRange{StartTimestampMicros: start, EndTimestampMicros: end}}}
}

func mask(m string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueBitmaskFilter{ValueBitmaskFilter: &bigtablepb.ValueBitmask{Mask: []byte(m)}}}
}

func offset(n int32) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowOffsetFilter{CellsPerRowOffsetFilter: n}}
}

func rowLimit(n int32) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: n}}
}

func columnLimit(n int32) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{CellsPerColumnLimitFilter: n}}
}
