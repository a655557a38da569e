package meta

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Limits of a Group: how many changes share a transaction, and how many
// transactions are under way.
const (
	groupChanges = 64
	groupAtOnce  = 2
)

// Group commits changes of different tablets that come at about the same time
// in common transactions: a server that loads or releases thousands of tablets
// needs not one for each. Its methods may be called concurrently.
type Group struct {
	store *Store
	life  context.Context

	mu struct {
		sync.Mutex
		pending []*member
		running int
	}
}

// member is one change that waits.
type member struct {
	change Change
	done   chan struct{}
	tablet Tablet
	err    error
}

// NewGroup returns a Group that commits to s until life ends.
func NewGroup(life context.Context, s *Store) *Group { return &Group{store: s, life: life} }

// Commit is Store.Commit of one change. Where ctx ends first the outcome is
// not decided, for the change may be in a transaction that goes on.
func (g *Group) Commit(ctx context.Context, c Change) (Tablet, error) {
	m := &member{change: c, done: make(chan struct{})}
	g.mu.Lock()
	g.mu.pending = append(g.mu.pending, m)
	if g.mu.running < groupAtOnce {
		g.mu.running++
		go g.run()
	}
	g.mu.Unlock()
	select {
	case <-m.done:
		return m.tablet, m.err
	case <-ctx.Done():
		return Tablet{}, fmt.Errorf("commit %s: %w: %w", describe([]Change{c}), base.ErrUndecided, ctx.Err())
	}
}

// run commits what is pending until nothing is.
func (g *Group) run() {
	for {
		g.mu.Lock()
		n := min(len(g.mu.pending), groupChanges)
		batch := g.mu.pending[:n:n]
		g.mu.pending = g.mu.pending[n:]
		if n == 0 {
			g.mu.running--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.commit(batch)
	}
}

func (g *Group) commit(batch []*member) {
	changes := make([]Change, len(batch))
	for i, m := range batch {
		changes[i] = m.change
	}
	tablets, err := g.store.Commit(g.life, changes...)
	if errors.Is(err, base.ErrAborted) && len(batch) > 1 {
		g.commitEach(batch) // one of them spoiled it for all
		return
	}
	for i, m := range batch {
		if err == nil {
			m.tablet = tablets[i]
		}
		m.err = err
		close(m.done)
	}
}

// commitEach commits each change by itself.
func (g *Group) commitEach(batch []*member) {
	var wg sync.WaitGroup
	for _, m := range batch {
		wg.Go(func() {
			defer close(m.done)
			done, err := g.store.Commit(g.life, m.change)
			if m.err = err; err == nil {
				m.tablet = done[0]
			}
		})
	}
	wg.Wait()
}
