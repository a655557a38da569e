package router

import (
	"context"
	"errors"
	"sync"
	"time"
)

// stallAfter is how long a server may be silent before meta is asked whether
// the tablet is still there.
const stallAfter = time.Second

// guard watches over one attempt at a remote server. A server behind a
// partition does not answer at all, and the connection notices late; that its
// tablets have another owner by now is known earlier. Then the cache learns of
// it, for the sake of others, and the attempt is given up if it may be made
// again.
type guard struct {
	r     *Router
	table []byte
	loc   *location
	// again reports whether the request may be applied twice. It is called
	// only while the attempt lasts.
	again  func() bool
	cancel context.CancelFunc

	mu    sync.Mutex
	over  bool
	alive bool // there was an answer since the last look
	timer *time.Timer
}

// watch returns the context for an attempt at loc and its guard; call its end.
func (r *Router) watch(ctx context.Context, table []byte, loc *location, again func() bool) (context.Context, *guard) {
	g := &guard{r: r, table: table, loc: loc, again: again}
	ctx, g.cancel = context.WithCancel(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = time.AfterFunc(stallAfter, func() { r.spawn(g.look) })
	return ctx, g
}

// end ends the watch and the context.
func (g *guard) end() {
	g.mu.Lock()
	g.over = true
	g.timer.Stop()
	g.mu.Unlock()
	g.cancel()
}

// progress notes that the server answers.
func (g *guard) progress() {
	if g != nil {
		g.mu.Lock()
		g.alive = true
		g.mu.Unlock()
	}
}

// look asks whether the tablet has moved away.
func (g *guard) look() {
	g.mu.Lock()
	over, alive := g.over, g.alive
	g.alive = false
	g.mu.Unlock()
	moved := false
	if t := g.r.cached(g.table); !over && !alive && t != nil {
		moved = t.moved(g.r.ctx, g.loc)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.over:
	case moved && g.again():
		g.cancel()
	default:
		g.timer.Reset(stallAfter)
	}
}

// moved reports whether meta has another tablet, or another epoch, where loc
// was. Not to know is no.
func (t *table) moved(ctx context.Context, loc *location) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*stallAfter)
	defer cancel()
	if l := t.find(loc.start); l != nil && l.target != loc.target && l.revision > loc.revision {
		return true
	}
	l, err := t.lookup(ctx, loc.start, loc)
	return errors.Is(err, errTableGone) || err == nil && l.target != loc.target
}
