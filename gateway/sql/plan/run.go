package plan

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// MaxMemory is how many bytes of rows and groups a run holds on to, about. A
// query that needs more fails with base.ErrPrecondition.
const MaxMemory = 128 << 20

// maxKeys is how many bytes of keys one read asks for.
const maxKeys = rowset.MaxSize / 2

// Position is how far a run of a Resumable plan has come. The zero Position is
// its start.
type Position struct {
	Key     []byte // of the last row that was dealt with; nil: none
	Skipped int64  // rows that OFFSET has left out
	Sent    int64  // rows given to the Sink
}

// Reader reads rows in the order of their keys, descending where req.Reversed,
// and calls emit for each. An error of emit ends it and is returned, wrapped
// or not. The request has no table name.
type Reader func(ctx context.Context, req *bigtablepb.ReadRowsRequest, emit func(*chunk.Row) error) error

// Sink takes the rows of a result.
type Sink interface {
	// Row takes one row. The values are borrowed for the call.
	Row([]value.Value) error
	// Scanned tells that everything up to pos is dealt with: a run from there
	// gives the rows that follow. It is called for Resumable plans, after each
	// row read. pos is borrowed for the call.
	Scanned(pos *Position) error
}

// errStop ends a read early.
var errStop = errors.New("no more rows are needed")

// runner is one run.
type runner struct {
	p    *Plan
	env  *expr.Env
	sink Sink
	pos  Position

	limit, offset int64 // limit < 0: none
	memory        int   // held, in bytes
	row           []value.Value
	seen          map[string]struct{} // of DISTINCT
	groups        *groups
	sorted        *sorter
}

// Run executes p over what read reads, from the position from, which must be
// zero unless p is Resumable. env is from Bind and is used for this run only.
func Run(ctx context.Context, p *Plan, env *expr.Env, from Position, read Reader, sink Sink) error {
	r := &runner{p: p, env: env, sink: sink, pos: from, row: make([]value.Value, len(p.outs))}
	var err error
	if r.limit, err = count(p.limit, env, -1, "LIMIT"); err != nil {
		return err
	}
	if r.offset, err = count(p.offset, env, 0, "OFFSET"); err != nil {
		return err
	}
	if p.distinct {
		r.seen = map[string]struct{}{}
	}
	if p.grouped && !p.perRow {
		r.groups = newGroups(r)
	}
	if len(p.order) > 0 {
		r.sorted = newSorter(r)
	}
	err = r.rows(ctx, read)
	if err == nil && r.groups != nil {
		err = r.groups.each(r.output)
	}
	if err == nil && r.sorted != nil {
		err = r.sorted.each(r.deliver)
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// rows reads, and deals with each row.
func (r *runner) rows(ctx context.Context, read Reader) error {
	switch {
	case r.limit >= 0 && r.pos.Sent >= r.limit:
		return errStop
	case r.p.table == nil:
		return r.output()
	}
	set, exact, err := r.p.Keys(r.env)
	if err != nil {
		return err
	}
	filter, empty, err := r.p.Filter(r.env)
	if err != nil || empty {
		return err
	}
	if r.pos.Key != nil && r.p.reversed {
		set = set.Before(r.pos.Key)
	} else if r.pos.Key != nil {
		set = set.After(r.pos.Key)
	}
	r.env.Columns = make([]value.Value, len(r.p.columns))
	for _, part := range split(set, r.p.reversed) {
		req := &bigtablepb.ReadRowsRequest{Filter: filter, Reversed: r.p.reversed}
		if !part.IsAll() {
			req.Rows = part.Proto()
		}
		if exact && r.limit >= 0 && r.p.Resumable() && r.p.having == nil {
			if n := r.limit - r.pos.Sent; n < 1<<40 && r.offset < 1<<40 {
				req.RowsLimit = n + r.offset - r.pos.Skipped
			}
		}
		if err := read(ctx, req, r.read); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

// split cuts set into parts that fit into a request.
func split(set rowset.Set, reversed bool) []rowset.Set {
	if set.IsEmpty() {
		return nil
	}
	ranges, size := set.Ranges(), 0
	var parts []rowset.Set
	from := 0
	for i, r := range ranges {
		if size > maxKeys {
			parts, from, size = append(parts, rowset.Of(ranges[from:i]...)), i, 0
		}
		size += len(r.Start) + len(r.End) + 16
	}
	parts = append(parts, rowset.Of(ranges[from:]...))
	if reversed {
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
	}
	return parts
}

// read deals with one row of the table.
func (r *runner) read(row *chunk.Row) error {
	if err := r.load(row); err != nil {
		return fmt.Errorf("row %q: %w", row.Key, err)
	}
	err := r.take()
	if r.p.Resumable() && (err == nil || errors.Is(err, errStop)) {
		r.pos.Key = row.Key
		if serr := r.sink.Scanned(&r.pos); serr != nil {
			return serr
		}
		r.pos.Key = nil // borrowed
	}
	return err
}

// take decides on the row in r.env.
func (r *runner) take() error {
	if r.p.where != nil {
		v, err := r.p.where.Eval(r.env)
		if err != nil || v != true {
			return err
		}
	}
	switch {
	case r.groups != nil:
		return r.groups.add()
	case r.p.grouped:
		return r.single()
	}
	return r.output()
}

// single is the output of a group that is one row.
func (r *runner) single() error {
	r.env.Groups = r.env.Groups[:0]
	for _, g := range r.p.groups {
		v, err := g.Eval(r.env)
		if err != nil {
			return err
		}
		r.env.Groups = append(r.env.Groups, v)
	}
	for i, a := range r.p.aggs {
		f := a.Start()
		if _, err := f.Add(r.env); err != nil {
			return err
		}
		r.env.Aggs[i] = f.Result()
	}
	return r.output()
}

// output evaluates the columns of the result over r.env.
func (r *runner) output() error {
	if h := r.p.having; h != nil {
		v, err := h.Eval(r.env)
		if err != nil || v != true {
			return err
		}
	}
	for i, o := range r.p.outs {
		v, err := o.x.Eval(r.env)
		if err != nil {
			return err
		}
		r.row[i] = v
	}
	if r.seen != nil {
		var key []byte
		for _, v := range r.row {
			key = value.AppendKey(key, v)
		}
		if _, ok := r.seen[string(key)]; ok {
			return nil
		}
		r.seen[string(key)] = struct{}{}
		if err := r.hold(len(key)+32, "DISTINCT"); err != nil {
			return err
		}
	}
	if r.sorted != nil {
		return r.sorted.add()
	}
	return r.deliver(r.row)
}

// deliver applies OFFSET and LIMIT.
func (r *runner) deliver(row []value.Value) error {
	if r.pos.Skipped < r.offset {
		r.pos.Skipped++
		return nil
	}
	if r.limit >= 0 && r.pos.Sent >= r.limit {
		return errStop
	}
	if err := r.sink.Row(row); err != nil {
		return err
	}
	if r.pos.Sent++; r.limit >= 0 && r.pos.Sent >= r.limit {
		return errStop
	}
	return nil
}

// hold accounts for n bytes more, or -n less.
func (r *runner) hold(n int, what string) error {
	if r.memory += n; r.memory > MaxMemory {
		return fmt.Errorf("%s needs more than %d MiB of memory: %w", what, MaxMemory>>20, base.ErrPrecondition)
	}
	return nil
}
