package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/wal"
)

// ErrClosed is returned by Append, and by the batches that were pending, after
// the log or the stream was closed or the log abandoned.
var ErrClosed = errors.New("commit log is closed")

// AckFunc is called when everything a stream appended up to sequence last is
// durable, in batches up to position pos. Calls come one at a time, last and
// pos rising. They hold up the whole log, so they must not block; they may
// call any method of the log that does not wait.
type AckFunc func(last base.Seq, pos base.Position)

// streamKey names the records of a stream in the log.
type streamKey struct {
	tablet base.TabletID
	epoch  base.Epoch
}

func (k streamKey) compare(o streamKey) int {
	return cmp.Or(cmp.Compare(k.tablet, o.tablet), cmp.Compare(k.epoch, o.epoch))
}

// Stream is what one tablet, in one of its epochs, writes to the log.
type Stream struct {
	log   *Log
	key   streamKey
	acked AckFunc

	// The rest belongs to the log's mutex.
	last   base.Seq
	batch  *Batch // in which section is this stream's; may be an old one
	at     int
	closed bool
}

// NewStream returns the stream of a tablet and epoch. If there was one before
// it is closed, and the new one must go on above its last sequence number.
func (l *Log) NewStream(tablet base.TabletID, epoch base.Epoch, acked AckFunc) *Stream {
	s := &Stream{log: l, key: streamKey{tablet, epoch}, acked: acked}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.mu.streams[s.key]; old != nil {
		s.last, old.closed = old.last, true
		if old.batch == l.mu.open {
			// Two streams must not share a section.
			l.rotateLocked()
			l.signal()
		}
	}
	l.mu.streams[s.key] = s
	return s
}

// Close makes later appends fail. What was appended goes its way, with
// callbacks. The log forgets the stream: its sequence numbers are not checked
// against those of a later one with the same tablet and epoch.
func (s *Stream) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.closed = true
	if s.log.mu.streams[s.key] == s && s.batch != s.log.mu.open {
		delete(s.log.mu.streams, s.key)
	}
}

// Append adds one record with sequence numbers [first, last], whose body is
// the concatenation of the slices, and returns the batch it is in. It copies
// the body and does not wait for anything but other appends.
//
// It is called under the lock under which the tablet assigned the numbers, so
// that the order of appends is that of the numbers (rule R6); first > last and
// numbers that do not rise within the stream are a bug and panic. An error
// means that the record is not in the log: it wraps base.ErrFenced, ErrClosed,
// base.ErrOverloaded (too much is unacknowledged) or base.ErrInvalid (the body
// is longer than wal.MaxBodyLen).
func (s *Stream) Append(first, last base.Seq, body ...[]byte) (*Batch, error) {
	n := 0
	for _, b := range body {
		n += len(b)
	}
	if n > wal.MaxBodyLen {
		return nil, fmt.Errorf("append record of %d bytes to the log: %w: the limit is %d", n, base.ErrInvalid, wal.MaxBodyLen)
	}
	l := s.log
	l.mu.Lock()
	if err := s.admitLocked(); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	if first > last || first <= s.last {
		before := s.last
		l.mu.Unlock()
		panic(fmt.Sprintf("commitlog: tablet %d epoch %d appends sequences [%d, %d] after %d", s.key.tablet, s.key.epoch, first, last, before))
	}
	b, wake := l.roomLocked(n)
	if s.batch != b {
		s.batch, s.at = b, len(b.buf.sections)
		b.buf.sections = append(b.buf.sections, section{stream: s})
	}
	before := len(b.buf.data)
	dst := b.buf.add(s.at, first, last, n)
	size := int64(len(b.buf.data) - before)
	s.last = last
	b.bytes += size
	l.mu.pending += size
	l.mu.records++
	l.mu.bytes += size
	wake = wake || int64(len(b.buf.records)) == l.expect.Load()
	if b.bytes >= int64(l.cfg.MaxBatchBytes) {
		l.rotateLocked()
		wake = true
	}
	if n <= copyUnderLockMax {
		for _, p := range body {
			dst = dst[copy(dst, p):]
		}
		l.mu.Unlock()
	} else {
		b.copies.Add(1)
		l.mu.Unlock()
		for _, p := range body {
			dst = dst[copy(dst, p):]
		}
		b.copies.Done()
	}
	if wake {
		l.signal()
	}
	return b, nil
}

// admitLocked reports why the stream may not append.
func (s *Stream) admitLocked() error {
	l := s.log
	switch {
	case l.mu.err != nil:
		return l.mu.err
	case s.closed:
		return fmt.Errorf("append for tablet %d epoch %d: stream: %w", s.key.tablet, s.key.epoch, ErrClosed)
	case l.mu.pending >= l.cfg.MaxPendingBytes:
		return &base.OverloadError{After: max(2*l.mu.p50, minRetry), Reason: fmt.Sprintf("%d bytes wait for the commit log", l.mu.pending)}
	}
	return nil
}

// roomLocked returns the open batch with room for a body of n bytes, and
// whether the driver must be told.
func (l *Log) roomLocked(n int) (b *Batch, wake bool) {
	need := n + wal.MaxRecordHeaderLen
	b = l.mu.open
	if b.bytes > 0 && b.bytes+int64(need) > int64(l.cfg.MaxBatchBytes)+wal.MaxRecordHeaderLen {
		l.rotateLocked()
		b, wake = l.mu.open, true
	}
	if b.bytes > 0 {
		return b, wake
	}
	b.since = time.Now()
	if b.buf == nil {
		if need <= l.cfg.MaxBatchBytes {
			b.buf = l.takeLocked()
		} else {
			b.buf = newBuffer(need)
		}
	}
	return b, true
}
