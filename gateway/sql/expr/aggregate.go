package expr

import (
	"fmt"
	"math"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// Aggregate is a call of an aggregate function.
type Aggregate struct {
	Arg      Expr // nil for COUNT(*)
	T        value.Type
	Distinct bool
	nulls    bool // NULL counts
	start    func() folder
}

// folder folds the values of one group.
type folder interface {
	add(value.Value) error
	result() value.Value
}

// IsAggregate reports whether name, in upper case, is an aggregate function.
func IsAggregate(name string) bool {
	switch name {
	case "COUNT", "COUNTIF", "SUM", "AVG", "MIN", "MAX", "ANY_VALUE", "LOGICAL_AND", "LOGICAL_OR",
		"BIT_AND", "BIT_OR", "BIT_XOR", "ARRAY_AGG", "STRING_AGG":
		return true
	}
	return false
}

// NewAggregate returns the aggregate name of arg; arg nil is COUNT(*). sep is
// the separator of STRING_AGG.
func NewAggregate(name string, arg Expr, distinct bool, sep string) (*Aggregate, error) {
	a := &Aggregate{Arg: arg, Distinct: distinct, T: value.Of(value.Int64)}
	if arg == nil {
		a.nulls, a.start = true, func() folder { return new(count) }
		return a, nil
	}
	t := arg.Type().Known()
	if distinct && !t.Comparable() {
		return nil, fmt.Errorf("%s(DISTINCT %s): %w", name, t, base.ErrInvalid)
	}
	want := func(ok bool) error {
		if !ok {
			return fmt.Errorf("function %s has no signature for argument %s: %w", name, t, base.ErrInvalid)
		}
		return nil
	}
	var err error
	switch name {
	case "COUNT":
		a.start = func() folder { return new(count) }
	case "COUNTIF":
		err = want(t.Kind == value.Bool)
		a.start = func() folder { return new(countIf) }
	case "SUM":
		err = want(t.IsNumber())
		if a.start = func() folder { return new(sumInt) }; t.IsFloat() {
			a.T, a.start = value.Of(value.Float64), func() folder { return new(sumFloat) }
		}
	case "AVG":
		err = want(t.IsNumber())
		a.T, a.start = value.Of(value.Float64), func() folder { return new(average) }
	case "MIN", "MAX":
		err = want(t.Ordered())
		a.T, a.start = t, func() folder { return &bound{max: name == "MAX"} }
	case "ANY_VALUE":
		a.T, a.start = t, func() folder { return new(first) }
	case "LOGICAL_AND", "LOGICAL_OR":
		err = want(t.Kind == value.Bool)
		a.T, a.start = t, func() folder { return &bound{max: name == "LOGICAL_OR"} }
	case "BIT_AND", "BIT_OR", "BIT_XOR":
		err = want(t.Kind == value.Int64)
		a.start = func() folder { return &bitwise{op: name} }
	case "ARRAY_AGG":
		err = want(t.Kind != value.Array)
		a.T, a.nulls, a.start = value.ArrayOf(t), true, func() folder { return new(collect) }
	case "STRING_AGG":
		err = want(t.Kind == value.String || t.Kind == value.Bytes)
		a.T, a.start = t, func() folder { return &text{sep: sep} }
	}
	return a, err
}

// Fold is the state of one aggregate in one group.
type Fold struct {
	a    *Aggregate
	f    folder
	seen map[string]bool
}

// Start returns the Fold of an empty group.
func (a *Aggregate) Start() *Fold {
	f := &Fold{a: a, f: a.start()}
	if a.Distinct {
		f.seen = map[string]bool{}
	}
	return f
}

// Add adds the row of e, and returns by how many bytes the state grew.
func (f *Fold) Add(e *Env) (int, error) {
	var v value.Value
	if f.a.Arg != nil {
		var err error
		if v, err = f.a.Arg.Eval(e); err != nil {
			return 0, err
		}
	}
	if v == nil && !f.a.nulls {
		return 0, nil
	}
	var grown int
	if f.seen != nil {
		key := string(value.AppendKey(nil, v))
		if f.seen[key] {
			return 0, nil
		}
		f.seen[key] = true
		grown = len(key) + 32
	}
	switch f.f.(type) {
	case *collect, *text:
		grown += value.Size(v)
	case *bound, *first: // which may keep v instead of another
		grown -= value.Size(f.f.result())
		err := f.f.add(v)
		return grown + value.Size(f.f.result()), err
	}
	return grown, f.f.add(v)
}

// Result returns the aggregate of the rows added.
func (f *Fold) Result() value.Value { return f.f.result() }

type count int64

func (c *count) add(value.Value) error { *c++; return nil }
func (c *count) result() value.Value   { return int64(*c) }

type countIf int64

func (c *countIf) add(v value.Value) error {
	if v.(bool) {
		*c++
	}
	return nil
}
func (c *countIf) result() value.Value { return int64(*c) }

type sumInt struct {
	n   int64
	any bool
}

func (s *sumInt) add(v value.Value) error {
	n, err := intArith("+", s.n, v.(int64))
	if err != nil {
		return fmt.Errorf("SUM: %w", err)
	}
	s.n, s.any = n.(int64), true
	return nil
}

func (s *sumInt) result() value.Value {
	if !s.any {
		return nil
	}
	return s.n
}

// asFloat returns the number v.
func asFloat(v value.Value) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float32:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}

type sumFloat struct {
	f   float64
	any bool
}

func (s *sumFloat) add(v value.Value) error { s.f, s.any = s.f+asFloat(v), true; return nil }
func (s *sumFloat) result() value.Value {
	if !s.any {
		return nil
	}
	return s.f
}

// average keeps the running mean, which cannot overflow.
type average struct {
	mean float64
	n    float64
}

func (a *average) add(v value.Value) error {
	a.n++
	a.mean += (asFloat(v) - a.mean) / a.n
	return nil
}

func (a *average) result() value.Value {
	if a.n == 0 {
		return nil
	}
	return a.mean
}

// bound is MIN or MAX; NaN wins in both.
type bound struct {
	max bool
	v   value.Value
}

func (b *bound) add(v value.Value) error {
	switch d := value.Compare(v, b.v); {
	case value.IsNaN(b.v):
	case b.v == nil || value.IsNaN(v) || b.max && d > 0 || !b.max && d < 0:
		b.v = v
	}
	return nil
}
func (b *bound) result() value.Value { return b.v }

type first struct{ v value.Value }

func (f *first) add(v value.Value) error {
	if f.v == nil {
		f.v = v
	}
	return nil
}
func (f *first) result() value.Value { return f.v }

type bitwise struct {
	op  string
	n   int64
	any bool
}

func (b *bitwise) add(v value.Value) error {
	n := v.(int64)
	switch {
	case !b.any:
		b.n = n
	case b.op == "BIT_AND":
		b.n &= n
	case b.op == "BIT_OR":
		b.n |= n
	default:
		b.n ^= n
	}
	b.any = true
	return nil
}

func (b *bitwise) result() value.Value {
	if !b.any {
		return nil
	}
	return b.n
}

type collect struct{ l value.List }

func (c *collect) add(v value.Value) error { c.l = append(c.l, v); return nil }
func (c *collect) result() value.Value {
	if c.l == nil {
		return nil
	}
	return c.l
}

// text joins strings or bytes.
type text struct {
	sep string
	b   []byte
	any bool
	raw bool
}

func (t *text) add(v value.Value) error {
	if t.any {
		t.b = append(t.b, t.sep...)
	}
	t.any = true
	switch v := v.(type) {
	case string:
		t.b = append(t.b, v...)
	case []byte:
		t.b, t.raw = append(t.b, v...), true
	}
	return nil
}

func (t *text) result() value.Value {
	switch {
	case !t.any:
		return nil
	case t.raw:
		return t.b
	}
	return string(t.b)
}
