package rowfilter

import (
	"bytes"
	"math"
	"strings"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
)

const maxLabel = 15

// parseLeaf validates the filters that have no parts.
func parseLeaf(f *bigtablepb.RowFilter) (*expr, error) {
	switch k := f.GetFilter().(type) {
	case *bigtablepb.RowFilter_RowKeyRegexFilter:
		if len(k.RowKeyRegexFilter) == 0 {
			return nil, base.Invalidf("Error in field 'row_key_regex_filter' : argument must not be empty")
		}
		return regex(kindRowRegex, "row_key_regex_filter", k.RowKeyRegexFilter)
	case *bigtablepb.RowFilter_FamilyNameRegexFilter:
		if strings.Contains(k.FamilyNameRegexFilter, ":") {
			return nil, base.Invalidf("Error in field 'family_name_regex_filter' : argument must not contain ':'")
		}
		return regex(kindFamilyRegex, "family_name_regex_filter", []byte(k.FamilyNameRegexFilter))
	case *bigtablepb.RowFilter_ColumnQualifierRegexFilter:
		return regex(kindQualifierRegex, "column_qualifier_regex_filter", k.ColumnQualifierRegexFilter)
	case *bigtablepb.RowFilter_ValueRegexFilter:
		return regex(kindValueRegex, "value_regex_filter", k.ValueRegexFilter)
	case *bigtablepb.RowFilter_ColumnRangeFilter:
		return columnRange(k.ColumnRangeFilter)
	case *bigtablepb.RowFilter_ValueRangeFilter:
		return valueRange(k.ValueRangeFilter)
	case *bigtablepb.RowFilter_TimestampRangeFilter:
		return timeRange(k.TimestampRangeFilter)
	case *bigtablepb.RowFilter_CellsPerRowOffsetFilter:
		if k.CellsPerRowOffsetFilter < 0 {
			return nil, base.Invalidf("Error in field 'cells_per_row_offset_filter' : argument must not be negative")
		}
		return &expr{kind: kindOffset, n: int(k.CellsPerRowOffsetFilter)}, nil
	case *bigtablepb.RowFilter_CellsPerRowLimitFilter:
		return limit(kindRowLimit, "cells_per_row_limit_filter", k.CellsPerRowLimitFilter)
	case *bigtablepb.RowFilter_CellsPerColumnLimitFilter:
		return limit(kindColumnLimit, "cells_per_column_limit_filter", k.CellsPerColumnLimitFilter)
	case *bigtablepb.RowFilter_RowSampleFilter:
		if p := k.RowSampleFilter; math.IsNaN(p) || p <= 0 || p >= 1 {
			return nil, base.Invalidf("Error in field 'row_sample_filter' : argument must be between 0.0 and 1.0, exclusive")
		}
		return &expr{kind: kindRowSample, p: k.RowSampleFilter}, nil
	case *bigtablepb.RowFilter_ApplyLabelTransformer:
		if !validLabel(k.ApplyLabelTransformer) {
			return nil, base.Invalidf("Error in field 'apply_label_transformer' : argument must match [a-z0-9\\-]+ and be at most %d characters long, but found %q", maxLabel, k.ApplyLabelTransformer)
		}
		return &expr{kind: kindLabel, label: []string{k.ApplyLabelTransformer}}, nil
	case *bigtablepb.RowFilter_ValueBitmaskFilter:
		if k.ValueBitmaskFilter == nil {
			return nil, base.Invalidf("Error in field 'value_bitmask_filter' : mask is required")
		}
		return &expr{kind: kindValueMask, mask: k.ValueBitmaskFilter.GetMask()}, nil
	}
	return nil, base.Invalidf("Row filter is of a kind that this server does not know")
}

func regex(k kind, field string, src []byte) (*expr, error) {
	p, err := compilePattern(src)
	if err != nil {
		return nil, inField(field, err)
	}
	if p.all() {
		return &expr{kind: kindPass}, nil
	}
	return &expr{kind: k, pat: p}, nil
}

func limit(k kind, field string, n int32) (*expr, error) {
	if n <= 0 {
		return nil, base.Invalidf("Error in field '%s' : argument must be > 0", field)
	}
	return &expr{kind: k, n: int(n)}, nil
}

func validLabel(s string) bool {
	if s == "" || len(s) > maxLabel {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func validFamily(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}

func columnRange(r *bigtablepb.ColumnRange) (*expr, error) {
	const field = "column_range_filter"
	if !validFamily(r.GetFamilyName()) {
		return nil, base.Invalidf("Error in field '%s' : family_name must match [-_.a-zA-Z0-9]+, but found %q", field, r.GetFamilyName())
	}
	var b bounds
	switch k := r.GetStartQualifier().(type) {
	case *bigtablepb.ColumnRange_StartQualifierClosed:
		b.start(k.StartQualifierClosed, "start_qualifier_closed", false)
	case *bigtablepb.ColumnRange_StartQualifierOpen:
		b.start(k.StartQualifierOpen, "start_qualifier_open", true)
	}
	switch k := r.GetEndQualifier().(type) {
	case *bigtablepb.ColumnRange_EndQualifierClosed:
		b.end(k.EndQualifierClosed, "end_qualifier_closed", true)
	case *bigtablepb.ColumnRange_EndQualifierOpen:
		b.end(k.EndQualifierOpen, "end_qualifier_open", false)
	}
	if b.err != nil {
		return nil, inField(field, b.err)
	}
	return &expr{kind: kindColumnRange, family: r.GetFamilyName(), in: b.r}, nil
}

func valueRange(r *bigtablepb.ValueRange) (*expr, error) {
	var b bounds
	switch k := r.GetStartValue().(type) {
	case *bigtablepb.ValueRange_StartValueClosed:
		b.start(k.StartValueClosed, "start_value_closed", false)
	case *bigtablepb.ValueRange_StartValueOpen:
		b.start(k.StartValueOpen, "start_value_open", true)
	}
	switch k := r.GetEndValue().(type) {
	case *bigtablepb.ValueRange_EndValueClosed:
		b.end(k.EndValueClosed, "end_value_closed", true)
	case *bigtablepb.ValueRange_EndValueOpen:
		b.end(k.EndValueOpen, "end_value_open", false)
	}
	if b.err != nil {
		return nil, inField("value_range_filter", b.err)
	}
	return &expr{kind: kindValueRange, in: b.r}, nil
}

// bounds collects the two ends of a range of the API, start first.
type bounds struct {
	r         byteRange
	from      []byte
	startName string
	err       error
}

func (b *bounds) start(k []byte, name string, open bool) {
	b.from, b.startName = k, name
	b.r.lo = k
	if open {
		b.r.lo = after(k)
	}
}

func (b *bounds) end(k []byte, name string, closed bool) {
	if bytes.Compare(b.from, k) > 0 {
		b.err = base.Invalidf("%s must be less than %s", b.startName, name)
	}
	b.r.hi, b.r.hasHi = k, true
	if closed {
		b.r.hi = after(k)
	}
}

// after returns the least byte string above k.
func after(k []byte) []byte { return append(bytes.Clone(k), 0) }

func timeRange(r *bigtablepb.TimestampRange) (*expr, error) {
	const field = "timestamp_range_filter"
	start, end := r.GetStartTimestampMicros(), r.GetEndTimestampMicros()
	switch {
	case start < 0 || end < 0:
		return nil, base.Invalidf("Error in field '%s' : timestamps must not be negative, but found [%d, %d)", field, start, end)
	case end != 0 && start > end:
		return nil, base.Invalidf("Error in field '%s' : start_timestamp_micros must be less than end_timestamp_micros, but found [%d, %d)", field, start, end)
	case start == 0 && end == 0:
		return &expr{kind: kindPass}, nil
	}
	return &expr{kind: kindTimeRange, start: start, end: end}, nil
}
