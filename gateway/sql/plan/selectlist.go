package plan

import (
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
)

// selectList analyzes what is between SELECT and FROM.
func (a *analyzer) selectList() error {
	for _, item := range a.s.sel.Results {
		if err := a.selectItem(item); err != nil {
			return err
		}
	}
	if a.s.sel.AllOrDistinct == ast.AllOrDistinctDistinct {
		a.distinct = true
		for _, o := range a.outs {
			if !o.x.Type().Comparable() {
				return a.invalid(a.s.sel, "SELECT DISTINCT of %s", o.x.Type())
			}
			if c, ok := o.x.(*expr.Column); ok && c.Index == 0 {
				a.distinct = false // rows differ anyway
				break
			}
		}
	}
	return nil
}

func (a *analyzer) selectItem(item ast.SelectItem) error {
	switch item := item.(type) {
	case *ast.ExprSelectItem:
		return a.output(item.Expr, "")
	case *ast.Alias:
		return a.output(item.Expr, item.As.Alias.Name)
	case *ast.Star:
		return a.star(item, item.Except, item.Replace)
	case *ast.DotStar:
		if id, ok := item.Expr.(*ast.Ident); !ok || !strings.EqualFold(id.Name, a.s.alias) {
			return unsupported(a.sql, item, "* of anything but the table")
		}
		return a.star(item, item.Except, item.Replace)
	}
	return unsupported(a.sql, item, "this kind of select item")
}

func (a *analyzer) output(n ast.Expr, name string) error {
	x, err := a.expr(n)
	if err != nil {
		return err
	}
	if name == "" {
		name = a.implicitName(n)
	}
	a.outs = append(a.outs, output{name, x})
	return nil
}

// implicitName is the name of an expression without an alias: that of the
// column or field it is, otherwise none.
func (a *analyzer) implicitName(n ast.Expr) string {
	switch n := n.(type) {
	case *ast.Ident:
		if i, ok := a.lookup(n.Name); ok {
			return a.columns[i].name
		}
		return n.Name
	case *ast.Path:
		return a.implicitName(n.Idents[len(n.Idents)-1])
	case *ast.SelectorExpr:
		return n.Ident.Name
	case *ast.ParenExpr:
		return a.implicitName(n.Expr)
	}
	return ""
}

// star expands *.
func (a *analyzer) star(n ast.Node, except *ast.StarModifierExcept, replace *ast.StarModifierReplace) error {
	if a.table == nil {
		return a.invalid(n, "SELECT * without FROM")
	}
	left := map[int]bool{}
	if except != nil {
		for _, id := range except.Columns {
			i, ok := a.lookup(id.Name)
			if !ok {
				return a.invalid(id, "unknown column %q in EXCEPT", id.Name)
			}
			left[i] = true
		}
	}
	other := map[int]ast.Expr{}
	if replace != nil {
		for _, r := range replace.Columns {
			i, ok := a.lookup(r.Name.Name)
			if !ok {
				return a.invalid(r.Name, "unknown column %q in REPLACE", r.Name.Name)
			}
			other[i] = r.Expr
		}
	}
	for i, c := range a.columns {
		switch r, ok := other[i]; {
		case left[i]:
		case ok:
			if err := a.output(r, c.name); err != nil {
				return err
			}
		default:
			x, err := a.column(n, i)
			if err != nil {
				return err
			}
			a.outs = append(a.outs, output{c.name, x})
		}
	}
	if len(a.outs) == 0 {
		return a.invalid(n, "SELECT * leaves no column")
	}
	return nil
}

// lookup returns the index of the column name: exactly, or but for case where
// that is unambiguous.
func (a *analyzer) lookup(name string) (int, bool) {
	found := -1
	for i, c := range a.columns {
		if c.name == name {
			return i, true
		}
		if strings.EqualFold(c.name, name) {
			if found >= 0 {
				return 0, false
			}
			found = i
		}
	}
	return max(found, 0), found >= 0
}

// column returns column i as n uses it.
func (a *analyzer) column(n ast.Node, i int) (expr.Expr, error) {
	c := a.columns[i]
	if a.afterward && !a.inAgg {
		for slot, g := range a.groups {
			if g, ok := g.(*expr.Column); ok && g.Index == i {
				return expr.NewGroup(slot, g.Type()), nil
			}
		}
		return nil, a.invalid(n, "column %q is neither grouped nor aggregated", c.name)
	}
	return expr.NewColumn(i, c.name, c.t), nil
}

// canonical returns n as SQL, in a form in which equal expressions are equal.
func canonical(n ast.Expr) string {
	for {
		p, ok := n.(*ast.ParenExpr)
		if !ok {
			return n.SQL()
		}
		n = p.Expr
	}
}
