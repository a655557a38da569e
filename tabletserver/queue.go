package tabletserver

import (
	"context"
	"sync"

	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// queue is a list of tablets that wait for a kind of work, each once.
type queue struct {
	wake chan struct{} // holds a token while the list may not be empty
	mu   struct {
		sync.Mutex
		list   []*tablet.Tablet
		queued map[*tablet.Tablet]bool
	}
}

func newQueue() *queue {
	q := &queue{wake: make(chan struct{}, 1)}
	q.mu.queued = map[*tablet.Tablet]bool{}
	return q
}

// add puts a tablet into the list unless it is there. It never blocks.
func (q *queue) add(t *tablet.Tablet) {
	q.mu.Lock()
	if !q.mu.queued[t] {
		q.mu.queued[t] = true
		q.mu.list = append(q.mu.list, t)
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes the first tablet; nil: there is none.
func (q *queue) take() *tablet.Tablet {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.list) == 0 {
		return nil
	}
	t := q.mu.list[0]
	q.mu.list[0] = nil
	q.mu.list = q.mu.list[1:]
	delete(q.mu.queued, t)
	if len(q.mu.list) > 0 {
		q.signal() // for the next worker
	}
	return t
}

// len returns how many tablets wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.list)
}

// work calls f with one tablet after the other until ctx ends.
func (q *queue) work(ctx context.Context, f func(*tablet.Tablet)) {
	for {
		for t := q.take(); t != nil && ctx.Err() == nil; t = q.take() {
			f(t)
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
	}
}
