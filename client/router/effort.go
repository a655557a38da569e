package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
)

// effort is the state of one request, or of one part of a request that goes to
// one tablet, over its attempts. A copy goes on independently.
type effort struct {
	r     *Router
	table []byte // its name
	write bool
	// unknown: an attempt at a write ended without telling what it did.
	unknown bool
	// recreated: the table was looked up by name again.
	recreated bool
	n         int       // attempts that failed
	bad       *location // the last one that a server refused, or did not answer at
	held      *location // what was last waited for
	last      error     // of the last attempt
}

// usable reports whether a request may go to l next.
func (e *effort) usable(l *location) bool {
	return l != nil && l.server != nil && (e.bad == nil || !l.same(e.bad))
}

// place returns where row is served. It holds the request while the tablet is
// not served, or the server which meta names refused it: then the same place
// is returned after a pause.
func (e *effort) place(ctx context.Context, row []byte) (*location, error) {
	for gone := 0; ; {
		t, err := e.r.table(ctx, e.table)
		if err != nil {
			return nil, e.final(ctx, err)
		}
		l := t.find(row)
		if l == nil {
			l, err = t.lookup(ctx, row, nil)
		}
		if errors.Is(err, errTableGone) {
			// The name is read again; if it still means a table without
			// tablets, not too often.
			if err = sleep(ctx, backoff(gone)); err == nil {
				gone++
				continue
			}
		}
		if err != nil {
			return nil, e.final(ctx, err)
		}
		if e.usable(l) {
			return l, nil
		}
		if e.r.whole != nil { // there is no other place, and no news
			if err := sleep(ctx, backoff(e.n-1)); err != nil {
				return nil, e.final(ctx, err)
			}
			return l, nil
		}
		next, err := e.hold(ctx, t, row, l)
		if err != nil || next != nil {
			return next, err
		}
	}
}

// askLoader is how long a request waits for a tablet that is being loaded
// before it goes to the loader all the same: only there it learns that the
// tablet is damaged and never will be served.
const askLoader = 2 * time.Second

// hold waits for news of l. Where there are none it returns the place to try
// all the same, or nil.
func (e *effort) hold(ctx context.Context, t *table, row []byte, l *location) (*location, error) {
	e.held = l
	delay := time.Duration(0) // until there are news
	switch {
	case l.server != nil:
		delay = backoff(e.n - 1)
	case l.state == meta.Assigned:
		delay = askLoader
	}
	if err := t.wait(ctx, row, l, delay); err != nil {
		return nil, e.final(ctx, err)
	}
	switch {
	case delay == 0 || t.find(row) != l:
		return nil, nil
	case l.server != nil:
		return l, nil
	}
	return l.at(t.r.server(l.addr)), nil
}

// failed judges the error of an attempt at l: nil means to try again, after
// place. Again says that the request may be applied twice.
func (e *effort) failed(ctx context.Context, l *location, err error, again bool) error {
	e.last = err
	e.n++
	if ctx.Err() != nil {
		return e.final(ctx, err)
	}
	switch {
	case unknownOutcome(err):
		if e.write && !again {
			return e.undecided(err)
		}
		e.unknown = e.unknown || e.write
		e.bad = l
		return e.spend(ctx, err)
	case errors.Is(err, base.ErrNotServing), errors.Is(err, base.ErrWrongTablet):
		e.r.stats.redirects.Add(1)
		e.r.stats.retries.Add(1)
		e.bad = l
		return nil
	case errors.Is(err, base.ErrOverloaded):
		e.bad = nil
		var o *base.OverloadError
		if !errors.As(err, &o) || o.After <= 0 {
			if berr := e.spend(ctx, err); berr != nil {
				return berr
			}
		} else { // it costs the server little, and not before it asked for it
			e.r.stats.retries.Add(1)
		}
		return e.yield(ctx, err)
	case errors.Is(err, base.ErrNotFound) && !errors.Is(err, base.ErrFamilyNotFound) && !e.recreated:
		e.recreated = true
		t := e.r.cached(e.table)
		if t == nil || errors.Is(t.checkName(ctx), errTableGone) {
			e.bad = nil
			return nil
		}
	}
	return e.final(ctx, err)
}

// unknownOutcome reports whether err says nothing of whether the request was
// applied. A deadline or a cancellation may be the server's own.
func unknownOutcome(err error) bool {
	return errors.Is(err, base.ErrUnknownOutcome) || errors.Is(err, base.ErrFenced) || errors.Is(err, base.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// passing reports whether err promises that nothing was applied and may be
// gone at the next attempt.
func passing(err error) bool {
	return errors.Is(err, base.ErrNotServing) || errors.Is(err, base.ErrWrongTablet) || errors.Is(err, base.ErrOverloaded)
}

// spend takes a retry from the budget, or returns the final error.
func (e *effort) spend(ctx context.Context, err error) error {
	if !e.r.budget.spend() {
		e.r.stats.denied.Add(1)
		return e.final(ctx, err)
	}
	e.r.stats.retries.Add(1)
	return nil
}

// yield sleeps as long as an overloaded server asks for. A caller who would
// not live to see the end of it gets the server's answer instead.
func (e *effort) yield(ctx context.Context, err error) error {
	pause := backoff(e.n)
	var o *base.OverloadError
	if errors.As(err, &o) && o.After > 0 {
		pause = jitter(o.After) + pause
	}
	if d, ok := ctx.Deadline(); ok && time.Until(d) <= pause {
		return e.final(ctx, err)
	}
	if sleep(ctx, pause) != nil {
		return e.final(ctx, err)
	}
	return nil
}

// undecided is the final error of a write whose outcome is unknown and that
// cannot be sent again (R13).
func (e *effort) undecided(err error) error {
	if errors.Is(err, base.ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w: %w", base.ErrUnknownOutcome, err)
}

// final words the error that the caller gets.
func (e *effort) final(ctx context.Context, err error) error {
	cause := ctx.Err()
	switch {
	case cause == nil, errors.Is(err, base.ErrUnknownOutcome), errors.Is(err, base.ErrOverloaded):
	case e.held != nil:
		err = fmt.Errorf("table %s: %v, for %v now: %w", e.table, e.held, time.Since(e.held.since).Round(time.Millisecond), cause)
	case e.last != nil:
		err = fmt.Errorf("table %s: after %d attempts, the last of which failed (%v): %w", e.table, e.n, e.last, cause)
	default:
		err = fmt.Errorf("looking up a row of table %s: %w", e.table, cause)
	}
	if e.unknown {
		return e.undecided(err)
	}
	return err
}

// withDeadline gives ctx the default deadline where it has none.
func (r *Router) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, r.options.Deadline)
}
