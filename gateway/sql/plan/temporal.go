package plan

import (
	"math"
	"strings"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

// temporal is the temporal arguments of a table.
type temporal struct {
	history                              bool
	after, afterEq, before, beforeEq, as expr.Expr // TIMESTAMP
	latest                               expr.Expr // INT64: versions of a column
}

// temporal analyzes the arguments of the table.
func (a *analyzer) temporal() error {
	seen := map[string]bool{}
	for _, n := range a.s.args {
		name := strings.ToLower(n.Name.Name)
		if seen[name] {
			return a.invalid(n, "argument %s is given twice", name)
		}
		seen[name] = true
		x, err := a.expr(n.Value) // there are no columns yet
		if err != nil {
			return err
		}
		kind, to := value.Timestamp, (*expr.Expr)(nil)
		switch name {
		case "with_history":
			c, ok := x.(*expr.Const)
			on, isBool := false, false
			if ok {
				on, isBool = c.V.(bool)
			}
			if !isBool {
				return a.invalid(n, "with_history is not TRUE or FALSE")
			}
			a.time.history = on
			continue
		case "after":
			to = &a.time.after
		case "after_or_equal":
			to = &a.time.afterEq
		case "before":
			to = &a.time.before
		case "before_or_equal":
			to = &a.time.beforeEq
		case "as_of":
			to = &a.time.as
		case "latest_n":
			kind, to = value.Int64, &a.time.latest
		default:
			return a.invalid(n, "unknown argument %s of a table", name)
		}
		if *to, err = expr.Coerce(x, value.Of(kind)); err != nil {
			return a.fail(n, err)
		}
	}
	t := &a.time
	bounded := t.after != nil || t.afterEq != nil || t.before != nil || t.beforeEq != nil || t.latest != nil
	switch {
	case bounded && !t.history:
		return a.invalid(a.s.within, "after, before and latest_n need with_history => TRUE")
	case t.as != nil && t.history:
		return a.invalid(a.s.within, "as_of cannot be used with with_history => TRUE")
	}
	return nil
}

// versions returns the range of timestamps that are read, nil for all, and how
// many versions of a column, 0 for all. none: no cell can be in the range.
func (t *temporal) versions(env *expr.Env) (r *bigtablepb.TimestampRange, latest int32, none bool, err error) {
	if !t.history {
		latest = 1
	}
	if t.latest != nil {
		n, err := count(t.latest, env, 0, "latest_n")
		if err != nil {
			return nil, 0, false, err
		}
		if n < 1 {
			return nil, 0, false, invalid("latest_n is %d, not at least 1", n)
		}
		latest = int32(min(n, math.MaxInt32))
	}
	lo, hi := int64(0), int64(math.MaxInt64)
	for _, b := range []struct {
		x    expr.Expr
		low  bool
		plus int64
	}{{t.after, true, 1}, {t.afterEq, true, 0}, {t.before, false, 0}, {t.beforeEq, false, 1}, {t.as, false, 1}} {
		if b.x == nil {
			continue
		}
		v, err := b.x.Eval(env)
		if err != nil {
			return nil, 0, false, err
		}
		at, ok := v.(value.Time)
		switch {
		case !ok:
			return nil, 0, false, invalid("a bound of the versions is NULL")
		case b.low:
			lo = max(lo, int64(at)+b.plus)
		default:
			hi = min(hi, int64(at)+b.plus)
		}
	}
	switch {
	case hi <= lo:
		return nil, latest, true, nil
	case lo == 0 && hi == math.MaxInt64:
		return nil, latest, false, nil
	case hi == math.MaxInt64:
		hi = 0
	}
	return &bigtablepb.TimestampRange{StartTimestampMicros: lo, EndTimestampMicros: hi}, latest, false, nil
}
