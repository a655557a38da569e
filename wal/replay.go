package wal

import (
	"context"
	"fmt"
	"math"
	"sort"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Entry names the records that one owner of a tablet left in a log: those with
// the tablet id and epoch at positions [From, To). It is one element of the
// list in the tablet's record (rule R6).
type Entry struct {
	Log    base.Incarnation
	Tablet base.TabletID // the id under which the records were written
	Epoch  base.Epoch
	From   base.Position
	To     base.Position // only if HasTo
	HasTo  bool
}

// Bounds is the state of a log: data objects exist at [Low, End). End is
// OpenEnd for a log that is not sealed; then only entries with To can be read.
type Bounds struct {
	Low, End base.Position
}

// OpenEnd is the End of a log that is not sealed.
const OpenEnd base.Position = math.MaxUint64

// Clip returns the positions that hold the records of e that are not flushed:
// [max(From, Low), min(To, End)). It may be empty or inverted; both are normal
// (rule R5).
func (b Bounds) Clip(e Entry) (from, to base.Position) {
	from, to = max(e.From, b.Low), b.End
	if e.HasTo {
		to = min(to, e.To)
	}
	return from, to
}

// ReplayFunc receives one record. It may keep the body, which nobody changes.
type ReplayFunc func(p base.Position, r Record) error

// Replay calls fn for each record of e within b, in order of position, then of
// index. With the log's index (else nil) it reads nothing but the tablet's own
// extents; without, it reads the directory of each object. The caller skips
// what it has flushed or applied, by sequence number.
//
// An object that is missing gives an error wrapping objstore.ErrNotFound: the
// caller reads the tablet's record again, for it may have lost the tablet
// (rule R5). Damaged bytes, read twice, give base.ErrCorrupt. An error of fn
// ends the replay and is returned as it is; fn may have been called before any
// error.
func Replay(ctx context.Context, store objstore.Store, e Entry, b Bounds, index *Index, fn ReplayFunc) error {
	from, to := b.Clip(e)
	if from >= to {
		return nil
	}
	if to == OpenEnd {
		return fmt.Errorf("replay tablet %d from log %s: neither entry nor log is closed: %w", e.Tablet, e.Log, base.ErrInvalid)
	}
	r := replay{store: store, entry: e, fn: fn}
	if index == nil {
		return r.byDirectories(ctx, from, to)
	}
	if index.Log != e.Log || index.Low > from || index.End < to {
		return fmt.Errorf("replay [%d, %d) of log %s with the index of [%d, %d) of log %s: %w",
			from, to, e.Log, index.Low, index.End, index.Log, base.ErrInvalid)
	}
	return r.byIndex(ctx, index, from, to)
}

// replay is one call of Replay.
type replay struct {
	store objstore.Store
	entry Entry
	fn    ReplayFunc
}

// piece is a section with its records.
type piece struct {
	Extent
	raw []byte
}

func (r *replay) byIndex(ctx context.Context, index *Index, from, to base.Position) error {
	ext, err := index.Extents(ctx, r.entry.Tablet, r.entry.Epoch)
	if err != nil {
		return err
	}
	first := sort.Search(len(ext), func(i int) bool { return ext[i].Position >= from })
	last := sort.Search(len(ext), func(i int) bool { return ext[i].Position >= to })
	ext = ext[first:last]
	fetch := func(ctx context.Context, i int) (piece, error) { return r.fetch(ctx, ext[i], nil) }
	size := func(i int) int64 { return int64(ext[i].Length) + int64(ext[i].RawLength) }
	return ordered(ctx, len(ext), fetch, size, func(_ int, p piece) error { return r.deliver(p) })
}

func (r *replay) byDirectories(ctx context.Context, from, to base.Position) error {
	if to-from > math.MaxInt32 {
		return fmt.Errorf("replay [%d, %d) of log %s: %w", from, to, r.entry.Log, base.ErrInvalid)
	}
	fetch := func(ctx context.Context, i int) (piece, error) {
		t, err := readTail(ctx, r.store, r.entry.Log, from+base.Position(i))
		if err != nil {
			return piece{}, err
		}
		for _, s := range t.sections {
			if s.is(r.entry.Tablet, r.entry.Epoch) {
				stored, _ := t.section(&s)
				return r.fetch(ctx, Extent{Position: t.position, Section: s}, stored)
			}
		}
		return piece{}, nil
	}
	// What a piece holds is not known before; a common batch is assumed.
	size := func(int) int64 { return 1 << 20 }
	return ordered(ctx, int(to-from), fetch, size, func(_ int, p piece) error { return r.deliver(p) })
}

// fetch reads and unpacks the section of x, unless stored already holds it. A
// checksum that fails is read again once.
func (r *replay) fetch(ctx context.Context, x Extent, stored []byte) (piece, error) {
	key := base.LogObject(r.entry.Log, x.Position)
	if stored != nil {
		if raw, err := x.unpack(stored); err == nil {
			return piece{x, raw}, nil
		}
	}
	raw, err := r.read(ctx, key, &x.Section)
	if isCorrupt(err) {
		raw, err = r.read(ctx, key, &x.Section)
	}
	if err != nil {
		return piece{}, fmt.Errorf("replay %s: %w", key, err)
	}
	return piece{x, raw}, nil
}

func (r *replay) read(ctx context.Context, key string, s *Section) ([]byte, error) {
	b, err := r.store.GetRange(ctx, key, int64(s.Offset), int64(s.Length))
	if err != nil {
		return nil, err
	}
	return s.unpack(b)
}

func (r *replay) deliver(p piece) error {
	if p.Records == 0 {
		return nil // the object holds nothing of the tablet
	}
	var failed error
	err := p.records(p.raw, func(rec Record) error {
		failed = r.fn(p.Position, rec)
		return failed
	})
	if err != nil && failed == nil {
		return fmt.Errorf("replay %s: %w", base.LogObject(r.entry.Log, p.Position), err)
	}
	return err
}
