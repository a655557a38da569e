package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/route"
)

const (
	// batchesInFlight per tablet: the next batch fills while these are on their
	// way, so that it is as large as the load asks for and nobody waits for a
	// clock.
	batchesInFlight = 2
	maxBatchEntries = 1000
	maxBatchBytes   = 1 << 20
)

// coalescer lets calls of Apply travel together: those that find two batches
// to their tablet under way wait for one of them to come back and then go in
// one request.
type coalescer struct {
	t *Table

	mu struct {
		sync.Mutex
		lanes map[route.Target]*lane
	}
}

// lane is the way to one tablet; guarded by coalescer.mu.
type lane struct {
	queue    []*pending
	inFlight int
}

// pending is one Apply that waits.
type pending struct {
	row      string
	entry    []byte
	deadline time.Time
	done     chan error // of capacity 1
	sent     bool       // guarded by coalescer.mu
	gone     bool       // the caller left before it was sent; guarded likewise
}

func newCoalescer(t *Table) *coalescer {
	c := &coalescer{t: t}
	c.mu.lanes = map[route.Target]*lane{}
	return c
}

// apply applies m alone where nothing is under way to the tablet, else with
// others.
func (c *coalescer) apply(ctx context.Context, row string, m *Mutation) error {
	target, ok := c.t.c.router.Target(c.t.key, row)
	if !ok { // nothing is known of the tablet: this call finds out
		return c.t.applyAlone(ctx, row, m)
	}
	c.mu.Lock()
	l := c.mu.lanes[target]
	if l == nil {
		l = &lane{}
		c.mu.lanes[target] = l
	}
	if l.inFlight < batchesInFlight && len(l.queue) == 0 {
		l.inFlight++
		c.mu.Unlock()
		defer c.landed(target, l)
		return c.t.applyAlone(ctx, row, m)
	}
	p := &pending{row: row, entry: m.entry(row), done: make(chan error, 1)}
	p.deadline, _ = ctx.Deadline()
	l.queue = append(l.queue, p)
	c.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.sent {
		p.gone = true
		return fmt.Errorf("waiting for earlier writes to the tablet: %w", ctx.Err())
	}
	select {
	case err := <-p.done:
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// landed sends the next batch in the place of one that came back.
func (c *coalescer) landed(target route.Target, l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.inFlight--
	batch := l.take()
	if len(batch) > 0 {
		l.inFlight++
		go c.send(target, l, batch)
		return
	}
	if l.inFlight == 0 {
		delete(c.mu.lanes, target) // tablets come and go
	}
}

// take removes the next batch from the queue.
func (l *lane) take() []*pending {
	var batch []*pending
	size, n := 0, 0
	for _, p := range l.queue {
		if n++; p.gone {
			continue
		}
		p.sent = true
		batch = append(batch, p)
		if size += len(p.entry); size >= maxBatchBytes || len(batch) == maxBatchEntries {
			break
		}
	}
	l.queue = l.queue[n:]
	return batch
}

// send applies a batch. It goes on as long as any of the callers would.
func (c *coalescer) send(target route.Target, l *lane, batch []*pending) {
	defer c.landed(target, l)
	entries := make([][]byte, len(batch))
	var last time.Time
	patient := false // one of the callers waits as long as the router does
	for i, p := range batch {
		entries[i] = p.entry
		patient = patient || p.deadline.IsZero()
		if p.deadline.After(last) {
			last = p.deadline
		}
	}
	ctx := context.Background()
	if !patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, last)
		defer cancel()
	}
	errs, err := c.t.c.router.MutateRows(ctx, c.t.key, entries)
	for i, p := range batch {
		switch {
		case err != nil:
			p.done <- err
		case errs != nil:
			p.done <- errs[i]
		default:
			p.done <- nil
		}
	}
}
