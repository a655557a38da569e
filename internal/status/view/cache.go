package view

import (
	"context"
	"sync"
	"time"
)

// Cache keeps the last View for a moment, so that many pages cost no more than
// one, and gathers one at a time. Its methods may be called concurrently.
type Cache struct {
	source Source
	fresh  time.Duration
	life   context.Context
	end    context.CancelFunc
	done   sync.WaitGroup
	mu     struct {
		sync.Mutex
		closed bool
		view   *View
		flight chan struct{} // closed when a View under way is there; nil: none is
	}
}

// gatherPatience bounds the gathering of a View as a whole.
const gatherPatience = 7 * time.Second

// NewCache returns a Cache of Views that are at most fresh old. Close it.
func NewCache(s Source, fresh time.Duration) *Cache {
	c := &Cache{source: s, fresh: fresh}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// Close ends what is under way and waits for it.
func (c *Cache) Close() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.end()
	c.done.Wait()
}

// Get returns a fresh View; when ctx ends before it is there, the last one, or
// nil if there was none.
func (c *Cache) Get(ctx context.Context) *View {
	c.mu.Lock()
	if v := c.mu.view; v != nil && time.Since(v.At) < c.fresh || c.mu.closed {
		c.mu.Unlock()
		return v
	}
	if c.mu.flight == nil {
		c.mu.flight = make(chan struct{})
		c.done.Go(c.gather)
	}
	flight := c.mu.flight
	c.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.view
}

func (c *Cache) gather() {
	ctx, cancel := context.WithTimeout(c.life, gatherPatience)
	defer cancel()
	c.mu.Lock()
	last := c.mu.view
	c.mu.Unlock()
	v := Gather(ctx, c.source, last)
	v.At = time.Now() // fresh from now on
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.view = v
	close(c.mu.flight)
	c.mu.flight = nil
}
