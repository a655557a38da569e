package plan

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// analyzer resolves the names and types of one query.
type analyzer struct {
	*Plan
	s     *Statement
	scope []variable // arguments of the lambdas around, the innermost last
	depth int

	// In a grouped query:
	groupText []string // the GROUP BY expressions, as SQL
	afterward bool     // what is analyzed is over groups, not rows
	inAgg     bool     // within the argument of an aggregate
}

type variable struct {
	name string
	slot int
	t    value.Type
}

// Analyze resolves s against the types of the parameters and the table that
// s.Table names; t is nil where there is none.
func Analyze(s *Statement, params map[string]value.Type, t *Table) (p *Plan, err error) {
	a := &analyzer{s: s, Plan: &Plan{sql: s.sql, table: t, params: maps.Clone(params)}}
	if t != nil {
		if err := a.temporal(); err != nil {
			return nil, err
		}
		a.columns = append(a.columns, column{KeyColumn, value.Of(value.Bytes)})
		for _, f := range t.Families {
			a.columns = append(a.columns, column{f.Name, f.columnType(a.time.history)})
		}
	}
	steps := []func() error{a.filterRows, a.groupBy, a.selectList, a.filterGroups, a.orderBy, a.limitRows}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	a.naturalOrder()
	a.findNeeds()
	return a.Plan, nil
}

// fail adds the place of n to err.
func (a *analyzer) fail(n ast.Node, err error) error { return at(a.sql, n.Pos(), err) }

// invalid returns an error at n.
func (a *analyzer) invalid(n ast.Node, format string, args ...any) error {
	return a.fail(n, fmt.Errorf(format+": %w", append(args, base.ErrInvalid)...))
}

func (a *analyzer) condition(n ast.Expr, what string) (expr.Expr, error) {
	x, err := a.expr(n)
	if err != nil {
		return nil, err
	}
	if x, err = expr.Coerce(x, value.Of(value.Bool)); err != nil {
		return nil, a.fail(n, fmt.Errorf("%s: %w", what, err))
	}
	return x, nil
}

func (a *analyzer) filterRows() (err error) {
	if w := a.s.sel.Where; w != nil {
		if a.table == nil {
			return a.invalid(w, "WHERE without FROM")
		}
		a.where, err = a.condition(w.Expr, "WHERE")
	}
	return err
}

// groupBy analyzes GROUP BY; its expressions may be names or numbers of the
// select list.
func (a *analyzer) groupBy() error {
	sel := a.s.sel
	a.grouped = sel.GroupBy != nil || sel.Having != nil || a.aggregates()
	if !a.grouped {
		return nil
	}
	if a.table == nil {
		return unsupported(a.sql, sel, "aggregation without FROM")
	}
	if sel.GroupBy != nil {
		for _, g := range sel.GroupBy.Exprs {
			g, err := a.selected(g, true)
			if err != nil {
				return err
			}
			x, err := a.expr(g)
			if err != nil {
				return err
			}
			if !x.Type().Comparable() {
				return a.invalid(g, "GROUP BY of %s", x.Type())
			}
			a.groups = append(a.groups, x)
			a.groupText = append(a.groupText, canonical(g))
			if c, ok := x.(*expr.Column); ok && c.Index == 0 {
				a.perRow = true
			}
		}
	}
	a.afterward = true
	return nil
}

// aggregates reports whether the select list or ORDER BY calls an aggregate.
func (a *analyzer) aggregates() bool {
	var found bool
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CountStarExpr:
			found = true
		case *ast.CallExpr:
			if len(n.Func.Idents) == 1 && expr.IsAggregate(strings.ToUpper(n.Func.Idents[0].Name)) {
				found = true
			}
		}
		return !found
	}
	for _, item := range a.s.sel.Results {
		ast.Inspect(item, look)
	}
	if a.s.order != nil {
		for _, item := range a.s.order.Items {
			ast.Inspect(item.Expr, look)
		}
	}
	return found
}

// selected returns the expression of the select list that n, in GROUP BY or
// ORDER BY, is the number or the alias of; otherwise n. A name that is also
// that of a column is the column's where columnFirst.
func (a *analyzer) selected(n ast.Expr, columnFirst bool) (ast.Expr, error) {
	items := a.s.sel.Results
	switch n := n.(type) {
	case *ast.IntLiteral:
		i, err := strconv.Atoi(n.Value)
		if err != nil || i < 1 || i > len(items) {
			return nil, a.invalid(n, "position %s is not in the select list", n.Value)
		}
		switch item := items[i-1].(type) {
		case *ast.ExprSelectItem:
			return item.Expr, nil
		case *ast.Alias:
			return item.Expr, nil
		}
		return nil, a.invalid(n, "position %d is *", i)
	case *ast.Ident:
		if _, ok := a.lookup(n.Name); ok && columnFirst {
			return n, nil
		}
		for _, item := range items {
			if item, ok := item.(*ast.Alias); ok && strings.EqualFold(item.As.Alias.Name, n.Name) {
				return item.Expr, nil
			}
		}
	}
	return n, nil
}

func (a *analyzer) filterGroups() (err error) {
	if h := a.s.sel.Having; h != nil {
		a.having, err = a.condition(h.Expr, "HAVING")
	}
	return err
}

func (a *analyzer) orderBy() error {
	if a.s.order == nil {
		return nil
	}
	for _, item := range a.s.order.Items {
		if item.Collate != nil {
			return unsupported(a.sql, item.Collate, "COLLATE")
		}
		n, err := a.selected(item.Expr, false)
		if err != nil {
			return err
		}
		x, err := a.expr(n)
		if err != nil {
			return err
		}
		if !x.Type().Ordered() {
			return a.invalid(item, "ORDER BY of %s", x.Type())
		}
		a.order = append(a.order, orderItem{x, item.Dir == ast.DirectionDesc})
	}
	return nil
}

// naturalOrder drops an ORDER BY that the order of row keys fulfils.
func (a *analyzer) naturalOrder() {
	if len(a.order) == 0 || a.grouped && !a.perRow {
		return
	}
	x := a.order[0].x
	if g, ok := x.(*expr.Group); ok {
		x = a.groups[g.Slot]
	}
	if c, ok := x.(*expr.Column); ok && c.Index == 0 { // which no two rows share
		a.reversed, a.order = a.order[0].desc, nil
	}
}

func (a *analyzer) limitRows() error {
	if a.s.limit == nil {
		return nil
	}
	var err error
	if a.limit, err = a.integer(a.s.limit.Count); err != nil {
		return err
	}
	if o := a.s.limit.Offset; o != nil {
		a.offset, err = a.integer(o.Value)
	}
	return err
}

// integer analyzes the number of a LIMIT or an interval.
func (a *analyzer) integer(n ast.IntValue) (expr.Expr, error) {
	var x expr.Expr
	var err error
	switch n := n.(type) {
	case *ast.IntLiteral:
		x, err = a.expr(n)
	case *ast.Param:
		x, err = a.expr(n)
	case *ast.CastIntValue:
		return a.integer(n.Expr)
	default:
		return nil, a.invalid(n, "not a number")
	}
	if err != nil {
		return nil, err
	}
	x, err = expr.Coerce(x, value.Of(value.Int64))
	return x, a.fail(n, err)
}
