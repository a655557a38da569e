// Package view is what an authorized view lets through: a filter and a row set
// that go around what a reader asks for, and a check of what a writer does. It
// is pure.
package view

import (
	"bytes"
	"maps"
	"slices"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// View is a subset of a table: the rows with certain prefixes, and of them the
// columns of certain names. It is immutable.
type View struct {
	name    string
	rows    rowset.Set
	columns map[string]rowset.Set // qualifiers by family: ranges like those of rows
	filter  *bigtablepb.RowFilter
}

// Compile checks a subset and returns the View of that name, for errors. A
// subset without prefixes has no rows, one without families no cells.
func Compile(name string, s *adminpb.AuthorizedView_SubsetView) (*View, error) {
	v := &View{name: name, columns: map[string]rowset.Set{}}
	var rows []rowset.Range
	for _, p := range s.GetRowPrefixes() {
		if len(p) > rowset.MaxRowKey {
			return nil, base.Invalidf("Error in field 'row_prefixes' : a prefix has %d bytes; at most %d", len(p), rowset.MaxRowKey)
		}
		rows = append(rows, rowset.Prefix(p))
	}
	v.rows = rowset.Of(rows...)
	for f, sub := range s.GetFamilySubsets() {
		if err := schema.CheckFamilyName(f); err != nil {
			return nil, base.Textf(err, "Error in field 'family_subsets' : %s", err)
		}
		var cols []rowset.Range
		for _, q := range sub.GetQualifiers() {
			cols = append(cols, rowset.Range{Start: q, End: append(bytes.Clone(q), 0)})
		}
		for _, p := range sub.GetQualifierPrefixes() {
			cols = append(cols, rowset.Prefix(p))
		}
		v.columns[f] = rowset.Of(cols...)
	}
	v.filter = v.compile()
	return v, nil
}

// compile returns the filter that passes the cells of the view: an interleave
// of column ranges that do not overlap, so that no cell passes twice.
func (v *View) compile() *bigtablepb.RowFilter {
	var parts []*bigtablepb.RowFilter
	for _, f := range slices.Sorted(maps.Keys(v.columns)) {
		for _, r := range v.columns[f].Ranges() {
			c := &bigtablepb.ColumnRange{FamilyName: f}
			if len(r.Start) > 0 {
				c.StartQualifier = &bigtablepb.ColumnRange_StartQualifierClosed{StartQualifierClosed: r.Start}
			}
			if len(r.End) > 0 {
				c.EndQualifier = &bigtablepb.ColumnRange_EndQualifierOpen{EndQualifierOpen: r.End}
			}
			parts = append(parts, &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnRangeFilter{ColumnRangeFilter: c}})
		}
	}
	switch len(parts) {
	case 0:
		return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_BlockAllFilter{BlockAllFilter: true}}
	case 1:
		return parts[0]
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Interleave_{Interleave: &bigtablepb.RowFilter_Interleave{Filters: parts}}}
}

// Rows returns the rows of the view.
func (v *View) Rows() rowset.Set { return v.rows }

// Filter returns the filter that gives a reader who asks for f (nil: no
// filter) what f makes of the cells of the view. Everything that f looks at has
// passed the view, also what a sink or a condition in it sees.
func (v *View) Filter(f *bigtablepb.RowFilter) *bigtablepb.RowFilter {
	if f == nil {
		return v.filter
	}
	chain := []*bigtablepb.RowFilter{v.filter, f}
	if c := f.GetChain(); c != nil && len(c.Filters) > 1 { // no deeper than it was
		chain = append(chain[:1:1], c.Filters...)
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: chain}}}
}

func (v *View) denied(format string, args ...any) error {
	return base.Textf(base.ErrPermission, format+" is outside of authorized view %s", append(args, v.name)...)
}

// CheckRow returns an error that wraps base.ErrPermission for a row outside of
// the view.
func (v *View) CheckRow(row []byte) error {
	if !v.rows.Contains(row) {
		return v.denied("Row %q", row)
	}
	return nil
}

// CheckColumn does the same for a column.
func (v *View) CheckColumn(family, qualifier []byte) error {
	if s, ok := v.columns[string(family)]; !ok || !s.Contains(qualifier) {
		return v.denied("Column %q", string(family)+":"+string(qualifier))
	}
	return nil
}

// CheckMutations checks what is written to a row, and the row. A whole family
// may be deleted where all of it is in the view, a whole row never.
func (v *View) CheckMutations(row []byte, l mutation.List) error {
	if err := v.CheckRow(row); err != nil {
		return err
	}
	var op mutation.Op
	for it := l.Iter(); ; {
		ok, err := it.Next(&op)
		if err != nil || !ok {
			return err
		}
		switch op.Kind {
		case base.KindDeleteRow:
			return v.denied("Deleting the whole row %q", row)
		case base.KindDeleteFamily:
			if s, ok := v.columns[string(op.Family)]; !ok || !s.IsAll() {
				return v.denied("Deleting the whole family %q", op.Family)
			}
		default:
			if err := v.CheckColumn(op.Family, op.Qualifier); err != nil {
				return err
			}
		}
	}
}

// CheckRules checks a read-modify-write.
func (v *View) CheckRules(row []byte, rules mutation.Rules) error {
	if err := v.CheckRow(row); err != nil {
		return err
	}
	var r mutation.Rule
	for it := rules.Iter(); ; {
		ok, err := it.Next(&r)
		if err != nil || !ok {
			return err
		}
		if err := v.CheckColumn(r.Family, r.Qualifier); err != nil {
			return err
		}
	}
}
