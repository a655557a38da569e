package router

import (
	"context"

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

	once once

	matched bool
	resp    []byte
}

// form is the message that the request is.
func (k callKind) form() mutation.Form {
	return [...]mutation.Form{mutateRow: mutation.FormMutateRow, checkAndMutateRow: mutation.FormCheckAndMutateRow, readModifyWriteRow: mutation.FormReadModifyWriteRow}[k]
}

// MutateRow sends a MutateRowRequest for row of the named table. Table and row
// must be those of the request; req is not kept. It is applied at most once,
// also where it is sent again after an unknown outcome.
func (r *Router) MutateRow(ctx context.Context, table, row, req []byte) error {
	c := call{kind: mutateRow, table: table, row: row, req: req}
	return r.run(ctx, &c)
}

// CheckAndMutateRow sends a CheckAndMutateRowRequest and returns whether the
// predicate matched. It is applied at most once, as MutateRow does.
func (r *Router) CheckAndMutateRow(ctx context.Context, table, row, req []byte) (matched bool, err error) {
	c := call{kind: checkAndMutateRow, table: table, row: row, req: req}
	err = r.run(ctx, &c)
	return c.matched, err
}

// ReadModifyWriteRow sends a ReadModifyWriteRowRequest and returns its
// response. It is applied at most once, as MutateRow does.
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
	c.req = c.once.begin(r, c.req, c.kind.form())
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
		ctx, g = r.watch(ctx, c.table, loc, copied.once.again)
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

// rerun goes on after the first attempt, which failed with err at loc, or was
// not made (nil).
func (r *Router) rerun(ctx context.Context, c *call, loc *location, err error) error {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	e := effort{r: r, table: c.table, write: true}
	for {
		if err != nil {
			if ferr := e.failed(ctx, loc, err, c.once.again()); ferr != nil {
				return ferr
			}
			if unknownOutcome(err) {
				c.req = c.once.next(c.req)
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
