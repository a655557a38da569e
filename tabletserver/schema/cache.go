package schema

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// Cache holds the schemas of all tables and follows the lock service by a
// watch. Lookups take no lock. Open starts it, Close stops it and waits.
type Cache struct {
	store *meta.Store
	log   *slog.Logger

	tables sync.Map // base.TableID -> *atomic.Pointer[Schema]

	mu struct {
		sync.Mutex
		revision lockservice.Revision // complete up to it
		advanced chan struct{}        // closed when revision rises
	}
	life context.Context
	stop context.CancelFunc
	done chan struct{}

	// fresh joins those who want a read that begins after they asked.
	fresh struct {
		sync.Mutex
		running bool
		next    *reading // what the next read will answer; nil: nobody waits
	}
}

// reading is one read of all schemas, for all who wait for it.
type reading struct {
	done chan struct{}
	err  error
}

// Open reads all schemas and begins to follow their changes.
func Open(ctx context.Context, store *meta.Store, log *slog.Logger) (*Cache, error) {
	c := &Cache{store: store, log: log, done: make(chan struct{})}
	c.mu.advanced = make(chan struct{})
	if err := c.readAll(ctx); err != nil {
		return nil, err
	}
	c.life, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	go c.follow(c.life)
	return c, nil
}

// Close stops following. The schemas stay readable.
func (c *Cache) Close() {
	c.stop()
	<-c.done
}

// Table returns the schema of a table; where the cache does not know it, it is
// read. base.ErrNotFound: there is no such table any more.
func (c *Cache) Table(ctx context.Context, id base.TableID) (*Schema, error) {
	if p, ok := c.tables.Load(id); ok {
		if s := p.(*atomic.Pointer[Schema]).Load(); s != nil {
			return s, nil
		}
	}
	return c.Refresh(ctx, id)
}

// Refresh reads the schema of a table, linearizably.
func (c *Cache) Refresh(ctx context.Context, id base.TableID) (*Schema, error) {
	t, err := c.store.Table(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.put(t)
}

// Fresh returns after a linearizable read of all schemas that began after the
// call. Calls that come while one is under way share the next.
func (c *Cache) Fresh(ctx context.Context) error {
	c.fresh.Lock()
	r := c.fresh.next
	if r == nil {
		r = &reading{done: make(chan struct{})}
		c.fresh.next = r
	}
	if !c.fresh.running {
		c.fresh.running = true
		go c.readFresh()
	}
	c.fresh.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readFresh reads for as long as somebody waits.
func (c *Cache) readFresh() {
	for {
		c.fresh.Lock()
		r := c.fresh.next
		c.fresh.next = nil
		c.fresh.running = r != nil
		c.fresh.Unlock()
		if r == nil {
			return
		}
		r.err = c.readAll(c.life)
		close(r.done)
	}
}

// Await returns once the cache is complete up to rev.
func (c *Cache) Await(ctx context.Context, rev lockservice.Revision) error {
	for {
		c.mu.Lock()
		have, advanced := c.mu.revision, c.mu.advanced
		c.mu.Unlock()
		if have >= rev {
			return nil
		}
		// The watch may be slow, or idle: progress marks come now and then
		// only. Reading makes sure.
		if err := c.readAll(ctx); err != nil {
			return err
		}
		c.mu.Lock()
		have = c.mu.revision
		c.mu.Unlock()
		if have >= rev {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// put stores the schema unless a newer one is there, and returns the newer.
func (c *Cache) put(t meta.Table) (*Schema, error) {
	s, err := Compile(t)
	if err != nil {
		return nil, err
	}
	v, _ := c.tables.LoadOrStore(t.ID, &atomic.Pointer[Schema]{})
	p := v.(*atomic.Pointer[Schema])
	for {
		old := p.Load()
		if old != nil && old.Revision >= s.Revision {
			return old, nil
		}
		if p.CompareAndSwap(old, s) {
			return s, nil
		}
	}
}

func (c *Cache) readAll(ctx context.Context) error {
	kvs, rev, err := c.store.LockService().List(ctx, meta.TablePrefix, lockservice.PrefixEnd(meta.TablePrefix), lockservice.ReadOptions{})
	if err != nil {
		return fmt.Errorf("read schemas: %w", err)
	}
	for _, kv := range kvs {
		if err := c.apply(kv); err != nil {
			return err
		}
	}
	c.advance(rev)
	return nil
}

func (c *Cache) apply(kv lockservice.KV) error {
	t, err := meta.DecodeTable(kv)
	if err != nil {
		return err
	}
	_, err = c.put(t)
	return err
}

func (c *Cache) advance(rev lockservice.Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rev > c.mu.revision {
		c.mu.revision = rev
		close(c.mu.advanced)
		c.mu.advanced = make(chan struct{})
	}
}

// follow keeps the cache up to date until ctx ends.
func (c *Cache) follow(ctx context.Context) {
	defer close(c.done)
	for ctx.Err() == nil {
		c.mu.Lock()
		from := c.mu.revision
		c.mu.Unlock()
		err := c.store.LockService().Watch(ctx, meta.TablePrefix, lockservice.PrefixEnd(meta.TablePrefix), from, c.changed)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, base.ErrPrecondition) { // not merely compacted
			c.log.WarnContext(ctx, "watch of schemas ended", "err", err)
		}
		select { // then read everything and watch from there
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		if err := c.readAll(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "cannot read schemas", "err", err)
		}
	}
}

func (c *Cache) changed(r lockservice.WatchResponse) error {
	for _, e := range r.Events {
		if e.Kind == lockservice.EventPut {
			if err := c.apply(e.KV); err != nil {
				return err
			}
		}
	}
	c.advance(r.Revision)
	return nil
}
