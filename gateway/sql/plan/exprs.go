package plan

import (
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"
	"github.com/cloudspannerecosystem/memefish/token"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

// maxDepth bounds the nesting of expressions; chains of operators nest.
const maxDepth = 10_000

// expr analyzes n.
func (a *analyzer) expr(n ast.Expr) (expr.Expr, error) {
	if a.depth++; a.depth > maxDepth {
		return nil, a.invalid(n, "expression is nested more than %d deep", maxDepth)
	}
	defer func() { a.depth-- }()
	if a.afterward && !a.inAgg {
		if slot, ok := a.isGroup(n); ok {
			return expr.NewGroup(slot, a.groups[slot].Type()), nil
		}
	}
	x, err := a.node(n)
	return x, a.fail(n, err)
}

// isGroup returns which GROUP BY expression n is.
func (a *analyzer) isGroup(n ast.Expr) (int, bool) {
	for i, text := range a.groupText {
		if n.End()-n.Pos() > 4*token.Pos(len(text))+64 { // spares making the text of all parts
			continue
		}
		if _, ok := n.(*ast.ParenExpr); !ok && canonical(n) == text {
			return i, true
		}
	}
	return 0, false
}

func (a *analyzer) exprs(ns []ast.Expr) ([]expr.Expr, error) {
	xs := make([]expr.Expr, len(ns))
	for i, n := range ns {
		x, err := a.expr(n)
		if err != nil {
			return nil, err
		}
		xs[i] = x
	}
	return xs, nil
}

func (a *analyzer) node(n ast.Expr) (expr.Expr, error) {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return a.expr(n.Expr)
	case *ast.Ident:
		return a.name(n)
	case *ast.Path:
		return a.path(n)
	case *ast.SelectorExpr:
		x, err := a.expr(n.Expr)
		if err != nil {
			return nil, err
		}
		return expr.NewField(x, n.Ident.Name, strings.EqualFold)
	case *ast.IndexExpr:
		return a.index(n)
	case *ast.Param:
		return a.param(n)
	case *ast.UnaryExpr:
		return a.unary(n)
	case *ast.BinaryExpr:
		return a.binary(n)
	case *ast.InExpr:
		return a.in(n)
	case *ast.BetweenExpr:
		return a.between(n)
	case *ast.IsNullExpr:
		x, err := a.expr(n.Left)
		if err != nil {
			return nil, err
		}
		return not(n.Not, expr.IsNull(x))
	case *ast.IsBoolExpr:
		x, err := a.expr(n.Left)
		if err != nil {
			return nil, err
		}
		if x, err = expr.IsBool(x, n.Right); err != nil {
			return nil, err
		}
		return not(n.Not, x)
	case *ast.CaseExpr:
		return a.caseOf(n)
	case *ast.IfExpr:
		xs, err := a.exprs([]ast.Expr{n.Expr, n.TrueResult, n.ElseResult})
		if err != nil {
			return nil, err
		}
		return expr.NewCase(xs[:1], xs[1:2], xs[2])
	case *ast.CastExpr:
		return a.cast(n)
	case *ast.ExtractExpr:
		if n.AtTimeZone != nil {
			return nil, unsupported(a.sql, n.AtTimeZone, "AT TIME ZONE")
		}
		x, err := a.expr(n.Expr)
		if err != nil {
			return nil, err
		}
		return expr.Extract(x, expr.Part(strings.ToUpper(n.Part.Name)))
	case *ast.CountStarExpr:
		return a.aggregate(n, "COUNT", nil)
	case *ast.CallExpr:
		return a.call(n)
	}
	return a.literal(n)
}

func not(apply bool, x expr.Expr) (expr.Expr, error) {
	if apply {
		return expr.Not(x)
	}
	return x, nil
}

// name resolves an identifier: the innermost lambda that has it, or a column.
func (a *analyzer) name(n *ast.Ident) (expr.Expr, error) {
	for i := len(a.scope) - 1; i >= 0; i-- {
		if v := a.scope[i]; strings.EqualFold(v.name, n.Name) {
			return expr.NewVar(v.slot, v.t), nil
		}
	}
	i, ok := a.lookup(n.Name)
	switch {
	case ok:
		return a.column(n, i)
	case a.table == nil:
		return nil, a.invalid(n, "unknown name %q: there is no FROM", n.Name)
	}
	return nil, a.invalid(n, "unknown column or family %q of table %q", n.Name, a.table.ID)
}

// path resolves table.column.field and the like.
func (a *analyzer) path(n *ast.Path) (expr.Expr, error) {
	ids := n.Idents
	if _, ok := a.lookup(ids[0].Name); !ok && a.table != nil && strings.EqualFold(ids[0].Name, a.s.alias) {
		ids = ids[1:]
	}
	x, err := a.name(ids[0])
	for _, id := range ids[1:] {
		if err != nil {
			break
		}
		x, err = expr.NewField(x, id.Name, strings.EqualFold)
		err = a.fail(id, err)
	}
	return x, err
}

func (a *analyzer) param(n *ast.Param) (expr.Expr, error) {
	if t, ok := a.params[n.Name]; ok {
		return expr.NewParam(n.Name, t), nil
	}
	for name, t := range a.params { // names of parameters are not case-sensitive
		if strings.EqualFold(name, n.Name) {
			return expr.NewParam(name, t), nil
		}
	}
	return nil, a.invalid(n, "parameter @%s has no type", n.Name)
}

func (a *analyzer) index(n *ast.IndexExpr) (expr.Expr, error) {
	x, err := a.expr(n.Expr)
	if err != nil {
		return nil, err
	}
	var first int64
	var safe bool
	var sub ast.Expr
	switch spec := n.Index.(type) {
	case *ast.ExprArg:
		sub = spec.Expr
	case *ast.SubscriptSpecifierKeyword:
		if x.Type().Kind != value.Array {
			return nil, a.invalid(spec, "%s of %s", spec.Keyword, x.Type())
		}
		sub = spec.Expr
		safe = spec.Keyword == ast.PositionKeywordSafeOffset || spec.Keyword == ast.PositionKeywordSafeOrdinal
		if spec.Keyword == ast.PositionKeywordOrdinal || spec.Keyword == ast.PositionKeywordSafeOrdinal {
			first = 1
		}
	default:
		return nil, unsupported(a.sql, n.Index, "this subscript")
	}
	i, err := a.expr(sub)
	if err != nil {
		return nil, err
	}
	return expr.NewIndex(x, i, first, safe)
}

func (a *analyzer) unary(n *ast.UnaryExpr) (expr.Expr, error) {
	if lit, ok := n.Expr.(*ast.IntLiteral); ok && n.Op == ast.OpMinus {
		return a.integerLiteral(lit, "-")
	}
	x, err := a.expr(n.Expr)
	if err != nil {
		return nil, err
	}
	if n.Op == ast.OpNot {
		return expr.Not(x)
	}
	return expr.Unary(string(n.Op), x)
}

func (a *analyzer) binary(n *ast.BinaryExpr) (expr.Expr, error) {
	l, err := a.expr(n.Left)
	if err != nil {
		return nil, err
	}
	r, err := a.expr(n.Right)
	if err != nil {
		return nil, err
	}
	switch n.Op {
	case ast.OpAnd, ast.OpOr:
		return expr.NewLogic(n.Op == ast.OpOr, l, r)
	case ast.OpEqual, ast.OpNotEqual, ast.OpLess, ast.OpLessEqual, ast.OpGreater, ast.OpGreaterEqual:
		return expr.NewCompare(expr.Op(n.Op), l, r)
	case ast.OpLike, ast.OpNotLike:
		x, err := expr.NewLike(l, r)
		if err != nil {
			return nil, err
		}
		return not(n.Op == ast.OpNotLike, x)
	}
	return expr.Arith(string(n.Op), l, r)
}

func (a *analyzer) in(n *ast.InExpr) (x expr.Expr, err error) {
	l, err := a.expr(n.Left)
	if err != nil {
		return nil, err
	}
	switch r := n.Right.(type) {
	case *ast.ValuesInCondition:
		list, err := a.exprs(r.Exprs)
		if err != nil {
			return nil, err
		}
		x, err = expr.NewIn(l, list)
		if err != nil {
			return nil, err
		}
	case *ast.UnnestInCondition:
		array, err := a.expr(r.Expr)
		if err != nil {
			return nil, err
		}
		if x, err = expr.NewInArray(l, array); err != nil {
			return nil, err
		}
	default:
		return nil, unsupported(a.sql, n.Right, "subquery in IN")
	}
	return not(n.Not, x)
}

// between is lo <= x AND x <= hi.
func (a *analyzer) between(n *ast.BetweenExpr) (expr.Expr, error) {
	xs, err := a.exprs([]ast.Expr{n.Left, n.RightStart, n.RightEnd})
	if err != nil {
		return nil, err
	}
	lo, err := expr.NewCompare(expr.GE, xs[0], xs[1])
	if err != nil {
		return nil, err
	}
	hi, err := expr.NewCompare(expr.LE, xs[0], xs[2])
	if err != nil {
		return nil, err
	}
	x, err := expr.NewLogic(false, lo, hi)
	if err != nil {
		return nil, err
	}
	return not(n.Not, x)
}

func (a *analyzer) caseOf(n *ast.CaseExpr) (expr.Expr, error) {
	var subject, otherwise expr.Expr
	var err error
	if n.Expr != nil {
		if subject, err = a.expr(n.Expr); err != nil {
			return nil, err
		}
	}
	var conds, thens []expr.Expr
	for _, w := range n.Whens {
		xs, err := a.exprs([]ast.Expr{w.Cond, w.Then})
		if err != nil {
			return nil, err
		}
		if subject != nil {
			if xs[0], err = expr.NewCompare(expr.EQ, subject, xs[0]); err != nil {
				return nil, a.fail(w, err)
			}
		}
		conds, thens = append(conds, xs[0]), append(thens, xs[1])
	}
	if n.Else != nil {
		if otherwise, err = a.expr(n.Else.Expr); err != nil {
			return nil, err
		}
	}
	return expr.NewCase(conds, thens, otherwise)
}

func (a *analyzer) cast(n *ast.CastExpr) (expr.Expr, error) {
	x, err := a.expr(n.Expr)
	if err != nil {
		return nil, err
	}
	t, err := a.typeOf(n.Type)
	if err != nil {
		return nil, err
	}
	return expr.Cast(x, t, n.Safe)
}
