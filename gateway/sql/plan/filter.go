package plan

import (
	"bytes"
	"regexp"
	"slices"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
)

// existsLabel marks the cell that only shows that a row exists.
const existsLabel = "exists"

// findNeeds collects what of the families the plan reads.
func (a *analyzer) findNeeds() {
	if a.table == nil {
		return
	}
	p := a.Plan
	p.needs = make([]need, len(p.table.Families))
	look := func(x expr.Expr) {
		if x != nil {
			expr.Walk(x, p.addNeed)
		}
	}
	look(p.where)
	for _, x := range p.groups {
		look(x)
	}
	for _, g := range p.aggs {
		look(g.Arg)
	}
	if !p.grouped {
		for _, o := range p.outs {
			look(o.x)
		}
		for _, o := range p.order {
			look(o.x)
		}
	}
	every := true
	for _, n := range p.needs {
		every = every && n.all
	}
	p.total = every && len(p.needs) > 0 || p.where != nil && needsCell(p.where)
}

// addNeed is a visitor of expressions.
func (p *Plan) addNeed(x expr.Expr) bool {
	var m, key expr.Expr
	switch x := x.(type) {
	case *expr.Column:
		if x.Index > 0 {
			p.needs[x.Index-1].all = true
		}
		return false
	case *expr.Index:
		m, key = x.Map, x.Key
	case *expr.Call:
		if x.Name == "MAP_CONTAINS_KEY" {
			m, key = x.Args[0], x.Args[1]
		}
	}
	c, ok := m.(*expr.Column)
	if !ok || c.Index == 0 || !expr.IsConst(key) {
		return true
	}
	n := &p.needs[c.Index-1]
	n.qualifiers = append(n.qualifiers, key)
	return false
}

// needsCell reports whether x, a condition, holds for no row of which no cell
// is read: such rows need not be looked for.
func needsCell(x expr.Expr) bool {
	if l, ok := x.(*expr.Logic); ok {
		if l.Or {
			return !slices.ContainsFunc(l.Xs, func(x expr.Expr) bool { return !needsCell(x) })
		}
		return slices.ContainsFunc(l.Xs, needsCell)
	}
	if in, ok := x.(*expr.In); ok { // FALSE, not NULL, if there are no choices
		return nullWithoutCell(in.X)
	}
	return nullWithoutCell(x)
}

// nullWithoutCell reports whether x is NULL over such a row.
func nullWithoutCell(x expr.Expr) bool {
	switch x := x.(type) {
	case *expr.Compare:
		return nullWithoutCell(x.L) || nullWithoutCell(x.R)
	case *expr.Convert:
		return nullWithoutCell(x.X)
	case *expr.Call:
		return x.Strict && slices.ContainsFunc(x.Args, nullWithoutCell)
	case *expr.Index:
		c, ok := x.Map.(*expr.Column)
		return ok && c.Index > 0
	}
	return false
}

// Filter returns the filter with which the rows of p are read: the families
// and qualifiers that occur, in the versions asked for, and one empty cell
// labelled to show that there is a row, where that is not clear otherwise.
// nil passes all. empty: there is nothing to read.
func (p *Plan) Filter(env *expr.Env) (f *bigtablepb.RowFilter, empty bool, err error) {
	times, latest, none, err := p.time.versions(env)
	if err != nil || none {
		return nil, none, err
	}
	var branches []*bigtablepb.RowFilter
	for i := range p.needs {
		b, err := p.branches(i, env)
		if err != nil {
			return nil, false, err
		}
		branches = append(branches, b...)
	}
	f = p.assemble(branches, times, latest, false)
	if proto.Size(f) > rowfilter.MaxSize {
		f = p.assemble(branches, times, latest, true)
	}
	return f, false, nil
}

// branches returns the filters of family i, none if it is not read.
func (p *Plan) branches(i int, env *expr.Env) ([]*bigtablepb.RowFilter, error) {
	name, n := p.table.Families[i].Name, p.needs[i]
	if n.all {
		return []*bigtablepb.RowFilter{familyFilter(name)}, nil
	}
	var qs [][]byte
	for _, x := range n.qualifiers {
		q, ok, err := keyBytes(x, env)
		if err != nil {
			return nil, err
		}
		if ok { // there is no column NULL
			qs = append(qs, q)
		}
	}
	slices.SortFunc(qs, bytes.Compare)
	var out []*bigtablepb.RowFilter
	for _, q := range slices.CompactFunc(qs, bytes.Equal) {
		out = append(out, &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnRangeFilter{
			ColumnRangeFilter: &bigtablepb.ColumnRange{FamilyName: name,
				StartQualifier: &bigtablepb.ColumnRange_StartQualifierClosed{StartQualifierClosed: q},
				EndQualifier:   &bigtablepb.ColumnRange_EndQualifierClosed{EndQualifierClosed: q}}}})
	}
	return out, nil
}

// assemble puts the parts together. whole: without the branches, which are too
// many for one filter; all cells are read.
func (p *Plan) assemble(branches []*bigtablepb.RowFilter, times *bigtablepb.TimestampRange, latest int32, whole bool) *bigtablepb.RowFilter {
	var links []*bigtablepb.RowFilter
	if times != nil {
		links = append(links, &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_TimestampRangeFilter{TimestampRangeFilter: times}})
	}
	var versions []*bigtablepb.RowFilter
	if latest > 0 {
		versions = append(versions, &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{
			CellsPerColumnLimitFilter: latest}})
	}
	switch every := p.every(); {
	case whole || every:
		links = append(links, versions...)
	case p.total:
		links = append(append(links, interleave(branches)), versions...)
	case len(branches) == 0:
		links = append(links, existence(false)...)
	default:
		cells := chain(append([]*bigtablepb.RowFilter{interleave(branches)}, versions...))
		links = append(links, interleave([]*bigtablepb.RowFilter{cells, chain(existence(true))}))
	}
	return chain(links)
}

// every reports whether all families are read.
func (p *Plan) every() bool {
	return len(p.needs) > 0 && !slices.ContainsFunc(p.needs, func(n need) bool { return !n.all })
}

// existence passes one cell of a row, without its value.
func existence(label bool) []*bigtablepb.RowFilter {
	fs := []*bigtablepb.RowFilter{
		{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: 1}},
		{Filter: &bigtablepb.RowFilter_StripValueTransformer{StripValueTransformer: true}},
	}
	if label {
		fs = append(fs, &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ApplyLabelTransformer{ApplyLabelTransformer: existsLabel}})
	}
	return fs
}

func familyFilter(name string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: regexp.QuoteMeta(name)}}
}

// chain and interleave do without the wrapping where there is one filter.
func chain(fs []*bigtablepb.RowFilter) *bigtablepb.RowFilter {
	switch len(fs) {
	case 0:
		return nil
	case 1:
		return fs[0]
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: fs}}}
}

func interleave(fs []*bigtablepb.RowFilter) *bigtablepb.RowFilter {
	switch len(fs) {
	case 0:
		return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_BlockAllFilter{BlockAllFilter: true}}
	case 1:
		return fs[0]
	}
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Interleave_{Interleave: &bigtablepb.RowFilter_Interleave{Filters: fs}}}
}
