package router

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

const (
	// idleRounds is after how many polls without waiters drive ends.
	idleRounds = 5
	// watchedPoll is the time between polls while a watch brings the news.
	watchedPoll = time.Second
	// nameCheck is how often it is checked that a table with waiters still is
	// what its name means.
	nameCheck = time.Second
)

// waiter is those who wait for the tablet of one location to be served.
type waiter struct {
	row   []byte
	woken chan struct{} // closed when a better location is in the cache
	refs  int
}

// wait returns when the cache has a location for row that is served and not
// loc, when the table is gone, after delay if that is positive, or with the
// error of ctx.
func (t *table) wait(ctx context.Context, row []byte, loc *location, delay time.Duration) error {
	t.mu.Lock()
	if t.gone.Load() || t.find(row) != loc {
		t.mu.Unlock()
		return nil
	}
	w := t.mu.waiters[loc]
	if w == nil {
		w = &waiter{row: bytes.Clone(row), woken: make(chan struct{})}
		t.mu.waiters[loc] = w
	}
	w.refs++
	if !t.mu.driven {
		t.mu.driven = t.r.spawn(t.drive)
	}
	t.mu.Unlock()
	select {
	case t.nudge <- struct{}{}:
	default:
	}
	t.r.stats.holds.Add(1)
	defer t.leave(loc, w)
	var over <-chan time.Time
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-w.woken:
	case <-over:
	case <-t.r.ctx.Done():
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (t *table) leave(loc *location, w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.refs--; w.refs == 0 && t.mu.waiters[loc] == w {
		delete(t.mu.waiters, loc)
	}
}

// waited returns the rows that are waited for, in order: all, or those of which
// it is not known whether the cache is right. A watch keeps right what was
// confirmed since it began. Done is true where drive is to end.
func (t *table) waited(all bool, idle int) (rows [][]byte, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for loc, w := range t.mu.waiters {
		if all || t.mu.watched == 0 || loc.confirmed.Load() < t.mu.watched {
			rows = append(rows, w.row)
		}
	}
	slices.SortFunc(rows, bytes.Compare)
	if len(t.mu.waiters) == 0 && idle >= idleRounds {
		t.mu.driven = false
		return nil, true
	}
	return rows, false
}

// drive brings news of the tablets that are waited for: by a watch on the
// table's records, and by reading them, with growing pauses, in case the watch
// does not work. It ends a while after the last waiter left.
func (t *table) drive() {
	ctx, cancel := context.WithCancel(t.r.ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.watch(ctx)
	}()
	defer func() { cancel(); <-ended }()

	checked := time.Now()
	var due time.Time // of the next poll of all; at once for a start
	for n, idle := 0, 0; ctx.Err() == nil; {
		all := !time.Now().Before(due)
		rows, done := t.waited(all, idle)
		if done {
			return
		}
		if all {
			pause := backoff(n)
			if t.watching() {
				pause = jitter(watchedPoll)
			}
			due = time.Now().Add(pause)
			n++
			idle++
		}
		if len(rows) > 0 {
			idle = 0
			t.poll(ctx, rows)
			if time.Since(checked) >= nameCheck {
				checked = time.Now()
				_ = t.checkName(ctx) // asked again, if it gave no answer
			}
		}
		t.rest(ctx, due)
	}
}

// rest waits until due, or until somebody new waits, but at least for a moment,
// so that those who come together share a poll.
func (t *table) rest(ctx context.Context, due time.Time) {
	if sleep(ctx, jitter(firstBackoff)) != nil {
		return
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.nudge:
	case <-ctx.Done():
	}
}

// watching reports whether news come by themselves.
func (t *table) watching() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.watched > 0
}

func (t *table) setWatched(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.watched = 0
	if on {
		t.mu.clock++
		t.mu.watched = t.mu.clock
	}
}

// poll reads the records of rows, which are sorted, linearizably.
func (t *table) poll(ctx context.Context, rows [][]byte) {
	for len(rows) > 0 {
		ls, err := t.read(ctx, rows[0], min(len(rows)-1, t.r.options.Prefetch), false)
		if err != nil {
			return // the next round asks again
		}
		last := ls[len(ls)-1]
		for len(rows) > 0 && (len(last.end) == 0 || bytes.Compare(rows[0], last.end) < 0) {
			rows = rows[1:]
		}
	}
}

// watch follows the table's records until ctx ends or history is gone.
func (t *table) watch(ctx context.Context) {
	defer t.setWatched(false)
	ls := t.r.meta.LockService()
	prefix := meta.TablePrefixOf(t.id)
	for n := 0; ctx.Err() == nil; n++ {
		_, _, rev, err := ls.Get(ctx, prefix, lockservice.ReadOptions{})
		if err == nil {
			t.setWatched(true)
			err = ls.Watch(ctx, prefix, lockservice.PrefixEnd(prefix), rev, func(w lockservice.WatchResponse) error {
				if len(w.Events) == 0 {
					return nil
				}
				return t.learnEvents(w.Events)
			})
			t.setWatched(false)
		}
		if ctx.Err() != nil {
			return
		}
		t.r.log.WarnContext(ctx, "watch on the tablets of a table ended", "table", t.name, "err", err)
		_ = sleep(ctx, backoff(n)) // the loop asks ctx
	}
}
