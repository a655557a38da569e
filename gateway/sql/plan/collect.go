package plan

import (
	"slices"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

// groups holds the groups of a GROUP BY, in the order in which they came.
type groups struct {
	r     *runner
	byKey map[string]*group
	all   []*group
}

type group struct {
	values []value.Value
	folds  []*expr.Fold
}

func newGroups(r *runner) *groups { return &groups{r: r, byKey: map[string]*group{}} }

// add adds the row in r.env to its group.
func (g *groups) add() error {
	r := g.r
	var key []byte
	values := make([]value.Value, len(r.p.groups))
	for i, x := range r.p.groups {
		v, err := x.Eval(r.env)
		if err != nil {
			return err
		}
		values[i] = v
		key = value.AppendKey(key, v)
	}
	b := g.byKey[string(key)]
	size := 0
	if b == nil {
		b = g.start(values)
		g.byKey[string(key)] = b
		size = 2*len(key) + 128*(1+len(b.folds))
	}
	for _, f := range b.folds {
		n, err := f.Add(r.env)
		if err != nil {
			return err
		}
		size += n
	}
	return r.hold(size, "GROUP BY")
}

func (g *groups) start(values []value.Value) *group {
	b := &group{values: values}
	for _, a := range g.r.p.aggs {
		b.folds = append(b.folds, a.Start())
	}
	g.all = append(g.all, b)
	return b
}

// each calls output with r.env set to each group. Without GROUP BY there is
// one, even of no rows.
func (g *groups) each(output func() error) error {
	if len(g.all) == 0 && len(g.r.p.groups) == 0 {
		g.start(nil)
	}
	for _, b := range g.all {
		g.r.env.Groups = b.values
		for i, f := range b.folds {
			g.r.env.Aggs[i] = f.Result()
		}
		if err := output(); err != nil {
			return err
		}
	}
	return nil
}

// sorter holds the rows of an ORDER BY, or as many of the first as LIMIT lets
// through.
type sorter struct {
	r    *runner
	rows []sortable
	most int // rows needed; negative: all
}

// sortable is a row, what it is sorted by, and about how big it is.
type sortable struct {
	row, by []value.Value
	size    int
}

func newSorter(r *runner) *sorter {
	s := &sorter{r: r, most: -1}
	if r.limit >= 0 && r.limit < 1<<30 && r.offset < 1<<30 {
		s.most = int(r.limit + r.offset)
	}
	return s
}

// add adds r.row.
func (s *sorter) add() error {
	e := sortable{row: slices.Clone(s.r.row)}
	for _, o := range s.r.p.order {
		v, err := o.x.Eval(s.r.env)
		if err != nil {
			return err
		}
		e.by = append(e.by, v)
	}
	for _, v := range e.row {
		e.size += value.Size(v)
	}
	for _, v := range e.by {
		e.size += value.Size(v)
	}
	s.rows = append(s.rows, e)
	if s.most >= 0 && len(s.rows) >= 2*s.most+1024 {
		s.sort()
		for _, e := range s.rows[s.most:] {
			s.r.memory -= e.size
		}
		clear(s.rows[s.most:])
		s.rows = s.rows[:s.most]
	}
	return s.r.hold(e.size, "ORDER BY")
}

// sort keeps equal rows in the order in which they came.
func (s *sorter) sort() {
	slices.SortStableFunc(s.rows, func(a, b sortable) int {
		for i, o := range s.r.p.order {
			d := value.Compare(a.by[i], b.by[i])
			if o.desc {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
}

// each calls deliver for each row in order.
func (s *sorter) each(deliver func([]value.Value) error) error {
	s.sort()
	for _, e := range s.rows {
		if err := deliver(e.row); err != nil {
			return err
		}
	}
	return nil
}
