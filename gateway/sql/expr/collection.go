package expr

import (
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// arrayName and structName name the Calls of literals.
const (
	arrayName  = "ARRAY"
	structName = "STRUCT"
)

// NewArray returns [xs...], of elements of type elem; of the type common to xs
// where elem is Unknown.
func NewArray(elem value.Type, xs []Expr) (Expr, error) {
	if elem.Kind == value.Unknown {
		var err error
		if xs, elem, err = Unify(xs); err != nil {
			return nil, fmt.Errorf("array: %w", err)
		}
	}
	if elem.Kind == value.Array {
		return nil, fmt.Errorf("array of arrays: %w", base.ErrInvalid)
	}
	args := make([]Expr, len(xs))
	for i, x := range xs {
		var err error
		if args[i], err = Coerce(x, elem); err != nil {
			return nil, fmt.Errorf("element %d of an array: %w", i, err)
		}
	}
	return &Call{Name: arrayName, Args: args, T: value.ArrayOf(elem), F: toList}, nil
}

// NewStruct returns STRUCT(xs...), whose fields have the names.
func NewStruct(names []string, xs []Expr) Expr {
	fields := make([]value.Field, len(xs))
	for i, x := range xs {
		fields[i] = value.Field{Name: names[i], Type: x.Type()}
	}
	return &Call{Name: structName, Args: xs, T: value.StructOf(fields...), F: toList}
}

func toList(a []value.Value) (value.Value, error) { return value.List(slices.Clone(a)), nil }

// NewField returns the field of x, a struct, that has the name.
func NewField(x Expr, name string, same func(a, b string) bool) (Expr, error) {
	t := x.Type()
	if t.Kind != value.Struct {
		return nil, fmt.Errorf("%s has no field %q: %w", t, name, base.ErrInvalid)
	}
	found := -1
	for i, f := range t.Fields {
		switch {
		case !same(f.Name, name):
		case found >= 0:
			return nil, fmt.Errorf("field %q of %s is ambiguous: %w", name, t, base.ErrInvalid)
		default:
			found = i
		}
	}
	if found < 0 {
		return nil, fmt.Errorf("%s has no field %q: %w", t, name, base.ErrInvalid)
	}
	return &Call{Name: ".", Args: []Expr{x}, T: t.Fields[found].Type, Strict: true,
		F: func(a []value.Value) (value.Value, error) { return a[0].(value.List)[found], nil }}, nil
}

// Index is an element of a map: NULL where the map has no such key.
type Index struct{ Map, Key Expr }

// Type implements Expr.
func (x *Index) Type() value.Type { return *x.Map.Type().Elem }

// Parts implements Expr.
func (x *Index) Parts() []Expr { return []Expr{x.Map, x.Key} }

// Eval implements Expr.
func (x *Index) Eval(e *Env) (value.Value, error) {
	m, err := x.Map.Eval(e)
	if err != nil || m == nil {
		return nil, err
	}
	k, err := x.Key.Eval(e)
	if err != nil || k == nil {
		return nil, err
	}
	v, _ := m.(value.Dict).Get(k)
	return v, nil
}

// NewIndex returns x[i]: of a map the value of a key, of an array the element
// at an offset from base, which must be in it unless safe.
func NewIndex(x, i Expr, first int64, safe bool) (Expr, error) {
	switch t := x.Type(); t.Kind {
	case value.Map:
		i, err := Coerce(i, *t.Key)
		if err != nil {
			return nil, fmt.Errorf("key of a map: %w", err)
		}
		return &Index{x, i}, nil
	case value.Array:
		i, err := Coerce(i, value.Of(value.Int64))
		if err != nil {
			return nil, fmt.Errorf("index of an array: %w", err)
		}
		return &Call{Name: "[]", Args: []Expr{x, i}, T: *t.Elem, Strict: true, F: func(a []value.Value) (value.Value, error) {
			l, n := a[0].(value.List), a[1].(int64)-first
			switch {
			case n >= 0 && n < int64(len(l)):
				return l[n], nil
			case safe:
				return nil, nil
			}
			return nil, fmt.Errorf("index %d is out of the bounds of an array of %d: %w", a[1], len(l), base.ErrInvalid)
		}}, nil
	default:
		return nil, fmt.Errorf("%s has no elements: %w", t, base.ErrInvalid)
	}
}

func mapFunction(name string, xs []Expr) (Expr, error) {
	want := 1
	if name == "MAP_CONTAINS_KEY" {
		want = 2
	}
	if len(xs) != want || xs[0].Type().Kind != value.Map {
		return nil, fmt.Errorf("arguments (%s), want a MAP: %w", typeList(xs), base.ErrInvalid)
	}
	t := xs[0].Type()
	c := &Call{Name: name, Args: xs, Strict: true}
	list := func(f func(value.Entry) value.Value) func([]value.Value) (value.Value, error) {
		return func(a []value.Value) (value.Value, error) {
			d := a[0].(value.Dict)
			out := make(value.List, len(d))
			for i, e := range d {
				out[i] = f(e)
			}
			return out, nil
		}
	}
	switch name {
	case "MAP_KEYS":
		c.T, c.F = value.ArrayOf(*t.Key), list(func(e value.Entry) value.Value { return e.Key })
	case "MAP_VALUES":
		if t.Elem.Kind == value.Array {
			return nil, fmt.Errorf("array of arrays: %w", base.ErrInvalid)
		}
		c.T, c.F = value.ArrayOf(*t.Elem), list(func(e value.Entry) value.Value { return e.Value })
	case "MAP_ENTRIES":
		c.T = value.ArrayOf(value.StructOf(value.Field{Name: "key", Type: *t.Key}, value.Field{Name: "value", Type: *t.Elem}))
		c.F = list(func(e value.Entry) value.Value { return value.List{e.Key, e.Value} })
	case "MAP_EMPTY":
		c.T = boolean()
		c.F = func(a []value.Value) (value.Value, error) { return len(a[0].(value.Dict)) == 0, nil }
	case "MAP_CONTAINS_KEY":
		key, err := Coerce(xs[1], *t.Key)
		if err != nil {
			return nil, err
		}
		c.T, c.Args = boolean(), []Expr{xs[0], key}
		c.F = func(a []value.Value) (value.Value, error) {
			_, ok := a[0].(value.Dict).Get(a[1])
			return ok, nil
		}
	}
	return c, nil
}

func arrayFunction(name string, xs []Expr) (Expr, error) {
	if name == "ARRAY_CONCAT" && len(xs) > 0 {
		for _, x := range xs {
			if k := x.Type().Kind; k != value.Array && k != value.Unknown {
				return nil, fmt.Errorf("arguments (%s), want arrays: %w", typeList(xs), base.ErrInvalid)
			}
		}
		return concat(xs)
	}
	want := map[string]int{"ARRAY_INCLUDES": 2, "ARRAY_SLICE": 3}[name]
	if want = max(want, 1); len(xs) != want || xs[0].Type().Kind != value.Array {
		return nil, fmt.Errorf("arguments (%s), want an ARRAY: %w", typeList(xs), base.ErrInvalid)
	}
	t := xs[0].Type()
	c := &Call{Name: name, Args: slices.Clone(xs), T: t, Strict: true}
	var err error
	switch name {
	case "ARRAY_LENGTH":
		c.T = value.Of(value.Int64)
		c.F = func(a []value.Value) (value.Value, error) { return int64(len(a[0].(value.List))), nil }
	case "ARRAY_REVERSE":
		c.F = func(a []value.Value) (value.Value, error) {
			l := slices.Clone(a[0].(value.List))
			slices.Reverse(l)
			return l, nil
		}
	case "ARRAY_FIRST", "ARRAY_LAST":
		c.T = *t.Elem
		c.F = func(a []value.Value) (value.Value, error) {
			l := a[0].(value.List)
			switch {
			case len(l) == 0:
				return nil, fmt.Errorf("array is empty: %w", base.ErrInvalid)
			case name == "ARRAY_FIRST":
				return l[0], nil
			}
			return l[len(l)-1], nil
		}
	case "ARRAY_INCLUDES":
		c.T = boolean()
		if c.Args[1], err = Coerce(xs[1], *t.Elem); err != nil {
			return nil, err
		}
		c.F = func(a []value.Value) (value.Value, error) {
			return slices.ContainsFunc(a[0].(value.List), func(v value.Value) bool { return value.Equal(v, a[1]) == true }), nil
		}
	case "ARRAY_SLICE":
		for i := 1; i < 3; i++ {
			if c.Args[i], err = Coerce(xs[i], value.Of(value.Int64)); err != nil {
				return nil, err
			}
		}
		c.F = slice
	}
	return c, nil
}

// slice is ARRAY_SLICE: offsets from 0, from the end where negative, the last
// included.
func slice(a []value.Value) (value.Value, error) {
	l := a[0].(value.List)
	n := int64(len(l))
	at := func(i int64) int64 {
		if i < 0 {
			i += n
		}
		return i
	}
	lo, hi := max(at(a[1].(int64)), 0), min(at(a[2].(int64)), n-1)
	if lo > hi {
		return value.List{}, nil
	}
	return l[lo : hi+1 : hi+1], nil
}

func concatLists(a []value.Value) (value.Value, error) {
	out := value.List{}
	for _, l := range a {
		if out = append(out, l.(value.List)...); len(out) > maxText/16 {
			return nil, errOverflow
		}
	}
	return out, nil
}

// Lambda is ARRAY_FILTER(array, e -> cond) or ARRAY_TRANSFORM(array, e -> x).
// The element is put into slot Elem of Env.Vars, its offset into the next.
type Lambda struct {
	Array, Body Expr
	Elem        int
	Filter      bool
}

// NewLambda returns the call; body is over the variables elem and elem+1.
func NewLambda(filter bool, array, body Expr, elem int) (Expr, error) {
	if filter {
		var err error
		if body, err = Coerce(body, boolean()); err != nil {
			return nil, err
		}
	} else if body.Type().Kind == value.Array {
		return nil, fmt.Errorf("array of arrays: %w", base.ErrInvalid)
	}
	return &Lambda{array, body, elem, filter}, nil
}

// Type implements Expr.
func (l *Lambda) Type() value.Type {
	if l.Filter {
		return l.Array.Type()
	}
	return value.ArrayOf(l.Body.Type())
}

// Parts implements Expr.
func (l *Lambda) Parts() []Expr { return []Expr{l.Array, l.Body} }

// Eval implements Expr.
func (l *Lambda) Eval(e *Env) (value.Value, error) {
	v, err := l.Array.Eval(e)
	if err != nil || v == nil {
		return nil, err
	}
	out := value.List{}
	for i, x := range v.(value.List) {
		e.Vars[l.Elem], e.Vars[l.Elem+1] = x, int64(i)
		y, err := l.Body.Eval(e)
		switch {
		case err != nil:
			return nil, err
		case !l.Filter:
			out = append(out, y)
		case y == true:
			out = append(out, x)
		}
	}
	return out, nil
}
