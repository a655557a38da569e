package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/route"
)

// BulkOptions qualify a BulkWriter. The zero value is valid.
type BulkOptions struct {
	// BytesInFlight is how much may be queued and under way before Add waits;
	// 0 means 32 MiB.
	BytesInFlight int
	// BatchEntries and BatchBytes limit one request; 0 means 1000 rows and
	// 1 MiB.
	BatchEntries, BatchBytes int
	// Linger is how long a batch waits for more; 0 means 5 ms.
	Linger time.Duration
	// Deadline of each request, its retries included; 0 means 60 s.
	Deadline time.Duration
	// Done, if not nil, is called once for each row, with nil where it was
	// applied. It runs on goroutines of the writer, several at a time, and
	// must not call the writer.
	Done func(row string, err error)
}

func (o BulkOptions) withDefaults() BulkOptions {
	if o.BytesInFlight <= 0 {
		o.BytesInFlight = 32 << 20
	}
	if o.BatchEntries <= 0 {
		o.BatchEntries = 1000
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = 1 << 20
	}
	if o.Linger <= 0 {
		o.Linger = 5 * time.Millisecond
	}
	if o.Deadline <= 0 {
		o.Deadline = time.Minute
	}
	return o
}

// BulkWriter writes rows in the background, batched by tablet. Mutations of one
// row are applied in the order in which they were added; rows are not ordered
// among each other.
type BulkWriter struct {
	t       *Table
	options BulkOptions
	ctx     context.Context // the writer's lifetime
	cancel  context.CancelFunc

	mu struct {
		sync.Mutex
		queues map[route.Target]*bulkQueue
		rows   map[string]*bulkQueue // of the entries that are pending
		counts map[string]int        // pending entries of a row
		bytes  int
		wake   chan struct{} // closed when bytes fell
		failed int
		first  error
		closed bool
	}
}

// bulkQueue is what waits for one tablet. One batch of it is under way at a
// time: that keeps the order of a row. Guarded by BulkWriter.mu.
type bulkQueue struct {
	target  route.Target
	entries [][]byte
	rows    []string
	bytes   int
	sending bool
	hurry   bool // do not linger
	timer   *time.Timer
}

// BulkError says that rows could not be written.
type BulkError struct {
	Failed int   // how many since the last Flush
	First  error // of the first of them
}

func (e *BulkError) Error() string {
	return fmt.Sprintf("%d rows were not written, the first: %v", e.Failed, e.First)
}

// Unwrap returns the first error.
func (e *BulkError) Unwrap() error { return e.First }

// NewBulkWriter returns a BulkWriter. Close it, or what it still holds is lost.
func (t *Table) NewBulkWriter(o BulkOptions) *BulkWriter {
	w := &BulkWriter{t: t, options: o.withDefaults()}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.mu.queues = map[route.Target]*bulkQueue{}
	w.mu.rows = map[string]*bulkQueue{}
	w.mu.counts = map[string]int{}
	w.mu.wake = make(chan struct{})
	return w
}

// errBulkClosed is what a closed writer answers.
var errBulkClosed = fmt.Errorf("%w: the bulk writer is closed", ErrPrecondition)

// Add queues a mutation, which may be changed afterwards. It waits while too
// much is in flight; an error means that it was not queued.
func (w *BulkWriter) Add(ctx context.Context, row string, m *Mutation) error {
	if err := m.check(); err != nil {
		return err
	}
	if m.cond != nil {
		return fmt.Errorf("%w: row %q: conditional mutations cannot be written in bulk", ErrInvalid, row)
	}
	entry := m.entry(row)
	for {
		w.mu.Lock()
		if w.mu.closed {
			w.mu.Unlock()
			return errBulkClosed
		}
		// A single entry beyond the limit goes when nothing else does.
		if w.mu.bytes == 0 || w.mu.bytes+len(entry) <= w.options.BytesInFlight {
			w.addLocked(row, entry)
			w.mu.Unlock()
			return nil
		}
		wake := w.mu.wake
		w.hurryLocked()
		w.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("waiting for earlier rows to be written: %w", ctx.Err())
		}
	}
}

func (w *BulkWriter) addLocked(row string, entry []byte) {
	q := w.mu.rows[row]
	if q == nil { // else behind the earlier entries of the row
		target, _ := w.t.c.router.Target(w.t.key, row)
		if q = w.mu.queues[target]; q == nil {
			q = &bulkQueue{target: target}
			w.mu.queues[target] = q
		}
		w.mu.rows[row] = q
	}
	w.mu.counts[row]++
	w.mu.bytes += len(entry)
	q.entries, q.rows = append(q.entries, entry), append(q.rows, row)
	q.bytes += len(entry)
	w.startLocked(q)
}

// startLocked sends a batch of q if it is full or urgent, else sees to it that
// it is sent when the linger is over.
func (w *BulkWriter) startLocked(q *bulkQueue) {
	switch {
	case q.sending || len(q.entries) == 0:
	case q.hurry || len(q.entries) >= w.options.BatchEntries || q.bytes >= w.options.BatchBytes:
		w.sendLocked(q)
	case q.timer == nil:
		q.timer = time.AfterFunc(w.options.Linger, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			q.timer = nil
			if !q.sending && len(q.entries) > 0 {
				w.sendLocked(q)
			}
		})
	}
}

// hurryLocked sends everything without waiting for more.
func (w *BulkWriter) hurryLocked() {
	for _, q := range w.mu.queues {
		q.hurry = true
		w.startLocked(q)
	}
}

// sendLocked sends the next batch of q.
func (w *BulkWriter) sendLocked(q *bulkQueue) {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	n, size := 0, 0
	for n < len(q.entries) && n < w.options.BatchEntries && (n == 0 || size < w.options.BatchBytes) {
		size += len(q.entries[n])
		n++
	}
	entries, rows := q.entries[:n:n], q.rows[:n:n]
	q.entries, q.rows = q.entries[n:], q.rows[n:]
	q.bytes -= size
	q.sending = true
	go w.send(q, entries, rows, size)
}

// send writes one batch and reports what became of it.
func (w *BulkWriter) send(q *bulkQueue, entries [][]byte, rows []string, size int) {
	ctx, cancel := context.WithTimeout(w.ctx, w.options.Deadline)
	errs, err := w.t.c.router.MutateRows(ctx, w.t.key, entries)
	cancel()
	if err != nil || errs == nil {
		errs = make([]error, len(rows))
		for i := range errs {
			errs[i] = err
		}
	}
	if w.options.Done != nil {
		for i, row := range rows {
			w.options.Done(row, errs[i])
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, row := range rows {
		if errs[i] != nil {
			if w.mu.failed++; w.mu.first == nil {
				w.mu.first = fmt.Errorf("row %q: %w", row, errs[i])
			}
		}
		if w.mu.counts[row]--; w.mu.counts[row] == 0 {
			delete(w.mu.counts, row)
			delete(w.mu.rows, row)
		}
	}
	w.mu.bytes -= size
	close(w.mu.wake)
	w.mu.wake = make(chan struct{})
	q.sending = false
	if len(q.entries) > 0 {
		w.startLocked(q)
	} else if q.hurry = false; w.mu.queues[q.target] == q {
		delete(w.mu.queues, q.target)
	}
}

// Flush returns when everything added before it was written or has failed; a
// *BulkError tells how many rows failed since the last Flush.
func (w *BulkWriter) Flush(ctx context.Context) error {
	for {
		w.mu.Lock()
		w.hurryLocked()
		if w.mu.bytes == 0 {
			defer w.mu.Unlock()
			return w.takeErrorLocked()
		}
		wake := w.mu.wake
		w.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("flush: %w", ctx.Err())
		}
	}
}

func (w *BulkWriter) takeErrorLocked() error {
	if w.mu.failed == 0 {
		return nil
	}
	err := &BulkError{w.mu.failed, w.mu.first}
	w.mu.failed, w.mu.first = 0, nil
	return err
}

// Close flushes and ends the writer. Where ctx ends first, what is not written
// by then is given up and Done is called with errors.
func (w *BulkWriter) Close(ctx context.Context) error {
	w.mu.Lock()
	w.mu.closed = true
	w.mu.Unlock()
	err := w.Flush(ctx)
	if ctx.Err() != nil && err != nil {
		w.cancel()
		err = errors.Join(err, w.Flush(context.WithoutCancel(ctx)))
	}
	w.cancel()
	return err
}
