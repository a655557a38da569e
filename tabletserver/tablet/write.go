package tablet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/memtable"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// records are buffers in which row records are built. A buffer that a huge row
// has grown is not kept.
var records = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

const maxKeptRecord = 256 << 10

func putRecord(b *[]byte) {
	if cap(*b) <= maxKeptRecord {
		records.Put(b)
	}
}

// Apply applies the mutations of one row, atomically, and returns when they are
// durable and visible. Errors: base.ErrNotServing, base.ErrWrongTablet and
// base.ErrOverloaded, and those for bad requests, mean that nothing was
// applied; base.ErrUnknownOutcome that nobody knows. What once names is applied
// at most once.
func (t *Tablet) Apply(ctx context.Context, row []byte, l mutation.List, once *mutation.Once) error {
	batch, err := t.Append(ctx, row, l, once)
	if err != nil || batch == nil {
		return err
	}
	return Await(ctx, batch)
}

// Await waits until a batch is acknowledged. Its errors are those of Apply: a
// batch that was certainly not written when the server ended is one that the
// tablet did not take.
func Await(ctx context.Context, b *commitlog.Batch) error {
	err := b.Wait(ctx)
	if errors.Is(err, commitlog.ErrClosed) && !errors.Is(err, base.ErrUnknownOutcome) {
		return fmt.Errorf("%w: %w", base.ErrNotServing, err)
	}
	return err
}

// Append is the first half of Apply: it returns the batch for whose
// acknowledgement the caller waits before it tells anybody. A nil batch means
// that nothing needed to be written.
func (t *Tablet) Append(ctx context.Context, row []byte, l mutation.List, once *mutation.Once) (*commitlog.Batch, error) {
	cost := writeCost(l.Size())
	if err := t.admitWrite(ctx, row, cost); err != nil {
		return nil, err
	}
	defer t.env.Budget.Done(cost)
	buf := records.Get().(*[]byte)
	defer putRecord(buf)
	s, n, err := t.encode(ctx, buf, row, l)
	if err != nil || n == 0 {
		return nil, err
	}
	n += remember(buf, once, nil)
	lock, err := t.env.Rows.lock(ctx, t.id, row)
	if err != nil {
		return nil, err
	}
	defer lock.unlock()
	if m, ok, err := t.remembered(ctx, row, once, s); err != nil || ok {
		return t.original(m.seq), err
	}
	return t.append(*buf, n, s)
}

// remember appends to the record in buf the op by which the write is recognised
// when it comes again, and returns how many ops that are.
func remember(buf *[]byte, once *mutation.Once, answer []byte) int {
	if !once.Named() {
		return 0
	}
	var key [64]byte
	*buf = mutation.AppendOnce(*buf, once.AppendKey(key[:0]), answer)
	return 1
}

// encode makes the record of a write. A family that the schema at hand does
// not know may have been made a moment ago.
func (t *Tablet) encode(ctx context.Context, buf *[]byte, row []byte, l mutation.List) (*schema.Schema, int, error) {
	s, err := t.schema(ctx)
	if err != nil {
		return nil, 0, err
	}
	var n int
	*buf, n, err = mutation.AppendRecord((*buf)[:0], row, l, s.Writes())
	if !errors.Is(err, base.ErrFamilyNotFound) {
		return s, n, err
	}
	fresh, ferr := t.env.Schemas.Refresh(ctx, t.table)
	if ferr != nil {
		return nil, 0, ferr
	}
	if fresh.Revision == s.Revision {
		return nil, 0, err
	}
	*buf, n, err = mutation.AppendRecord((*buf)[:0], row, l, fresh.Writes())
	return fresh, n, err
}

// admitWrite takes memory for a write, which the caller gives back to the budget.
func (t *Tablet) admitWrite(ctx context.Context, row []byte, cost int64) error {
	if t.State() != Serving {
		return t.errNotServing()
	}
	if !t.contains(row) {
		return fmt.Errorf("tablet %d: row %q: %w", t.id, row, base.ErrWrongTablet)
	}
	return t.env.Budget.Admit(ctx, cost)
}

// append is appendTimed for those who do not care about the time.
func (t *Tablet) append(rec []byte, n int, s *schema.Schema) (*commitlog.Batch, error) {
	batch, _, err := t.appendTimed(rec, n, s, nil)
	return batch, err
}

// appendTimed gives a record of n ops its sequence numbers, logs it and adds it
// to the memtable: one step under one lock (R6). It returns the batch, and the
// timestamp of the cells that leave it to the server. The caller holds the
// row's lock. What was computed from the row after as many drops of rows as seen
// says is only appended if there were none since: errDropped.
func (t *Tablet) appendTimed(rec []byte, n int, s *schema.Schema, seen *uint64) (*commitlog.Batch, int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seen != nil && *seen != t.mu.drops {
		return nil, 0, errDropped
	}
	if t.State() != Serving { // stop and append exclude each other (R7)
		return nil, 0, t.errNotServing()
	}
	at := t.nextTimeLocked(s)
	if mutation.NeedsTime(rec) {
		if err := mutation.AssignTime(rec, at); err != nil {
			return nil, 0, err
		}
	}
	batch, err := t.appendLocked(rec, n)
	return batch, at, err
}

func (t *Tablet) appendLocked(rec []byte, n int) (*commitlog.Batch, error) {
	decoded, err := mutation.Decode(rec)
	if err != nil {
		return nil, err
	}
	first := t.mu.next
	last := first + base.Seq(n) - 1
	batch, err := t.mu.stream.Append(first, last, rec)
	if err != nil {
		if errors.Is(err, commitlog.ErrClosed) {
			err = fmt.Errorf("tablet %d: %w: %w", t.id, base.ErrNotServing, err)
		}
		return nil, err
	}
	t.mu.next = last + 1
	t.mu.batch, t.mu.lastPos = batch, batch.Position()
	m := t.applyLocked(&decoded, first, last)
	if !m.hasFirst {
		m.first, m.hasFirst = batch.Position(), true
	}
	m.batch = batch
	t.Counters.WriteBytes.Add(int64(len(rec)))
	if m.table.Size() >= t.env.Options.MemtableBytes {
		t.env.WantFlush(t)
	}
	return batch, nil
}

// nextTimeLocked returns the timestamp for cells that leave it to the server:
// the clock, but never before the last one assigned in the tablet, by this
// owner or another (R18). Two writes within one unit share it; of one cell the
// later stands.
func (t *Tablet) nextTimeLocked(s *schema.Schema) int64 {
	t.mu.lastTime = max(t.mu.lastTime, nowMicros())
	return t.mu.lastTime - t.mu.lastTime%s.Unit()
}

func nowMicros() int64 { return time.Now().UnixMicro() }

// applyLocked puts a record, which takes the sequences from first to last, into
// force, and returns the memtable that is active then.
func (t *Tablet) applyLocked(rec *mutation.Record, first, last base.Seq) *mem {
	var op mutation.RecordOp
	if it := rec.Ops(); it.Next(&op) && op.Kind == base.KindDropRows {
		return t.dropLocked(rec, &op, last)
	}
	m := t.view.Load().mem
	if m.table.Size() >= maxActive { // flushes are slow; one table cannot grow for ever
		t.freezeLocked()
		m = t.view.Load().mem
	}
	t.insertLocked(m, rec, first, last)
	return m
}

// maxActive is the size at which a memtable is frozen though no flush has begun:
// half of what one can address.
const maxActive = 1 << 30

// insertLocked adds the ops of a record, which take the sequences from first
// to last, to a memtable.
func (t *Tablet) insertLocked(m *mem, rec *mutation.Record, first, last base.Seq) {
	key, seq := t.mu.key, first
	var op mutation.RecordOp
	for it := rec.Ops(); it.Next(&op); seq++ {
		key = appendOpKey(key[:0], rec.Row, &op, seq)
		m.table.Add(key, op.Value)
	}
	t.mu.key = key
	m.last = last
	if grown := m.table.Allocated() - m.counted; grown != 0 {
		m.counted += grown
		t.env.Budget.add(grown)
	}
	t.applied.Store(uint64(last))
}

func appendOpKey(dst, row []byte, op *mutation.RecordOp, seq base.Seq) []byte {
	switch op.Kind {
	case base.KindDeleteRow:
		return base.AppendDeleteRowKey(dst, row, seq)
	case base.KindDeleteFamily:
		return base.AppendDeleteFamilyKey(dst, row, op.Family, seq)
	case base.KindDeleteColumn:
		return base.AppendDeleteColumnKey(dst, row, op.Family, op.Qualifier, seq)
	default:
		return base.AppendCellKey(dst, row, op.Family, op.Qualifier, op.Timestamp, seq, op.Kind)
	}
}

// freezeLocked exchanges the active memtable, unless it is empty, for a new
// one.
func (t *Tablet) freezeLocked() {
	old := t.view.Load()
	if old.mem.empty() {
		return
	}
	frozen := append([]*mem{old.mem}, old.frozen...)
	t.view.Store(newView(t.env.Files, &mem{table: memtable.New()}, frozen, old.manifest))
	old.release()
}

// awaitVisible returns once sequence seq is acknowledged: a reply that was
// computed from pending state waits for it (R13).
func (t *Tablet) awaitVisible(ctx context.Context, seq base.Seq) error {
	if t.visible() >= seq {
		return nil
	}
	t.mu.Lock()
	batch := t.mu.batch
	t.mu.Unlock()
	if batch == nil {
		return nil
	}
	return Await(ctx, batch)
}
