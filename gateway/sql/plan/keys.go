package plan

import (
	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// keySet is what a condition says about row keys: it holds for none but those
// of set. exact: it holds for all of them, too.
type keySet struct {
	set   rowset.Set
	exact bool
}

// Keys returns the rows that the WHERE of p can hold for, and whether it holds
// for all of them.
func (p *Plan) Keys(env *expr.Env) (rowset.Set, bool, error) {
	if p.where == nil {
		return rowset.All(), true, nil
	}
	k, err := keysOf(p.where, env)
	return k.set, k.exact, err
}

// keysOf analyzes x, of type BOOL. It says nothing about what it does not
// know: comparisons of _key, or of its CAST to STRING, with constants.
func keysOf(x expr.Expr, env *expr.Env) (keySet, error) {
	if expr.IsConst(x) {
		v, err := x.Eval(env)
		if err != nil || v != true {
			return keySet{exact: true}, err
		}
		return keySet{rowset.All(), true}, nil
	}
	switch x := x.(type) {
	case *expr.Logic:
		return logicKeys(x, env)
	case *expr.Compare:
		if key, ok := keyExpr(x.L); ok && expr.IsConst(x.R) {
			return compareKeys(x.Op, x.R, key, env)
		}
		if key, ok := keyExpr(x.R); ok && expr.IsConst(x.L) {
			return compareKeys(x.Op.Flip(), x.L, key, env)
		}
	case *expr.In:
		if key, ok := keyExpr(x.X); ok && constant(x.List) && (x.Array == nil || expr.IsConst(x.Array)) {
			return inKeys(x, key, env)
		}
	case *expr.Call:
		if len(x.Args) == 2 && (x.Name == "STARTS_WITH" || x.Name == expr.LikeName) {
			if key, ok := keyExpr(x.Args[0]); ok && expr.IsConst(x.Args[1]) {
				return prefixKeys(x, key, env)
			}
		}
	}
	return keySet{rowset.All(), false}, nil
}

func constant(xs []expr.Expr) bool {
	for _, x := range xs {
		if !expr.IsConst(x) {
			return false
		}
	}
	return true
}

// keyExpr reports whether x is _key, or its CAST to STRING, which has the same
// order. raw: it is _key; the cast of other bytes than UTF-8 is an error.
func keyExpr(x expr.Expr) (raw, ok bool) {
	if c, ok := x.(*expr.Convert); ok && c.To.Kind == value.String {
		raw, ok := keyExpr(c.X)
		return false, ok && raw
	}
	c, ok := x.(*expr.Column)
	return ok, ok && c.Index == 0
}

func logicKeys(l *expr.Logic, env *expr.Env) (keySet, error) {
	out := keySet{rowset.All(), true}
	var ranges []rowset.Range
	for _, x := range l.Xs {
		k, err := keysOf(x, env)
		if err != nil {
			return keySet{}, err
		}
		out.exact = out.exact && k.exact
		if l.Or {
			ranges = append(ranges, k.set.Ranges()...)
		} else {
			out.set = out.set.IntersectSet(k.set)
		}
	}
	if l.Or {
		out.set = rowset.Of(ranges...)
	}
	return out, nil
}

// keyBytes evaluates a constant that _key is compared with; false: NULL.
func keyBytes(x expr.Expr, env *expr.Env) ([]byte, bool, error) {
	v, err := x.Eval(env)
	b, ok := asBytes(v)
	return b, ok, err
}

func asBytes(v value.Value) ([]byte, bool) {
	switch v := v.(type) {
	case []byte:
		return v, true
	case string:
		return []byte(v), true
	}
	return nil, false
}

func compareKeys(op expr.Op, c expr.Expr, raw bool, env *expr.Env) (keySet, error) {
	k, ok, err := keyBytes(c, env)
	if err != nil || !ok {
		return keySet{exact: true}, err
	}
	if len(k) >= rowset.MaxRowKey {
		return longKeys(op, k, raw), nil
	}
	next := append(k[:len(k):len(k)], 0)
	// An empty Start is the least key, an empty End is above all keys; the
	// empty key itself is none that a row has.
	var rs []rowset.Range
	switch op {
	case expr.EQ:
		if len(k) > 0 {
			rs = []rowset.Range{rowset.Point(k)}
		}
	case expr.NE:
		rs = []rowset.Range{{Start: next}}
		if len(k) > 0 {
			rs = append(rs, rowset.Range{End: k})
		}
	case expr.LT:
		if len(k) > 0 {
			rs = []rowset.Range{{End: k}}
		}
	case expr.LE:
		rs = []rowset.Range{{End: next}}
	case expr.GT:
		rs = []rowset.Range{{Start: next}}
	case expr.GE:
		rs = []rowset.Range{{Start: k}}
	}
	return keySet{rowset.Of(rs...), raw}, nil
}

// longKeys is compareKeys where k is longer than keys and their bounds may be.
func longKeys(op expr.Op, k []byte, raw bool) keySet {
	cut := k[:rowset.MaxRowKey-1]
	switch op {
	case expr.EQ:
		if len(k) > rowset.MaxRowKey {
			return keySet{exact: raw}
		}
		return keySet{rowset.Of(rowset.Point(k)), raw}
	case expr.LT, expr.LE:
		return keySet{rowset.Of(rowset.Range{End: cut}, rowset.Prefix(cut)), false}
	case expr.GT, expr.GE:
		return keySet{rowset.Of(rowset.Range{Start: cut}), false}
	}
	return keySet{rowset.All(), false}
}

func inKeys(n *expr.In, raw bool, env *expr.Env) (keySet, error) {
	vs, err := n.Choices(env)
	if err != nil {
		return keySet{}, err
	}
	var rs []rowset.Range
	for _, v := range vs {
		if k, ok := asBytes(v); ok && len(k) > 0 && len(k) <= rowset.MaxRowKey {
			rs = append(rs, rowset.Point(k))
		}
	}
	return keySet{rowset.Of(rs...), raw}, nil
}

// prefixKeys is STARTS_WITH and LIKE.
func prefixKeys(c *expr.Call, raw bool, env *expr.Env) (keySet, error) {
	p, ok, err := keyBytes(c.Args[1], env)
	if err != nil || !ok {
		return keySet{exact: true}, err
	}
	open, exact := true, true
	if c.Name == expr.LikeName {
		p, open, exact = expr.LikePrefix(p)
	}
	switch {
	case len(p) > rowset.MaxRowKey:
		return keySet{exact: raw}, nil
	case open && len(p) > rowset.MaxRowKey-1:
		p, exact = p[:rowset.MaxRowKey-1], false
		return keySet{rowset.Of(rowset.Prefix(p)), exact}, nil
	case open:
		return keySet{rowset.Of(rowset.Prefix(p)), exact && raw}, nil
	case len(p) == 0:
		return keySet{exact: true}, nil
	}
	return keySet{rowset.Of(rowset.Point(p)), exact && raw}, nil
}
