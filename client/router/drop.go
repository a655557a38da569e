package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// DropRows deletes the rows of the set: those of each tablet in one step that
// takes no longer for many than for few, those of several tablets at the same
// time. A failure leaves some tablets as they were; calling it again goes on.
func (r *Router) DropRows(ctx context.Context, table []byte, rows rowset.Set) error {
	if r.whole != nil {
		return fmt.Errorf("%w: rows are dropped by the gateway's admin service", base.ErrUnimplemented)
	}
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	d := &dropper{r: r, table: table, slots: make(chan struct{}, maxParallel)}
	for _, g := range rows.Ranges() {
		if err := d.each(ctx, g); err != nil {
			d.fail(err)
			break
		}
	}
	d.done.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.mu.errs...)
}

// dropper is one DropRows.
type dropper struct {
	r     *Router
	table []byte
	slots chan struct{} // one for each request in flight
	done  sync.WaitGroup
	mu    struct {
		sync.Mutex
		errs []error
	}
}

func (d *dropper) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mu.errs) == 0 || !errors.Is(err, context.Canceled) {
		d.mu.errs = append(d.mu.errs, err)
	}
}

// each begins to drop the part of g in each tablet.
func (d *dropper) each(ctx context.Context, g rowset.Range) error {
	for {
		e := effort{r: d.r, table: d.table, write: true}
		loc, err := e.place(ctx, g.Start)
		if err != nil {
			return err
		}
		part, more := g, false
		if len(loc.end) > 0 && (len(g.End) == 0 || bytes.Compare(loc.end, g.End) < 0) {
			part.End, g.Start, more = loc.end, loc.end, true
		}
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return e.final(ctx, ctx.Err())
		}
		d.done.Go(func() {
			defer func() { <-d.slots }()
			if err := d.part(ctx, part); err != nil {
				d.fail(err)
			}
		})
		if !more {
			return nil
		}
	}
}

// part drops g, which was in one tablet and may be in several by now.
func (d *dropper) part(ctx context.Context, g rowset.Range) error {
	req, err := route.AppendDrop(nil, g)
	if err != nil {
		return err
	}
	var o once
	req = o.begin(d.r, req, mutation.FormDropRows)
	e := effort{r: d.r, table: d.table, write: true}
	for at := g.Start; ; {
		loc, err := e.place(ctx, at)
		if err != nil {
			return err
		}
		err = d.send(ctx, loc, req, &o)
		if err == nil {
			d.r.budget.earn()
			if len(loc.end) == 0 || len(g.End) > 0 && bytes.Compare(loc.end, g.End) >= 0 {
				return nil
			}
			at, e.bad = loc.end, nil
			continue
		}
		if ferr := e.failed(ctx, loc, err, o.again()); ferr != nil {
			return ferr
		}
		if unknownOutcome(err) {
			req = o.next(req)
		}
	}
}

func (d *dropper) send(ctx context.Context, loc *location, req []byte, o *once) error {
	if s := loc.server; s.local == nil {
		var g *guard
		ctx, g = d.r.watch(ctx, d.table, loc, o.again)
		defer g.end()
	}
	return loc.server.pick().DropRows(ctx, loc.target, req)
}
