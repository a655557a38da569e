package router

import (
	"context"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
)

type callKind uint8

const (
	mutateRow callKind = iota
	checkAndMutateRow
	readModifyWriteRow
)

// call is one request for one row and its answer. It is a value on the stack
// of the caller rather than a closure, so that the usual case allocates
// nothing.
type call struct {
	kind            callKind
	table, row, req []byte

	matched bool
	resp    []byte
}

// MutateRow sends a MutateRowRequest for row of the named table. Table and row
// must be those of the request; req is not kept. It is sent again after an
// unknown outcome only where all its mutations are idempotent.
func (r *Router) MutateRow(ctx context.Context, table, row, req []byte) error {
	c := call{kind: mutateRow, table: table, row: row, req: req}
	return r.run(ctx, &c)
}

// CheckAndMutateRow sends a CheckAndMutateRowRequest and returns whether the
// predicate matched. It is never sent again after an unknown outcome.
func (r *Router) CheckAndMutateRow(ctx context.Context, table, row, req []byte) (matched bool, err error) {
	c := call{kind: checkAndMutateRow, table: table, row: row, req: req}
	err = r.run(ctx, &c)
	return c.matched, err
}

// ReadModifyWriteRow sends a ReadModifyWriteRowRequest and returns its
// response. It is never sent again after an unknown outcome.
func (r *Router) ReadModifyWriteRow(ctx context.Context, table, row, req []byte) (resp []byte, err error) {
	c := call{kind: readModifyWriteRow, table: table, row: row, req: req}
	err = r.run(ctx, &c)
	return c.resp, err
}

// run is the usual case: one look into the cache, one call.
func (r *Router) run(ctx context.Context, c *call) error {
	if err := mutation.CheckRowKey(c.row); err != nil {
		return err
	}
	var loc *location
	var err error
	if t := r.cached(c.table); t != nil {
		if loc = t.find(c.row); loc != nil && loc.server != nil {
			if err = r.send(ctx, loc, c); err == nil {
				r.budget.earn()
				return nil
			}
		} else {
			loc = nil
		}
	}
	return r.rerun(ctx, c, loc, err)
}

// send makes one attempt.
func (r *Router) send(ctx context.Context, loc *location, c *call) error {
	if loc.server.local != nil { // a server here minds its own stalls
		return c.send(ctx, loc, loc.server.local)
	}
	return r.sendRemote(ctx, loc, c)
}

func (r *Router) sendRemote(ctx context.Context, loc *location, c *call) error {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	copied := *c // what the guard holds on to escapes
	if loc.server.whole == nil {
		var g *guard
		ctx, g = r.watch(ctx, c.table, loc, copied.idempotent)
		defer g.end()
	}
	err := copied.send(ctx, loc, loc.server.pick())
	c.matched, c.resp = copied.matched, copied.resp
	return err
}

func (c *call) send(ctx context.Context, loc *location, s route.Server) (err error) {
	switch c.kind {
	case mutateRow:
		return s.MutateRow(ctx, loc.target, c.req)
	case checkAndMutateRow:
		c.matched, err = s.CheckAndMutateRow(ctx, loc.target, c.req)
	case readModifyWriteRow:
		c.resp, err = s.ReadModifyWriteRow(ctx, loc.target, c.req)
	}
	return err
}

// idempotent reports whether the call may be applied twice.
func (c *call) idempotent() bool { return c.kind == mutateRow && idempotentRow(c.req) }

// rerun goes on after the first attempt, which failed with err at loc, or was
// not made (nil).
func (r *Router) rerun(ctx context.Context, c *call, loc *location, err error) error {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	e := effort{r: r, table: c.table, write: true}
	for {
		if err != nil {
			if ferr := e.failed(ctx, loc, err, c.idempotent()); ferr != nil {
				return ferr
			}
		}
		if loc, err = e.place(ctx, c.row); err != nil {
			return err
		}
		if err = r.send(ctx, loc, c); err == nil {
			r.budget.earn()
			return nil
		}
	}
}

// idempotentRow reports whether applying a MutateRowRequest twice is the same
// as once.
func idempotentRow(req []byte) bool {
	m, err := mutation.ParseMutateRow(req)
	return err == nil && idempotent(m.Mutations)
}

// idempotentEntry is idempotentRow for a MutateRowsRequest.Entry.
func idempotentEntry(raw []byte) bool {
	var e mutation.Entry
	return mutation.ParseEntry(raw, &e) == nil && idempotent(e.Mutations)
}

// idempotent reports whether the mutations of a row may be applied twice: cells
// with timestamps of the client, and deletions. A cell whose timestamp the
// server assigns would be there twice, an addition would count twice.
func idempotent(l mutation.List) bool {
	it := l.Iter()
	var op mutation.Op
	for {
		ok, err := it.Next(&op)
		if err != nil {
			return false
		}
		if !ok {
			return true
		}
		switch op.Kind {
		case base.KindSet:
			if op.Timestamp < 0 {
				return false
			}
		case base.KindDeleteColumn, base.KindDeleteFamily, base.KindDeleteRow:
		default:
			return false
		}
	}
}

// Target returns the tablet of a row, if the cache has it: those who batch
// their requests do so by it.
func (r *Router) Target(table []byte, row string) (route.Target, bool) {
	if t := r.cached(table); t != nil {
		if loc := t.find([]byte(row)); loc != nil && loc.server != nil {
			return loc.target, true
		}
	}
	return route.Target{}, false
}
