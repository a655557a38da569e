package tablet

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// A write that must not be applied twice leaves a hidden cell in its row, in
// the same record, and with it what its answer needs. A repeat looks for it. A
// first attempt does not look: what it could find can only be there if a repeat
// of it overtook it, and who repeats at this tablet at this epoch is remembered
// in memory (repeats); at another epoch an attempt is not served at all.
// docs/exactly-once.md has the argument in full.

// repeats are the repeats that came to the tablet within base.SystemRetention,
// by what they are recognised by: whatever of the same request arrives later,
// but was sent before, is refused. The lock of the row is held when an entry is
// added or looked for.
type repeats struct {
	n  atomic.Int32 // entries
	mu struct {
		sync.Mutex
		latest map[string]uint32 // attempt
		order  []repeat          // as they came; a key may occur more than once
	}
}

type repeat struct {
	key     string
	attempt uint32
	at      time.Time
}

// note tells what to do about an attempt: to look whether the write was applied
// before, or, with an error, nothing.
func (r *repeats) note(key []byte, o *mutation.Once, now time.Time) (look bool, err error) {
	if o.Token != nil { // the client's own repeats are not numbered
		return true, nil
	}
	if o.Attempt == 0 && r.n.Load() == 0 {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.mu.latest[string(key)]; ok && last > o.Attempt {
		return false, fmt.Errorf("%w: attempt %d of the request arrives after attempt %d", base.ErrUnknownOutcome, o.Attempt, last)
	}
	if o.Attempt == 0 {
		return false, nil
	}
	for len(r.mu.order) > 0 && now.Sub(r.mu.order[0].at) > base.SystemRetention {
		if old := r.mu.order[0]; r.mu.latest[old.key] == old.attempt {
			delete(r.mu.latest, old.key)
		}
		r.mu.order = r.mu.order[1:]
	}
	if r.mu.latest == nil {
		r.mu.latest = map[string]uint32{}
	}
	k := string(key)
	r.mu.latest[k] = o.Attempt
	r.mu.order = append(r.mu.order, repeat{k, o.Attempt, now})
	r.n.Store(int32(len(r.mu.latest)))
	return true, nil
}

// memory is what the tablet remembers of a write.
type memory struct {
	answer []byte
	time   int64 // of the server, as it applied the write
	seq    base.Seq
}

// remembered returns what is remembered of a write; ok is false where it was not
// applied. The caller holds the row's lock, and answers nothing before the
// sequence is visible (R13).
func (t *Tablet) remembered(ctx context.Context, row []byte, o *mutation.Once, sch *schema.Schema) (m memory, ok bool, err error) {
	if !o.Named() {
		return m, false, nil
	}
	var buf [64]byte
	key := o.AppendKey(buf[:0])
	now := time.Now()
	look, err := t.repeats.note(key, o, now)
	if err != nil || !look {
		return m, false, err
	}
	_, err = t.pendingRow(ctx, row, Read{Limit: 1, families: hiddenFamily()}, sch, func(rd *cells.Reader) error {
		var v []byte
		if v, m.time, m.seq, ok = rd.System(key); ok {
			m.answer = append([]byte(nil), v...)
		}
		return rd.Err()
	})
	if ok && o.Token != nil && m.time < now.Add(-base.SystemRetention).UnixMicro() {
		ok = false // a token may be used again
	}
	if !ok && err == nil && o.Token == nil && t.droppedLately(row, now) {
		return m, false, fmt.Errorf("%w: whether the request was applied before its row was dropped is not known", base.ErrAborted)
	}
	return m, ok && err == nil, err
}

// CheckStart refuses a write whose client began with it so long ago that it may
// have been forgotten that it was applied. startMicros is the client's time, in
// microseconds; 0: it gave none.
func CheckStart(startMicros int64) error {
	if startMicros == 0 {
		return nil
	}
	if age := time.Since(time.UnixMicro(startMicros)); age > base.SystemRetention {
		return base.Textf(base.ErrPrecondition, "The idempotency token was first used %v ago; it is remembered for %v", age.Round(time.Second), base.SystemRetention)
	}
	return nil
}

// original returns the batch to wait for until a write that was applied before
// is durable; nil: it is. That it was applied stays true whoever owns the tablet
// by now, so that no lease is checked.
func (t *Tablet) original(seq base.Seq) *commitlog.Batch {
	if t.visible() >= seq {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.batch
}

// appendAnswer appends what the answer to a ReadModifyWrite needs: for each
// column its family, its qualifier, its timestamp plus one (0: the time at
// which the write was applied) and its value.
func appendAnswer(dst []byte, columns []*column) []byte {
	for _, c := range columns {
		dst = appendString(dst, c.family)
		dst = appendString(dst, c.qualifier)
		at := uint64(0)
		if c.timestamp != math.MinInt64 {
			at = uint64(c.timestamp) + 1
		}
		dst = binary.AppendUvarint(dst, at)
		dst = appendString(dst, c.value)
	}
	return dst
}

func appendString[S []byte | string](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseAnswer is the inverse of appendAnswer.
func parseAnswer(raw []byte) ([]*column, error) {
	var columns []*column
	ok := true
	number := func() uint64 {
		v, n := binary.Uvarint(raw)
		if n <= 0 {
			ok, raw = false, nil
			return 0
		}
		raw = raw[n:]
		return v
	}
	text := func() []byte {
		n := number()
		if n > uint64(len(raw)) {
			ok = false
			return nil
		}
		s := raw[:n:n]
		raw = raw[n:]
		return s
	}
	for ok && len(raw) > 0 {
		c := &column{family: string(text()), qualifier: text(), timestamp: math.MinInt64}
		if at := number(); at > 0 {
			c.timestamp = int64(at - 1)
		}
		c.value = text()
		columns = append(columns, c)
	}
	if !ok {
		return nil, fmt.Errorf("%w: remembered answer of %d bytes", base.ErrCorrupt, len(raw))
	}
	return columns, nil
}
