package commitlog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/wal"
)

// Batch is a run of records that become durable together. Its methods may be
// called by anyone at any time.
type Batch struct {
	pos  base.Position
	done chan struct{}
	err  error // set before done is closed

	// While the batch is open these belong to the log's mutex, then to the
	// driver.
	buf      *buffer
	bytes    int64 // of bodies and record headers
	since    time.Time
	closedAt time.Time
	copies   sync.WaitGroup // appenders that still copy into buf

	// The driver's.
	object   []byte // what is uploaded; never changed
	header   []byte // the start of object, kept after object is let go
	records  int
	attempts int // uploads whose calls have not returned
	acked    bool
	ctx      context.Context // of its uploads
	cancel   context.CancelFunc
}

// Position returns the position of the batch in the log. It is known, and
// fixed, from the first append on.
func (b *Batch) Position() base.Position { return b.pos }

// Done is closed when the batch was acknowledged or has failed; every stream's
// callback has returned before.
func (b *Batch) Done() <-chan struct{} { return b.done }

// Err returns, once Done is closed, nil if the batch was acknowledged. Else the
// error wraps base.ErrFenced if the log was fenced, or ErrClosed if it was
// abandoned; and it wraps base.ErrUnknownOutcome as well unless it is certain
// that no replay will ever deliver the batch. Before Done is closed it is nil.
func (b *Batch) Err() error {
	select {
	case <-b.done:
		return b.err
	default:
		return nil
	}
}

// Wait waits until the batch is done and returns Err. If ctx ends before, the
// error wraps base.ErrUnknownOutcome and the cause.
func (b *Batch) Wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	default:
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("wait for log position %d: %w: %w", b.pos, base.ErrUnknownOutcome, context.Cause(ctx))
	}
}

// finish ends the batch. Only the driver calls it, once.
func (b *Batch) finish(err error) {
	b.err = err
	close(b.done)
}

// buffer is the memory of a batch. Buffers of the usual size are used again,
// after the last call that was given their bytes has returned.
type buffer struct {
	// data is room for an object's header, then the records in the order of
	// their appends.
	data     []byte
	records  []recordRef
	sections []section
}

// recordRef is where a record with its header stands in buffer.data.
type recordRef struct {
	off, len uint32
	section  uint32
}

// section collects the records of one stream in one batch.
type section struct {
	stream      *Stream
	first, last base.Seq
	bytes       uint32
	records     uint32
}

func newBuffer(room int) *buffer {
	return &buffer{data: make([]byte, wal.HeaderLen, bufferCap(room))}
}

// bufferCap returns the capacity of a buffer with room for records and the
// footer of some tablets.
func bufferCap(room int) int {
	const footerRoom = 4 << 10
	return wal.HeaderLen + room + footerRoom
}

func (f *buffer) reset() {
	f.data = f.data[:wal.HeaderLen]
	f.records = f.records[:0]
	clear(f.sections) // lets go of the streams
	f.sections = f.sections[:0]
}

// add makes room for a record of n bytes of body and returns it. The capacity
// was checked by the caller, so data never moves while others copy into it.
func (f *buffer) add(at int, first, last base.Seq, n int) []byte {
	sec := &f.sections[at]
	next := first
	if sec.records > 0 {
		next = sec.last + 1
	} else {
		sec.first = first
	}
	off := len(f.data)
	f.data = wal.AppendRecordHeader(f.data, n, next, first, last)
	body := len(f.data)
	f.data = f.data[:body+n]
	size := uint32(body + n - off)
	f.records = append(f.records, recordRef{off: uint32(off), len: size, section: uint32(at)})
	sec.last = last
	sec.bytes += size
	sec.records++
	return f.data[body : body+n : body+n]
}

// build makes the object of a closed batch from its buffer, and returns the
// buffer that is no longer needed, if any. h names log, position, nonce, low
// and the checksum of the object before.
func (b *Batch) build(h wal.Header, c wal.Compression, spare func() *buffer) (wal.Header, *buffer) {
	b.copies.Wait()
	f := b.buf
	order := make([]uint32, len(f.sections))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(x, y uint32) int {
		return f.sections[x].stream.key.compare(f.sections[y].stream.key)
	})
	dir := make([]wal.Section, len(order))
	for i, at := range order {
		s := &f.sections[at]
		dir[i] = wal.Section{
			Tablet: s.stream.key.tablet, Epoch: s.stream.key.epoch,
			Records: s.records, First: s.first, Last: s.last,
			Length: s.bytes, RawLength: s.bytes,
		}
	}
	b.records = len(f.records)
	if len(dir) == 1 && c == wal.NoCompression { // already as it must be
		b.object, h = wal.AppendFooter(f.data, h, dir)
		return h, nil
	}
	out := f.gather(order, dir, spare())
	if c != wal.NoCompression {
		out = pack(out, dir, c)
	}
	b.object, h = wal.AppendFooter(out.data, h, dir)
	// The sections are needed until the acknowledgement.
	out.sections, f.sections = f.sections, out.sections
	b.buf = out
	return h, f
}

// gather copies the records to out, grouped by section in the given order.
func (f *buffer) gather(order []uint32, dir []wal.Section, out *buffer) *buffer {
	next := make([]uint32, len(order)) // by section, where its next record goes
	off := uint32(wal.HeaderLen)
	for i, at := range order {
		next[at] = off
		off += dir[i].Length
	}
	if cap(out.data) < int(off) {
		out = newBuffer(int(off))
	}
	out.data = out.data[:off]
	for _, r := range f.records {
		copy(out.data[next[r.section]:], f.data[r.off:r.off+r.len])
		next[r.section] += r.len
	}
	return out
}

// pack compresses each section of in.
func pack(in *buffer, dir []wal.Section, c wal.Compression) *buffer {
	out := newBuffer(len(in.data))
	off := wal.HeaderLen
	for i := range dir {
		end := off + int(dir[i].Length)
		out.data = dir[i].Pack(out.data, in.data[off:end], c)
		off = end
	}
	return out
}
