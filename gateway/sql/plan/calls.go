package plan

import (
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

// call analyzes a call of a function.
func (a *analyzer) call(n *ast.CallExpr) (expr.Expr, error) {
	ids := n.Func.Idents
	safe := len(ids) == 2 && strings.EqualFold(ids[0].Name, "SAFE")
	if safe {
		ids = ids[1:]
	}
	if len(ids) != 1 {
		return nil, unsupported(a.sql, n, "function "+n.Func.SQL())
	}
	name := strings.ToUpper(ids[0].Name)
	switch {
	case len(n.NamedArgs) > 0:
		return nil, unsupported(a.sql, n.NamedArgs[0], "named argument of "+name)
	case n.NullHandling != nil:
		return nil, unsupported(a.sql, n.NullHandling, "IGNORE or RESPECT NULLS")
	case n.Having != nil:
		return nil, unsupported(a.sql, n.Having, "HAVING MIN or MAX")
	case n.OrderBy != nil:
		return nil, unsupported(a.sql, n.OrderBy, "ORDER BY in a call")
	case n.Limit != nil:
		return nil, unsupported(a.sql, n.Limit, "LIMIT in a call")
	case n.Hint != nil:
		return nil, unsupported(a.sql, n.Hint, "hint")
	}
	if expr.IsAggregate(name) {
		return a.aggregate(n, name, n)
	}
	if n.Distinct {
		return nil, a.invalid(n, "DISTINCT in a call of %s", name)
	}
	x, err := a.function(n, name)
	if err != nil || !safe {
		return x, err
	}
	return expr.Safe(x)
}

// function analyzes a call of name, in upper case. Some functions have
// arguments that are not expressions.
func (a *analyzer) function(n *ast.CallExpr, name string) (expr.Expr, error) {
	switch name {
	case "ARRAY_FILTER", "ARRAY_TRANSFORM":
		return a.lambda(n, name)
	case "TIMESTAMP_ADD", "TIMESTAMP_SUB", "DATE_ADD", "DATE_SUB":
		return a.interval(n, name)
	case "TIMESTAMP_DIFF", "DATE_DIFF", "TIMESTAMP_TRUNC", "DATE_TRUNC":
		return a.parted(n, name)
	}
	xs := make([]expr.Expr, len(n.Args))
	for i := range n.Args {
		x, err := a.arg(n, i)
		if err != nil {
			return nil, err
		}
		xs[i] = x
	}
	return expr.NewCall(name, xs)
}

// arg analyzes argument i of n as an expression.
func (a *analyzer) arg(n *ast.CallExpr, i int) (expr.Expr, error) {
	if i >= len(n.Args) {
		return nil, a.invalid(n, "function %s has too few arguments", n.Func.SQL())
	}
	if e, ok := n.Args[i].(*ast.ExprArg); ok {
		return a.expr(e.Expr)
	}
	return nil, unsupported(a.sql, n.Args[i], "this argument of "+n.Func.SQL())
}

func (a *analyzer) lambda(n *ast.CallExpr, name string) (expr.Expr, error) {
	array, err := a.arg(n, 0)
	if err != nil {
		return nil, err
	}
	if array.Type().Kind != value.Array {
		return nil, a.invalid(n, "%s of %s", name, array.Type())
	}
	var l *ast.LambdaArg
	if len(n.Args) == 2 {
		l, _ = n.Args[1].(*ast.LambdaArg)
	}
	if l == nil || len(l.Args) < 1 || len(l.Args) > 2 {
		return nil, a.invalid(n, "%s takes an array and a lambda of one or two arguments", name)
	}
	slot, types := a.vars, []value.Type{*array.Type().Elem, value.Of(value.Int64)}
	a.vars += 2
	outer := a.scope
	for i, id := range l.Args {
		a.scope = append(a.scope[:len(a.scope):len(a.scope)], variable{id.Name, slot + i, types[i]})
	}
	body, err := a.expr(l.Expr)
	a.scope = outer
	if err != nil {
		return nil, err
	}
	return expr.NewLambda(name == "ARRAY_FILTER", array, body, slot)
}

// interval is TIMESTAMP_ADD(x, INTERVAL n part) and the like.
func (a *analyzer) interval(n *ast.CallExpr, name string) (expr.Expr, error) {
	x, err := a.arg(n, 0)
	if err != nil {
		return nil, err
	}
	if len(n.Args) == 2 {
		if e, ok := n.Args[1].(*ast.ExprArg); ok {
			if iv, ok := e.Expr.(*ast.IntervalLiteralSingle); ok {
				k, err := a.integer(iv.Value)
				if err != nil {
					return nil, err
				}
				return expr.AddInterval(name, x, k, expr.Part(strings.ToUpper(string(iv.DateTimePart))))
			}
		}
	}
	return nil, a.invalid(n, "%s takes a value and INTERVAL n part", name)
}

// parted is TIMESTAMP_TRUNC(x, part), TIMESTAMP_DIFF(x, y, part) and the like.
func (a *analyzer) parted(n *ast.CallExpr, name string) (expr.Expr, error) {
	last := len(n.Args) - 1
	var part *ast.Ident
	if last >= 1 {
		if e, ok := n.Args[last].(*ast.ExprArg); ok {
			part, _ = e.Expr.(*ast.Ident)
		}
	}
	diff := strings.HasSuffix(name, "_DIFF")
	if part == nil || diff != (last == 2) || last > 2 {
		return nil, a.invalid(n, "wrong arguments of %s: the last is a date part", name)
	}
	x, err := a.arg(n, 0)
	if err != nil {
		return nil, err
	}
	p := expr.Part(strings.ToUpper(part.Name))
	if !diff {
		return expr.Trunc(name, x, p)
	}
	y, err := a.arg(n, 1)
	if err != nil {
		return nil, err
	}
	return expr.Diff(name, x, y, p)
}

// aggregate analyzes a call of an aggregate; call is nil for COUNT(*).
func (a *analyzer) aggregate(n ast.Expr, name string, call *ast.CallExpr) (expr.Expr, error) {
	switch {
	case a.inAgg:
		return nil, a.invalid(n, "aggregate %s within an aggregate", name)
	case !a.afterward || len(a.scope) > 0:
		return nil, a.invalid(n, "aggregate %s is not allowed here", name)
	}
	var arg expr.Expr
	var distinct bool
	sep := ","
	if call != nil {
		a.inAgg = true
		x, err := a.arg(call, 0)
		a.inAgg = false
		if err != nil {
			return nil, err
		}
		arg, distinct = x, call.Distinct
		if sep, err = a.separator(call, name, x.Type()); err != nil {
			return nil, err
		}
	}
	agg, err := expr.NewAggregate(name, arg, distinct, sep)
	if err != nil {
		return nil, err
	}
	a.aggs = append(a.aggs, agg)
	return expr.NewAgg(len(a.aggs)-1, agg.T), nil
}

// separator returns the second argument of STRING_AGG, a literal.
func (a *analyzer) separator(n *ast.CallExpr, name string, t value.Type) (string, error) {
	if len(n.Args) == 1 {
		return ",", nil
	}
	if name != "STRING_AGG" || len(n.Args) != 2 {
		return "", a.invalid(n, "%s takes one argument", name)
	}
	x, err := a.arg(n, 1)
	if err != nil {
		return "", err
	}
	c, ok := x.(*expr.Const)
	if ok {
		switch v := c.V.(type) {
		case string:
			return v, nil
		case []byte:
			return string(v), nil
		}
	}
	return "", a.invalid(n, "the separator of %s is not a literal", name)
}
