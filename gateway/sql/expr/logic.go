package expr

import (
	"fmt"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

func boolean() value.Type { return value.Of(value.Bool) }

// Logic is AND or OR over two or more operands, in three-valued logic. It
// stops at the first operand that decides.
type Logic struct {
	Or bool
	Xs []Expr
}

// NewLogic returns the AND, or the OR, of xs. Operands that are of the same
// operator are taken apart.
func NewLogic(or bool, xs ...Expr) (Expr, error) {
	var flat []Expr
	for _, x := range xs {
		if l, ok := x.(*Logic); ok && l.Or == or {
			flat = append(flat, l.Xs...)
			continue
		}
		x, err := Coerce(x, boolean())
		if err != nil {
			return nil, err
		}
		flat = append(flat, x)
	}
	return &Logic{Or: or, Xs: flat}, nil
}

// Type implements Expr.
func (l *Logic) Type() value.Type { return boolean() }

// Parts implements Expr.
func (l *Logic) Parts() []Expr { return l.Xs }

// Eval implements Expr.
func (l *Logic) Eval(e *Env) (value.Value, error) {
	var open bool
	for _, x := range l.Xs {
		v, err := x.Eval(e)
		switch {
		case err != nil:
			return nil, err
		case v == nil:
			open = true
		case v.(bool) == l.Or:
			return l.Or, nil
		}
	}
	if open {
		return nil, nil
	}
	return !l.Or, nil
}

// Not is the operator NOT.
func Not(x Expr) (Expr, error) {
	x, err := Coerce(x, boolean())
	if err != nil {
		return nil, err
	}
	return &Call{Name: "NOT", Args: []Expr{x}, T: boolean(), Strict: true,
		F: func(a []value.Value) (value.Value, error) { return !a[0].(bool), nil }}, nil
}

// Op is a comparison.
type Op string

// The comparisons.
const (
	EQ Op = "="
	NE Op = "!="
	LT Op = "<"
	LE Op = "<="
	GT Op = ">"
	GE Op = ">="
)

// Flip returns the comparison with its sides changed over.
func (o Op) Flip() Op {
	switch o {
	case LT:
		return GT
	case LE:
		return GE
	case GT:
		return LT
	case GE:
		return LE
	}
	return o
}

// Compare is a comparison of two operands of one type.
type Compare struct {
	Op   Op
	L, R Expr
}

// NewCompare returns l op r.
func NewCompare(op Op, l, r Expr) (Expr, error) {
	xs, t, err := Unify([]Expr{l, r})
	if err != nil {
		return nil, fmt.Errorf("operator %s: %w", op, err)
	}
	if (op == EQ || op == NE) && !t.Comparable() || op != EQ && op != NE && !t.Ordered() {
		return nil, fmt.Errorf("operator %s is not defined for %s: %w", op, t, base.ErrInvalid)
	}
	return &Compare{op, xs[0], xs[1]}, nil
}

// Type implements Expr.
func (c *Compare) Type() value.Type { return boolean() }

// Parts implements Expr.
func (c *Compare) Parts() []Expr { return []Expr{c.L, c.R} }

// Eval implements Expr.
func (c *Compare) Eval(e *Env) (value.Value, error) {
	l, err := c.L.Eval(e)
	if err != nil || l == nil {
		return nil, err
	}
	r, err := c.R.Eval(e)
	if err != nil || r == nil {
		return nil, err
	}
	switch c.Op {
	case EQ:
		return value.Equal(l, r), nil
	case NE:
		if eq := value.Equal(l, r); eq != nil {
			return !eq.(bool), nil
		}
		return nil, nil
	}
	if value.IsNaN(l) || value.IsNaN(r) {
		return false, nil
	}
	d := value.Compare(l, r)
	switch c.Op {
	case LT:
		return d < 0, nil
	case LE:
		return d <= 0, nil
	case GT:
		return d > 0, nil
	}
	return d >= 0, nil
}

// In is x IN (list), or x IN UNNEST(array) where Array is not nil.
type In struct {
	X     Expr
	List  []Expr
	Array Expr
}

// NewIn returns x IN (list).
func NewIn(x Expr, list []Expr) (Expr, error) {
	xs, t, err := Unify(append([]Expr{x}, list...))
	if err != nil {
		return nil, fmt.Errorf("operator IN: %w", err)
	}
	if !t.Comparable() {
		return nil, fmt.Errorf("operator IN is not defined for %s: %w", t, base.ErrInvalid)
	}
	return &In{X: xs[0], List: xs[1:]}, nil
}

// NewInArray returns x IN UNNEST(array).
func NewInArray(x, array Expr) (Expr, error) {
	t := array.Type()
	switch {
	case t.Kind == value.Unknown:
		return NewConst(boolean(), false), nil
	case t.Kind != value.Array:
		return nil, fmt.Errorf("UNNEST needs an ARRAY, not %s: %w", t, base.ErrInvalid)
	case !x.Type().Equal(*t.Elem):
		var err error
		if x2, cerr := Coerce(x, *t.Elem); cerr == nil {
			x = x2
		} else if array, err = Coerce(array, value.ArrayOf(x.Type())); err != nil {
			return nil, fmt.Errorf("operator IN: %w", err)
		}
	}
	if !x.Type().Comparable() {
		return nil, fmt.Errorf("operator IN is not defined for %s: %w", x.Type(), base.ErrInvalid)
	}
	return &In{X: x, Array: array}, nil
}

// Type implements Expr.
func (n *In) Type() value.Type { return boolean() }

// Parts implements Expr.
func (n *In) Parts() []Expr {
	if n.Array != nil {
		return []Expr{n.X, n.Array}
	}
	return append([]Expr{n.X}, n.List...)
}

// Choices evaluates the values that X is compared with.
func (n *In) Choices(e *Env) ([]value.Value, error) {
	if n.Array != nil {
		v, err := n.Array.Eval(e)
		if err != nil || v == nil {
			return nil, err
		}
		return v.(value.List), nil
	}
	vs := make([]value.Value, len(n.List))
	for i, x := range n.List {
		v, err := x.Eval(e)
		if err != nil {
			return nil, err
		}
		vs[i] = v
	}
	return vs, nil
}

// Eval implements Expr.
func (n *In) Eval(e *Env) (value.Value, error) {
	x, err := n.X.Eval(e)
	if err != nil {
		return nil, err
	}
	choices, err := n.Choices(e)
	switch {
	case err != nil:
		return nil, err
	case len(choices) == 0:
		return false, nil
	case x == nil:
		return nil, nil
	}
	var open bool
	for _, c := range choices {
		switch value.Equal(x, c) {
		case true:
			return true, nil
		case nil:
			open = true
		}
	}
	if open {
		return nil, nil
	}
	return false, nil
}

// IsNull is x IS NULL.
func IsNull(x Expr) Expr {
	return &Call{Name: "IS NULL", Args: []Expr{x}, T: boolean(),
		F: func(a []value.Value) (value.Value, error) { return a[0] == nil, nil }}
}

// IsBool is x IS TRUE or x IS FALSE.
func IsBool(x Expr, want bool) (Expr, error) {
	x, err := Coerce(x, boolean())
	if err != nil {
		return nil, err
	}
	return &Call{Name: "IS", Args: []Expr{x}, T: boolean(),
		F: func(a []value.Value) (value.Value, error) { return a[0] == want, nil }}, nil
}

// Case is CASE WHEN cond THEN value ... ELSE value END; IF, COALESCE and the
// like are made of it.
type Case struct {
	T     value.Type
	Conds []Expr
	Thens []Expr // one more than Conds: the last is ELSE
}

// NewCase returns a CASE; otherwise may be nil for NULL.
func NewCase(conds, thens []Expr, otherwise Expr) (Expr, error) {
	if otherwise == nil {
		otherwise = NewConst(value.Of(value.Unknown), nil)
	}
	thens, t, err := Unify(append(thens[:len(thens):len(thens)], otherwise))
	if err != nil {
		return nil, err
	}
	cs := make([]Expr, len(conds))
	for i, c := range conds {
		if cs[i], err = Coerce(c, boolean()); err != nil {
			return nil, err
		}
	}
	return &Case{T: t, Conds: cs, Thens: thens}, nil
}

// Type implements Expr.
func (c *Case) Type() value.Type { return c.T }

// Parts implements Expr.
func (c *Case) Parts() []Expr { return append(c.Conds[:len(c.Conds):len(c.Conds)], c.Thens...) }

// Eval implements Expr.
func (c *Case) Eval(e *Env) (value.Value, error) {
	for i, cond := range c.Conds {
		v, err := cond.Eval(e)
		if err != nil {
			return nil, err
		}
		if v == true {
			return c.Thens[i].Eval(e)
		}
	}
	return c.Thens[len(c.Conds)].Eval(e)
}
