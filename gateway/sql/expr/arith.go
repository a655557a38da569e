package expr

import (
	"errors"
	"fmt"
	"math"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// errOverflow and errZero are the errors of arithmetic.
var (
	errOverflow = fmt.Errorf("result is out of range: %w", base.ErrInvalid)
	errZero     = fmt.Errorf("division by zero: %w", base.ErrInvalid)
)

// Arith returns l op r for one of + - * / || & | ^ << >>.
func Arith(op string, l, r Expr) (Expr, error) {
	switch op {
	case "||":
		return concat([]Expr{l, r})
	case "&", "|", "^", "<<", ">>":
		return intOp(op, l, r)
	}
	xs, t, err := Unify([]Expr{l, r})
	if err != nil {
		return nil, fmt.Errorf("operator %s: %w", op, err)
	}
	switch {
	case t.Kind == value.Unknown:
		t = value.Of(value.Int64)
	case !t.IsNumber():
		return nil, fmt.Errorf("operator %s is not defined for %s: %w", op, typeList(xs), base.ErrInvalid)
	}
	if t.Kind == value.Int64 && op != "/" {
		return intOp(op, xs[0], xs[1])
	}
	for i := range xs {
		if xs[i], err = Coerce(xs[i], value.Of(value.Float64)); err != nil {
			return nil, err
		}
	}
	return &Call{Name: op, Args: xs, T: value.Of(value.Float64), Strict: true,
		F: func(a []value.Value) (value.Value, error) { return floatArith(op, a[0].(float64), a[1].(float64)) }}, nil
}

func floatArith(op string, x, y float64) (value.Value, error) {
	var z float64
	switch op {
	case "+":
		z = x + y
	case "-":
		z = x - y
	case "*":
		z = x * y
	case "/":
		if y == 0 {
			return nil, errZero
		}
		z = x / y
	}
	return finite(z, x, y)
}

// finite refuses an infinite z that did not come from infinite operands.
func finite(z float64, operands ...float64) (value.Value, error) {
	if math.IsInf(z, 0) {
		for _, x := range operands {
			if math.IsInf(x, 0) || x != x {
				return z, nil
			}
		}
		return nil, errOverflow
	}
	return z, nil
}

func intOp(op string, l, r Expr) (Expr, error) {
	xs := []Expr{l, r}
	for i, x := range xs {
		var err error
		if xs[i], err = Coerce(x, value.Of(value.Int64)); err != nil {
			return nil, fmt.Errorf("operator %s: %w", op, err)
		}
	}
	return &Call{Name: op, Args: xs, T: value.Of(value.Int64), Strict: true,
		F: func(a []value.Value) (value.Value, error) { return intArith(op, a[0].(int64), a[1].(int64)) }}, nil
}

func intArith(op string, x, y int64) (value.Value, error) {
	switch op {
	case "+":
		z := x + y
		if (z > x) != (y > 0) && y != 0 {
			return nil, errOverflow
		}
		return z, nil
	case "-":
		z := x - y
		if (z < x) != (y > 0) && y != 0 {
			return nil, errOverflow
		}
		return z, nil
	case "*":
		if x == 0 || y == 0 {
			return int64(0), nil
		}
		z := x * y
		if z/y != x || x == -1 && y == math.MinInt64 || y == -1 && x == math.MinInt64 {
			return nil, errOverflow
		}
		return z, nil
	case "&":
		return x & y, nil
	case "|":
		return x | y, nil
	case "^":
		return x ^ y, nil
	}
	if y < 0 {
		return nil, fmt.Errorf("negative shift: %w", base.ErrInvalid)
	}
	if op == "<<" {
		return int64(uint64(x) << uint64(y)), nil
	}
	return int64(uint64(x) >> uint64(y)), nil
}

// Unary returns + - or ~ of x.
func Unary(op string, x Expr) (Expr, error) {
	t := x.Type()
	if t.Kind == value.Unknown {
		t = value.Of(value.Int64)
	}
	if !t.IsNumber() || op == "~" && t.Kind != value.Int64 {
		return nil, fmt.Errorf("operator %s is not defined for %s: %w", op, t, base.ErrInvalid)
	}
	f := func(a []value.Value) (value.Value, error) { return a[0], nil }
	switch op {
	case "-":
		f = negate
	case "~":
		f = func(a []value.Value) (value.Value, error) { return ^a[0].(int64), nil }
	}
	if c, ok := x.(*Const); ok && c.V != nil { // keeps a literal a literal
		v, err := f([]value.Value{c.V})
		if err != nil {
			return nil, err
		}
		return NewConst(t, v), nil
	}
	return &Call{Name: op, Args: []Expr{x}, T: t, Strict: true, F: f}, nil
}

func negate(a []value.Value) (value.Value, error) {
	switch x := a[0].(type) {
	case int64:
		if x == math.MinInt64 {
			return nil, errOverflow
		}
		return -x, nil
	case float32:
		return -x, nil
	case float64:
		return -x, nil
	}
	return nil, errors.ErrUnsupported
}

// mathFunctions are the numeric functions.
var mathFunctions = []function{
	fn("ABS", "I:I", func(a []value.Value) (value.Value, error) {
		if a[0].(int64) < 0 {
			return negate(a)
		}
		return a[0], nil
	}),
	fn("ABS", "D:D", float1(math.Abs)),
	fn("SIGN", "I:I", func(a []value.Value) (value.Value, error) { return int64(value.Compare(a[0], int64(0))), nil }),
	fn("SIGN", "D:D", func(a []value.Value) (value.Value, error) {
		if value.IsNaN(a[0]) {
			return a[0], nil
		}
		return float64(value.Compare(a[0], 0.0)), nil
	}),
	fn("CEIL", "D:D", float1(math.Ceil)), fn("CEILING", "D:D", float1(math.Ceil)),
	fn("FLOOR", "D:D", float1(math.Floor)), fn("TRUNC", "D:D", float1(math.Trunc)),
	fn("ROUND", "DI?:D", func(a []value.Value) (value.Value, error) {
		x := a[0].(float64)
		if len(a) == 1 {
			return math.Round(x), nil
		}
		n := a[1].(int64)
		if n > 300 || n < -300 {
			if n > 0 {
				return x, nil
			}
			return 0.0, nil
		}
		p := math.Pow(10, float64(n))
		if z := math.Round(x*p) / p; !math.IsInf(z, 0) {
			return z, nil
		}
		return x, nil
	}),
	fn("SQRT", "D:D", domain(math.Sqrt)), fn("EXP", "D:D", domain(math.Exp)), fn("LN", "D:D", domain(math.Log)),
	fn("LOG", "D:D", domain(math.Log)), fn("LOG10", "D:D", domain(math.Log10)),
	fn("LOG", "DD:D", func(a []value.Value) (value.Value, error) {
		return check(math.Log(a[0].(float64))/math.Log(a[1].(float64)), a)
	}),
	fn("POW", "DD:D", pow), fn("POWER", "DD:D", pow),
	fn("SIN", "D:D", domain(math.Sin)), fn("COS", "D:D", domain(math.Cos)), fn("TAN", "D:D", domain(math.Tan)),
	fn("IS_NAN", "D:b", func(a []value.Value) (value.Value, error) { return value.IsNaN(a[0]), nil }),
	fn("IS_INF", "D:b", func(a []value.Value) (value.Value, error) { return math.IsInf(a[0].(float64), 0), nil }),
	fn("MOD", "II:I", func(a []value.Value) (value.Value, error) {
		x, y := a[0].(int64), a[1].(int64)
		switch y {
		case 0:
			return nil, errZero
		case -1:
			return int64(0), nil
		}
		return x % y, nil
	}),
	fn("DIV", "II:I", func(a []value.Value) (value.Value, error) {
		x, y := a[0].(int64), a[1].(int64)
		switch {
		case y == 0:
			return nil, errZero
		case y == -1:
			return negate(a[:1])
		}
		return x / y, nil
	}),
	fn("IEEE_DIVIDE", "DD:D", func(a []value.Value) (value.Value, error) { return a[0].(float64) / a[1].(float64), nil }),
	fn("SAFE_DIVIDE", "DD:D", safely("/")), fn("SAFE_ADD", "II:I", safely("+")), fn("SAFE_ADD", "DD:D", safely("+")),
	fn("SAFE_SUBTRACT", "II:I", safely("-")), fn("SAFE_SUBTRACT", "DD:D", safely("-")),
	fn("SAFE_MULTIPLY", "II:I", safely("*")), fn("SAFE_MULTIPLY", "DD:D", safely("*")),
}

func float1(f func(float64) float64) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return f(a[0].(float64)), nil }
}

// domain refuses arguments for which f is not defined.
func domain(f func(float64) float64) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return check(f(a[0].(float64)), a) }
}

func pow(a []value.Value) (value.Value, error) {
	return check(math.Pow(a[0].(float64), a[1].(float64)), a)
}

// check refuses a result that is no number though all arguments are.
func check(z float64, args []value.Value) (value.Value, error) {
	if z == z && !math.IsInf(z, 0) {
		return z, nil
	}
	for _, a := range args {
		if x := a.(float64); x != x || math.IsInf(x, 0) {
			return z, nil
		}
	}
	return nil, errOverflow
}

// safely is an operator that yields NULL instead of an error.
func safely(op string) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (v value.Value, err error) {
		if x, ok := a[0].(int64); ok {
			v, err = intArith(op, x, a[1].(int64))
		} else {
			v, err = floatArith(op, a[0].(float64), a[1].(float64))
		}
		if err != nil {
			return nil, nil
		}
		return v, nil
	}
}
