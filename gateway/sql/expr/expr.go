// Package expr holds the expressions of the SQL dialect once they are analyzed:
// typed trees that evaluate over a row, the operators, the functions and the
// aggregates. It knows neither the syntax nor where rows come from. It is pure;
// expressions are immutable and may be evaluated concurrently, each time with
// an Env of its own.
//
// Errors of construction and of evaluation wrap base.ErrInvalid.
package expr

import (
	"fmt"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// Env is what an expression is evaluated over.
type Env struct {
	Columns []value.Value          // of the row, by Column.Index
	Params  map[string]value.Value // each of the type that its Param has
	Groups  []value.Value          // values of the GROUP BY expressions
	Aggs    []value.Value          // results of the aggregates
	Vars    []value.Value          // arguments of lambdas, by Var.Slot
	Now     value.Time             // the same for a whole query
}

// Expr is an expression.
type Expr interface {
	Type() value.Type
	// Eval returns the value, which is of Type or NULL.
	Eval(*Env) (value.Value, error)
	// Parts returns the expressions that it is made of.
	Parts() []Expr
}

// leaf is the part that expressions without parts share.
type leaf struct{ T value.Type }

func (l leaf) Type() value.Type { return l.T }
func (l leaf) Parts() []Expr    { return nil }

// Const is a literal.
type Const struct {
	leaf
	V value.Value
}

// NewConst returns a literal.
func NewConst(t value.Type, v value.Value) *Const { return &Const{leaf{t}, v} }

// Eval implements Expr.
func (c *Const) Eval(*Env) (value.Value, error) { return c.V, nil }

// Param is a query parameter.
type Param struct {
	leaf
	Name string
}

// NewParam returns a parameter.
func NewParam(name string, t value.Type) *Param { return &Param{leaf{t}, name} }

// Eval implements Expr.
func (p *Param) Eval(e *Env) (value.Value, error) { return e.Params[p.Name], nil }

// Column is a column of the table.
type Column struct {
	leaf
	Index int
	Name  string
}

// NewColumn returns a column.
func NewColumn(index int, name string, t value.Type) *Column { return &Column{leaf{t}, index, name} }

// Eval implements Expr.
func (c *Column) Eval(e *Env) (value.Value, error) { return e.Columns[c.Index], nil }

// Group is the value of a GROUP BY expression.
type Group struct {
	leaf
	Slot int
}

// NewGroup returns the value of the GROUP BY expression number slot.
func NewGroup(slot int, t value.Type) *Group { return &Group{leaf{t}, slot} }

// Eval implements Expr.
func (g *Group) Eval(e *Env) (value.Value, error) { return e.Groups[g.Slot], nil }

// Agg is the result of an aggregate.
type Agg struct {
	leaf
	Slot int
}

// NewAgg returns the result of the aggregate number slot.
func NewAgg(slot int, t value.Type) *Agg { return &Agg{leaf{t}, slot} }

// Eval implements Expr.
func (a *Agg) Eval(e *Env) (value.Value, error) { return e.Aggs[a.Slot], nil }

// Var is an argument of a lambda.
type Var struct {
	leaf
	Slot int
}

// NewVar returns the lambda argument number slot.
func NewVar(slot int, t value.Type) *Var { return &Var{leaf{t}, slot} }

// Eval implements Expr.
func (v *Var) Eval(e *Env) (value.Value, error) { return e.Vars[v.Slot], nil }

// now is CURRENT_TIMESTAMP().
type now struct{ leaf }

// Eval implements Expr.
func (now) Eval(e *Env) (value.Value, error) { return e.Now, nil }

// Call is an operator or function that evaluates all its arguments.
type Call struct {
	Name   string
	Args   []Expr
	T      value.Type
	F      func(args []value.Value) (value.Value, error)
	Strict bool // NULL if an argument is NULL
}

// Type implements Expr.
func (c *Call) Type() value.Type { return c.T }

// Parts implements Expr.
func (c *Call) Parts() []Expr { return c.Args }

// Eval implements Expr.
func (c *Call) Eval(e *Env) (value.Value, error) {
	var buf [4]value.Value
	args := buf[:0]
	for _, a := range c.Args {
		v, err := a.Eval(e)
		if err != nil {
			return nil, err
		}
		if v == nil && c.Strict {
			return nil, nil
		}
		args = append(args, v)
	}
	v, err := c.F(args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return v, nil
}

// Convert is a CAST or a coercion.
type Convert struct {
	X    Expr
	To   value.Type
	Safe bool // NULL instead of an error
}

// Type implements Expr.
func (c *Convert) Type() value.Type { return c.To }

// Parts implements Expr.
func (c *Convert) Parts() []Expr { return []Expr{c.X} }

// Eval implements Expr.
func (c *Convert) Eval(e *Env) (value.Value, error) {
	v, err := c.X.Eval(e)
	if err != nil || v == nil {
		return nil, err
	}
	v, err = value.Cast(v, c.To)
	if err != nil && c.Safe {
		return nil, nil
	}
	return v, err
}

// safe is a call with the prefix SAFE: an error of the function is NULL.
type safe struct{ *Call }

// Eval implements Expr.
func (s safe) Eval(e *Env) (value.Value, error) {
	for _, a := range s.Args { // errors of the arguments stay errors
		if _, err := a.Eval(e); err != nil {
			return nil, err
		}
	}
	v, err := s.Call.Eval(e)
	if err != nil {
		return nil, nil
	}
	return v, nil
}

// Safe returns x with errors of its function turned to NULL.
func Safe(x Expr) (Expr, error) {
	c, ok := x.(*Call)
	if !ok {
		return nil, fmt.Errorf("SAFE cannot be applied to this function: %w", base.ErrUnimplemented)
	}
	return safe{c}, nil
}

// Walk calls f for x and all its parts; where f returns false, it leaves the
// parts out.
func Walk(x Expr, f func(Expr) bool) {
	if !f(x) {
		return
	}
	for _, p := range x.Parts() {
		Walk(p, f)
	}
}

// IsConst reports whether x is the same for all rows.
func IsConst(x Expr) bool {
	same := true
	Walk(x, func(x Expr) bool {
		switch x.(type) {
		case *Column, *Group, *Agg, *Var:
			same = false
		}
		return same
	})
	return same
}

// isLiteral reports whether x is a literal or parameter, which coerce to more
// types than other expressions.
func isLiteral(x Expr) bool {
	switch x := x.(type) {
	case *Const, *Param:
		return true
	case *Call:
		if x.Name != "-" && x.Name != "+" && x.Name != arrayName {
			return false
		}
		for _, a := range x.Args {
			if !isLiteral(a) {
				return false
			}
		}
		return len(x.Args) != 2 || x.Name == arrayName
	}
	return false
}

// Coerce returns x as an expression of type to.
func Coerce(x Expr, to value.Type) (Expr, error) {
	from := x.Type()
	switch {
	case from.Equal(to):
		return x, nil
	case !value.CanCoerce(from, to) && !(isLiteral(x) && value.CanCoerceLiteral(from, to)):
		return nil, fmt.Errorf("%s cannot be used as %s: %w", from, to, base.ErrInvalid)
	}
	return convert(x, to)
}

// convert casts literals at once, so that errors show when the query is
// prepared.
func convert(x Expr, to value.Type) (Expr, error) {
	if c, ok := x.(*Const); ok {
		v, err := value.Cast(c.V, to)
		if err != nil {
			return nil, err
		}
		return NewConst(to, v), nil
	}
	return &Convert{X: x, To: to}, nil
}

// Cast returns CAST(x AS to), or SAFE_CAST.
func Cast(x Expr, to value.Type, safe bool) (Expr, error) {
	if isLiteral(x) && value.CanCoerceLiteral(x.Type(), to) && x.Type().Kind == value.Array {
		return Coerce(x, to)
	}
	if !value.CanCast(x.Type(), to) {
		return nil, fmt.Errorf("invalid cast from %s to %s: %w", x.Type(), to, base.ErrInvalid)
	}
	return &Convert{X: x, To: to, Safe: safe}, nil
}

// Unify coerces all of xs to one type, which it returns: literals adapt to the
// others, and strings among them to other literals.
func Unify(xs []Expr) ([]Expr, value.Type, error) {
	pass := func(x Expr) int {
		switch {
		case !isLiteral(x):
			return 0
		case x.Type().Kind != value.String:
			return 1
		}
		return 2
	}
	t := value.Of(value.Unknown)
	for n := range 3 {
		for _, x := range xs {
			if pass(x) != n || n > 0 && t.Kind != value.Unknown && value.CanCoerceLiteral(x.Type(), t) {
				continue
			}
			var ok bool
			if t, ok = value.Supertype(t, x.Type()); !ok {
				return nil, t, fmt.Errorf("no common type for %s: %w", typeList(xs), base.ErrInvalid)
			}
		}
	}
	out := make([]Expr, len(xs))
	for i, x := range xs {
		c, err := Coerce(x, t)
		if err != nil {
			return nil, t, err
		}
		out[i] = c
	}
	return out, t, nil
}

func typeList(xs []Expr) string {
	var s string
	for i, x := range xs {
		if i > 0 {
			s += ", "
		}
		s += x.Type().String()
	}
	return s
}
