package plan

import (
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// Plan is an analyzed query. It is immutable and may be run concurrently.
type Plan struct {
	sql     string
	table   *Table // nil: one row without columns
	columns []column
	params  map[string]value.Type
	time    temporal

	where    expr.Expr // nil: all
	grouped  bool
	groups   []expr.Expr
	aggs     []*expr.Aggregate
	having   expr.Expr // nil: all
	outs     []output
	distinct bool
	order    []orderItem // empty: any, or by key
	reversed bool        // keys fall
	perRow   bool        // grouped by _key: each row is a group
	limit    expr.Expr   // nil: none
	offset   expr.Expr   // nil: 0
	vars     int         // of lambdas

	needs []need // of the families; empty without a table
	total bool   // every row that can matter has a cell that the needs cover
}

// column is a column of the table.
type column struct {
	name string
	t    value.Type
}

// output is a column of the result.
type output struct {
	name string
	x    expr.Expr
}

type orderItem struct {
	x    expr.Expr
	desc bool
}

// need is what a plan reads of a family.
type need struct {
	all        bool
	qualifiers []expr.Expr // constant, of type BYTES
}

// Metadata returns the columns of the result.
func (p *Plan) Metadata() *bigtablepb.ResultSetMetadata {
	s := &bigtablepb.ProtoSchema{}
	for _, o := range p.outs {
		s.Columns = append(s.Columns, &bigtablepb.ColumnMetadata{Name: o.name, Type: o.x.Type().Known().Proto()})
	}
	return &bigtablepb.ResultSetMetadata{Schema: &bigtablepb.ResultSetMetadata_ProtoSchema{ProtoSchema: s}}
}

// Reversed reports whether rows are read from the last to the first.
func (p *Plan) Reversed() bool { return p.reversed }

// Resumable reports whether a run can go on after a row: rows come in the
// order of their keys, and no row depends on those before.
func (p *Plan) Resumable() bool {
	return p.table != nil && len(p.order) == 0 && !p.distinct && (!p.grouped || p.perRow)
}

// Bind checks values of the parameters and returns the Env to run p with. now
// is the value of CURRENT_TIMESTAMP. An error wraps base.ErrInvalid.
func (p *Plan) Bind(params map[string]*bigtablepb.Value, now value.Time) (*expr.Env, error) {
	env := &expr.Env{Params: make(map[string]value.Value, len(p.params)), Vars: make([]value.Value, p.vars),
		Now: now, Aggs: make([]value.Value, len(p.aggs))}
	for name, v := range params {
		t, ok := p.params[name]
		if !ok {
			return nil, fmt.Errorf("parameter %q was not declared: %w", name, base.ErrInvalid)
		}
		if v.GetType() != nil {
			given, err := value.TypeFromProto(v.Type)
			if err != nil {
				return nil, fmt.Errorf("parameter %q: %w", name, err)
			}
			if !given.Equal(t) {
				return nil, fmt.Errorf("parameter %q is %s, but was declared as %s: %w", name, given, t, base.ErrInvalid)
			}
		}
		x, err := value.FromProto(v, t)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", name, err)
		}
		env.Params[name] = x
	}
	for name := range p.params {
		if _, ok := params[name]; !ok {
			return nil, fmt.Errorf("parameter %q has no value: %w", name, base.ErrInvalid)
		}
	}
	return env, nil
}

// count evaluates a LIMIT or OFFSET.
func count(x expr.Expr, env *expr.Env, none int64, what string) (int64, error) {
	if x == nil {
		return none, nil
	}
	v, err := x.Eval(env)
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 {
		return 0, fmt.Errorf("%s must not be NULL or negative: %w", what, base.ErrInvalid)
	}
	return n, nil
}
