package expr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// function is one signature of a function of fixed types. NULL arguments make
// its result NULL.
type function struct {
	name     string
	args     []value.Type
	optional int  // so many of the last may be left out
	repeated bool // the last may be repeated
	result   value.Type
	f        func([]value.Value) (value.Value, error)
}

// fn returns a function of the signature sig: a letter for each argument, a
// colon, and the letter of the result. A letter is one of kindOf; [ before it
// makes an array, ? after it makes it optional, * repeated.
func fn(name, sig string, f func([]value.Value) (value.Value, error)) function {
	args, result, _ := strings.Cut(sig, ":")
	d := function{name: name, f: f}
	var array bool
	for i := range len(args) {
		switch c := args[i]; c {
		case '[':
			array = true
		case '?':
			d.optional++
		case '*':
			d.repeated = true
		default:
			t := value.Of(kindOf(c))
			if array {
				t, array = value.ArrayOf(t), false
			}
			d.args = append(d.args, t)
		}
	}
	if elem, ok := strings.CutPrefix(result, "["); ok {
		d.result = value.ArrayOf(value.Of(kindOf(elem[0])))
	} else {
		d.result = value.Of(kindOf(result[0]))
	}
	return d
}

// kindOf returns the kind that a letter of a signature means.
func kindOf(c byte) value.Kind {
	switch c {
	case 'b':
		return value.Bool
	case 'I':
		return value.Int64
	case 'F':
		return value.Float32
	case 'D':
		return value.Float64
	case 'S':
		return value.String
	case 'B':
		return value.Bytes
	case 'T':
		return value.Timestamp
	case 'd':
		return value.Date
	}
	return value.Unknown
}

// arg returns the type of argument i.
func (f *function) arg(i int) value.Type { return f.args[min(i, len(f.args)-1)] }

// takes reports whether f takes n arguments.
func (f *function) takes(n int) bool {
	return n >= len(f.args)-f.optional && (n <= len(f.args) || f.repeated)
}

// match returns how well xs fit: 0 not at all, up to 3 exactly.
func (f *function) match(xs []Expr) int {
	if !f.takes(len(xs)) {
		return 0
	}
	best := 3
	for i, x := range xs {
		from, to := x.Type(), f.arg(i)
		switch {
		case from.Equal(to):
		case value.CanCoerce(from, to):
			best = min(best, 2)
		case isLiteral(x) && value.CanCoerceLiteral(from, to):
			best = min(best, 1)
		default:
			return 0
		}
	}
	return best
}

// call returns f of xs, which match.
func (f *function) call(xs []Expr) (Expr, error) {
	args := make([]Expr, len(xs))
	for i, x := range xs {
		var err error
		if args[i], err = Coerce(x, f.arg(i)); err != nil {
			return nil, err
		}
	}
	run, err := precompiled(f.name, args)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", f.name, err)
	}
	if run == nil {
		run = f.f
	}
	return &Call{Name: f.name, Args: args, T: f.result, Strict: true, F: run}, nil
}

// NewCall returns the function name, in upper case, of xs. An error of an
// unknown function wraps base.ErrUnimplemented, another base.ErrInvalid.
func NewCall(name string, xs []Expr) (Expr, error) {
	if x, ok, err := polymorphic(name, xs); ok {
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", name, err)
		}
		return x, nil
	}
	var best *function
	known, fit := false, 0
	for _, list := range [][]function{mathFunctions, textFunctions, codeFunctions, timeFunctions} {
		for i := range list {
			if list[i].name != name {
				continue
			}
			known = true
			if n := list[i].match(xs); n > fit {
				best, fit = &list[i], n
			}
		}
	}
	switch {
	case !known:
		return nil, fmt.Errorf("function %s is not supported: %w", name, base.ErrUnimplemented)
	case best == nil:
		return nil, fmt.Errorf("function %s has no signature for arguments (%s): %w", name, typeList(xs), base.ErrInvalid)
	}
	return best.call(xs)
}

// polymorphic returns functions whose type depends on their arguments; false:
// name is none of them.
func polymorphic(name string, xs []Expr) (Expr, bool, error) {
	need := func(lo, hi int) error {
		if len(xs) < lo || len(xs) > hi {
			return fmt.Errorf("%d arguments: %w", len(xs), base.ErrInvalid)
		}
		return nil
	}
	var x Expr
	var err error
	switch name {
	case "IF":
		if err = need(3, 3); err == nil {
			x, err = NewCase(xs[:1], xs[1:2], xs[2])
		}
	case "COALESCE", "IFNULL":
		if err = need(1, 1000); err == nil && name == "IFNULL" {
			err = need(2, 2)
		}
		if err == nil {
			x, err = coalesce(xs)
		}
	case "NULLIF":
		if err = need(2, 2); err == nil {
			x, err = nullif(xs)
		}
	case "GREATEST", "LEAST":
		if err = need(1, 1000); err == nil {
			x, err = extreme(name, xs)
		}
	case "CONCAT":
		if err = need(1, 1000); err == nil {
			x, err = concat(xs)
		}
	case "CURRENT_TIMESTAMP":
		x, err = now{leaf{value.Of(value.Timestamp)}}, need(0, 0)
	case "CURRENT_DATE":
		x, err = &Convert{X: now{leaf{value.Of(value.Timestamp)}}, To: value.Of(value.Date)}, need(0, 0)
	case "MAP_KEYS", "MAP_VALUES", "MAP_ENTRIES", "MAP_CONTAINS_KEY", "MAP_EMPTY":
		x, err = mapFunction(name, xs)
	case "ARRAY_LENGTH", "ARRAY_REVERSE", "ARRAY_FIRST", "ARRAY_LAST", "ARRAY_CONCAT", "ARRAY_INCLUDES", "ARRAY_SLICE":
		x, err = arrayFunction(name, xs)
	default:
		return nil, false, nil
	}
	return x, true, err
}

func coalesce(xs []Expr) (Expr, error) {
	xs, _, err := Unify(xs)
	if err != nil {
		return nil, err
	}
	var conds []Expr
	for _, x := range xs[:len(xs)-1] {
		n, err := Not(IsNull(x))
		if err != nil {
			return nil, err
		}
		conds = append(conds, n)
	}
	return NewCase(conds, xs[:len(xs)-1], xs[len(xs)-1])
}

func nullif(xs []Expr) (Expr, error) {
	eq, err := NewCompare(EQ, xs[0], xs[1])
	if err != nil {
		return nil, err
	}
	return NewCase([]Expr{eq}, []Expr{NewConst(value.Of(value.Unknown), nil)}, xs[0])
}

func extreme(name string, xs []Expr) (Expr, error) {
	xs, t, err := Unify(xs)
	if err != nil {
		return nil, err
	}
	if !t.Ordered() {
		return nil, fmt.Errorf("%s has no order: %w", t, base.ErrInvalid)
	}
	return &Call{Name: name, Args: xs, T: t, Strict: true, F: func(a []value.Value) (value.Value, error) {
		if i := slices.IndexFunc(a, value.IsNaN); i >= 0 {
			return a[i], nil
		}
		if name == "LEAST" {
			return slices.MinFunc(a, func(x, y value.Value) int { return value.Compare(x, y) }), nil
		}
		return slices.MaxFunc(a, func(x, y value.Value) int { return value.Compare(x, y) }), nil
	}}, nil
}
