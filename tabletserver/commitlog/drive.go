package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/wal"
)

// result is how one call of the store ended.
type result struct {
	batch   *Batch
	read    bool // of the header; else a put
	hedge   bool
	put     putOutcome
	header  readOutcome
	err     error
	elapsed time.Duration
}

// drive is the goroutine that runs the core until it is fenced or abandoned.
func (l *Log) drive() {
	err := l.run()
	l.cancel()
	l.fail(err, l.core.unknown)
	close(l.stopped)
	if errors.Is(err, base.ErrFenced) {
		l.cfg.Logger.LogAttrs(context.Background(), slog.LevelError, "commit log is fenced",
			slog.String("log", l.cfg.Incarnation.String()), slog.Any("err", err))
		l.cfg.OnFenced(err)
	}
}

// run returns the error with which everything pending fails.
func (l *Log) run() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for l.collect() {
			if err := l.perform(); err != nil {
				return err
			}
		}
		timer.Reset(l.untilWake())
		select {
		case <-l.wake:
		case r := <-l.results:
			l.look()
			l.handle(r)
		case <-timer.C:
			l.core.tick(time.Now())
		case <-l.ctx.Done():
			return ErrClosed
		}
	}
}

func (l *Log) untilWake() time.Duration {
	if at := l.core.wakeAt(); !at.IsZero() {
		return max(0, time.Until(at))
	}
	return time.Hour
}

// collect tells the core what has been appended and which calls have ended,
// and reports whether it has something to do.
func (l *Log) collect() bool {
	l.look()
	for len(l.results) > 0 { // the driver alone receives
		l.handle(<-l.results)
	}
	l.expect.Store(int64(l.core.expect))
	return len(l.core.todo) > 0
}

// look tells the core what has been appended.
func (l *Log) look() {
	now := time.Now()
	l.mu.Lock()
	closed := l.mu.closed
	l.mu.closed = nil
	since, flush, open := l.mu.open.since, l.mu.flush, 0
	if l.mu.open.bytes > 0 {
		open = len(l.mu.open.buf.records)
	}
	if len(closed) > 0 && l.mu.headSince.IsZero() {
		l.mu.headSince = now
	}
	l.mu.Unlock()
	for _, b := range closed {
		l.build(b)
		l.core.closed(now, b.records)
	}
	if open > 0 {
		l.core.filled(now, since, open)
		if flush {
			l.core.flushed(now)
		}
	}
}

// build makes the object of a closed batch.
func (l *Log) build(b *Batch) {
	h := wal.Header{
		Log: l.cfg.Incarnation, Position: b.pos, Nonce: l.cfg.Nonce, Low: l.low(),
		UnixMilli: b.closedAt.UnixMilli(), PrevSum: l.prevSum,
	}
	h, spare := b.build(h, l.cfg.Compression, l.take)
	l.give(spare)
	l.prevSum = h.Sum
	b.header = bytes.Clone(b.object[:wal.HeaderLen])
	b.ctx, b.cancel = context.WithCancel(l.ctx)
	l.batches = append(l.batches, b)
	l.cfg.Events.Closed(b.records, len(b.object), b.closedAt.Sub(b.since))
}

func (l *Log) take() *buffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takeLocked()
}

// perform does what the core asks for. An error ends the log.
func (l *Log) perform() error {
	todo := l.core.todo
	l.core.todo = nil
	for _, a := range todo {
		switch a.kind {
		case doClose:
			if len(l.batches) == 0 && l.crowd > 1 {
				// On a store that is faster than a timer, this is the
				// chance of the writers that were just woken.
				runtime.Gosched()
			}
			l.mu.Lock()
			if l.mu.open.pos == a.pos && l.mu.open.bytes > 0 {
				l.rotateLocked()
			}
			l.mu.Unlock()
		case doPut, doHedge:
			l.upload(l.batch(a.pos), a.kind == doHedge)
		case doRead:
			l.readBack(l.batch(a.pos))
		case doAck:
			l.acknowledge()
		case doFence:
			return fmt.Errorf("%w: %s holds a %s", base.ErrFenced, base.LogObject(l.cfg.Incarnation, a.pos), a.cause.what())
		}
	}
	return nil
}

// batch returns the batch at a position that is closed and not acknowledged.
func (l *Log) batch(p base.Position) *Batch { return l.batches[p-l.batches[0].pos] }

// acknowledge ends the first batch: callbacks first, so that a writer that
// wakes finds its record visible.
func (l *Log) acknowledge() {
	b := l.batches[0]
	l.batches[0] = nil
	l.batches = l.batches[1:]
	for i := range b.buf.sections {
		if s := &b.buf.sections[i]; s.stream.acked != nil {
			s.stream.acked(s.last, b.pos)
		}
	}
	now := time.Now()
	l.mu.Lock()
	l.mu.acked = b.pos + 1
	l.mu.pending -= b.bytes
	l.mu.headSince = time.Time{}
	if len(l.batches) > 0 {
		l.mu.headSince = now
	}
	for i := range b.buf.sections {
		if s := b.buf.sections[i].stream; s.closed && s.batch == b && l.mu.streams[s.key] == s {
			delete(l.mu.streams, s.key)
		}
	}
	l.mu.Unlock()
	b.acked, l.crowd = true, b.records
	b.finish(nil)
	b.cancel() // a second upload of the same is no longer needed
	l.cfg.Events.Acked(b.records, now.Sub(b.closedAt))
	l.release(b)
}

// release gives back the memory of a batch, once it is acknowledged and no call
// can read it any more.
func (l *Log) release(b *Batch) {
	if !b.acked || b.attempts > 0 {
		return
	}
	l.give(b.buf)
	b.buf, b.object = nil, nil
}

// upload starts one attempt to put b.
func (l *Log) upload(b *Batch, hedge bool) {
	b.attempts++
	l.calls.Go(func() {
		timeout := l.cfg.PutTimeout + time.Duration(len(b.object)>>20)*time.Second
		ctx, cancel := context.WithTimeout(b.ctx, timeout)
		defer cancel()
		start := time.Now()
		err := l.cfg.Store.PutIfAbsent(ctx, base.LogObject(l.cfg.Incarnation, b.pos), b.object)
		r := result{batch: b, hedge: hedge, err: err, elapsed: time.Since(start)}
		switch {
		case err == nil:
			r.put = putOK
		case errors.Is(err, objstore.ErrExists):
			r.put = putExists
		case errors.Is(err, objstore.ErrThrottled), errors.Is(err, objstore.ErrDenied):
			r.put = putThrottled
		default:
			r.put = putFailed
		}
		l.report(r)
	})
}

// readBack starts to read the header of what holds the position of b.
func (l *Log) readBack(b *Batch) {
	l.calls.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, l.cfg.PutTimeout)
		defer cancel()
		got, err := l.cfg.Store.GetRange(ctx, base.LogObject(l.cfg.Incarnation, b.pos), 0, wal.HeaderLen)
		l.report(result{batch: b, read: true, header: judge(b.header, got, err), err: err})
	})
}

// judge tells whose an object is, given its first bytes.
func judge(own, got []byte, err error) readOutcome {
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return readAbsent
	case err != nil:
		return readFailed
	case bytes.Equal(own, got):
		return readOwn
	}
	if wal.IsSeal(got) {
		if _, err := wal.DecodeSeal(got); err == nil {
			return readSeal
		}
		return readGarbled
	}
	if _, err := wal.DecodeHeader(got); err == nil {
		return readStranger
	}
	return readGarbled
}

// report hands a result to the driver, or drops it when that has stopped.
func (l *Log) report(r result) {
	select {
	case l.results <- r:
	case <-l.stopped:
	}
}

// handle tells the core how a call ended.
func (l *Log) handle(r result) {
	b, now := r.batch, time.Now()
	if r.read {
		l.core.read(now, b.pos, r.header)
		l.complain("read back log object", r)
		return
	}
	b.attempts--
	l.cfg.Events.Put(r.elapsed, len(b.object), r.hedge, r.err)
	if r.put == putOK && !r.hedge {
		l.latency.add(r.elapsed)
		l.tune()
	}
	l.count(r)
	l.core.put(now, b.pos, r.put)
	if r.put >= putFailed {
		l.complain("put log object", r)
	}
	l.release(b)
}

// complain logs a failure that will be retried, ever more rarely.
func (l *Log) complain(what string, r result) {
	s := l.core.slot(r.batch.pos)
	if s == nil || r.err == nil || bits.OnesCount(uint(s.fails)) != 1 {
		return
	}
	l.cfg.Logger.LogAttrs(l.ctx, slog.LevelWarn, what,
		slog.String("object", base.LogObject(l.cfg.Incarnation, r.batch.pos)), slog.Int("failures", s.fails), slog.Any("err", r.err))
}
