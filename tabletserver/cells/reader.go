package cells

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

func corrupt(key []byte) error { return fmt.Errorf("%w: cell key %x", base.ErrCorrupt, key) }

// stepsBeforeSeek is how many entries are stepped over before seeking: in a
// block at hand a step is some 20 times cheaper than a seek.
const stepsBeforeSeek = 16

// bytesPerStep is how many bytes of a value count as a step of their own, for
// what is large is not in the block at hand.
const bytesPerStep = 512

// Reader walks the visible cells of a tablet, row by row. It is used by one
// goroutine at a time, and does not close the iterator it was given.
//
//	for ok := r.SeekGE(start); ok; ok = r.NextRow() {
//		for r.Next() { ... r.Cell() ... }
//	}
type Reader struct {
	it    base.Iterator
	res   resolver
	valid bool // it stands on an entry
	fresh bool // that entry was not classified yet
	row   []byte
	cell  rowfilter.Cell
	acc   aggregate.Accumulator
	folds []byte // value of an aggregate cell
	seek  []byte
	err   error
	skip  skipTo

	wasted uint64
}

// skipTo is how far Next moves before it looks for a cell.
type skipTo uint8

const (
	skipNothing skipTo = iota
	skipColumn
	skipFamily
)

// NewReader returns a Reader of the entries of it up to snapshot, with the
// rules of s applied as of the time now, in microseconds.
func NewReader(it base.Iterator, s *schema.Schema, snapshot base.Seq, now int64) *Reader {
	return &Reader{it: it, res: resolver{schema: s, snapshot: snapshot, now: now, reads: true}}
}

// Err returns the error that ended the walk, if any.
func (r *Reader) Err() error {
	if r.err != nil {
		return r.err
	}
	return r.it.Err()
}

// SeekGE moves to the first row >= row that has any entry.
func (r *Reader) SeekGE(row []byte) bool {
	r.seek = base.AppendRowPrefix(r.seek[:0], row)
	r.valid = r.it.SeekGE(r.seek)
	return r.enter()
}

// SeekLT moves to the last row < row that has any entry; a nil row means the
// last row of all.
func (r *Reader) SeekLT(row []byte) bool {
	if row == nil {
		r.seek = appendMax(r.seek[:0])
	} else {
		r.seek = base.AppendRowPrefix(r.seek[:0], row)
	}
	if !r.it.SeekLT(r.seek) {
		r.valid = false
		return false
	}
	n := base.RowPrefixLen(r.it.Key())
	if n < 0 {
		r.fail(corrupt(r.it.Key()))
		return false
	}
	r.seek = append(r.seek[:0], r.it.Key()[:n]...)
	r.valid = r.it.SeekGE(r.seek)
	return r.enter()
}

// NextRow moves to the next row that has any entry.
func (r *Reader) NextRow() bool {
	if r.err != nil {
		return false
	}
	for n := 0; n < stepsBeforeSeek; {
		if !r.valid || !r.res.sameRow(r.it.Key()) {
			return r.enter()
		}
		if n += r.cost(); n <= stepsBeforeSeek {
			r.valid = r.it.Next()
		}
	}
	if r.valid && r.res.sameRow(r.it.Key()) {
		r.seek = append(r.seek[:0], r.res.row...)
		r.seek[len(r.seek)-1]++ // 00 02: after every key of the row
		r.valid = r.it.SeekGE(r.seek)
	}
	return r.enter()
}

// PrevRow moves to the row before the current one that has any entry.
func (r *Reader) PrevRow() bool {
	if r.err != nil {
		return false
	}
	return r.SeekLT(r.row)
}

// enter starts the row that the iterator stands in.
func (r *Reader) enter() bool {
	if !r.valid || r.err != nil {
		return false
	}
	key := r.it.Key()
	n := base.RowPrefixLen(key)
	if n < 0 {
		return r.fail(corrupt(key))
	}
	row, err := base.DecodeRow(key)
	if err != nil {
		return r.fail(err)
	}
	r.row = append(r.row[:0], row...)
	r.res.startRow(key[:n])
	r.fresh, r.skip = true, skipNothing
	return true
}

func (r *Reader) fail(err error) bool {
	r.err, r.valid = err, false
	return false
}

// Wasted returns how many steps the reader took for entries that nobody can see:
// hidden ones, and deletions. A seek counts as several. A compaction of all runs
// leaves nothing of the kind.
func (r *Reader) Wasted() uint64 { return r.wasted }

// Row returns the key of the current row, valid until the reader moves to
// another one.
func (r *Reader) Row() []byte { return r.row }

// Cell returns the current cell. It and its slices are valid until the reader
// moves.
func (r *Reader) Cell() *rowfilter.Cell { return &r.cell }

// SkipColumn makes Next go on behind the current column.
func (r *Reader) SkipColumn() { r.skip = skipColumn }

// SkipFamily makes Next go on behind the current family.
func (r *Reader) SkipFamily() { r.skip = skipFamily }

// Next moves to the next visible cell of the row.
func (r *Reader) Next() bool {
	if r.skip != skipNothing && !r.leave() {
		return false
	}
	for r.advance() {
		key := r.it.Key()
		if !r.res.sameRow(key) {
			r.fresh = true
			return false
		}
		c, err := r.res.classify(key, r.it.Value())
		if err != nil {
			return r.fail(err)
		}
		switch c {
		case cell:
			return r.take(r.it.Value())
		case operand:
			return r.fold()
		case tombstone:
			r.wasted += stepsBeforeSeek
			r.hide()
			continue
		case hidden:
			r.wasted++
		}
		if c == hidden && !r.pass() {
			return false
		}
	}
	return false
}

// advance moves to an entry that was not classified yet.
func (r *Reader) advance() bool {
	switch {
	case !r.valid:
		return false
	case r.fresh:
		r.fresh = false
		return true
	}
	r.valid = r.it.Next()
	return r.valid
}

// pass steps or seeks over what is known to be hidden.
func (r *Reader) pass() bool {
	switch {
	case r.res.familyDone:
		return r.leaveFamily()
	case r.res.columnDone:
		return r.leaveColumn()
	}
	return true
}

func (r *Reader) leave() bool {
	s := r.skip
	r.skip = skipNothing
	if s == skipFamily {
		return r.leaveFamily()
	}
	return r.leaveColumn()
}

// leaveColumn moves to the first entry behind the current column.
func (r *Reader) leaveColumn() bool {
	r.seek = append(append(r.seek[:0], r.res.row...), r.res.column...)
	return r.leavePrefix()
}

// leaveFamily moves to the first entry behind the current family.
func (r *Reader) leaveFamily() bool {
	r.seek = append(r.seek[:0], r.res.row...)
	r.seek = binary.BigEndian.AppendUint32(r.seek, uint32(r.res.familyID))
	return r.leavePrefix()
}

// cost is how many steps it is worth to step over the current entry.
func (r *Reader) cost() int { return 1 + len(r.it.Value())/bytesPerStep }

// leavePrefix moves behind all entries whose key starts with r.seek, which
// does not end in ff bytes only.
func (r *Reader) leavePrefix() bool {
	for n := 0; n < stepsBeforeSeek; {
		if !r.valid {
			return false
		}
		if !bytes.HasPrefix(r.it.Key(), r.seek) {
			r.fresh = true
			return true
		}
		if n += r.cost(); n <= stepsBeforeSeek {
			r.valid = r.it.Next()
		}
	}
	for i := len(r.seek) - 1; i >= 0; i-- {
		if r.seek[i]++; r.seek[i] != 0 {
			r.seek = r.seek[:i+1]
			break
		}
	}
	r.valid = r.valid && r.it.SeekGE(r.seek)
	r.fresh = r.valid
	return r.valid
}

// SeekColumn moves, within the current row, to the first column of the family
// whose qualifier is >= qualifier, unless the reader is beyond it. Tombstones
// of the row and the family that were passed stay in force; those that were
// jumped over are read first.
func (r *Reader) SeekColumn(f base.FamilyID, qualifier []byte) bool {
	if r.skip != skipNothing && !r.leave() || !r.valid {
		return false
	}
	if f > r.res.familyID {
		// Row tombstones precede all families: walk them, then the family's.
		if r.res.familyID == 0 && !r.passTombstones() {
			return false
		}
		r.seek = append(r.seek[:0], r.res.row...)
		r.seek = binary.BigEndian.AppendUint32(r.seek, uint32(f))
		if bytes.Compare(r.it.Key(), r.seek) < 0 {
			r.valid = r.it.SeekGE(r.seek)
			r.fresh = r.valid
		}
		if !r.passTombstones() {
			return false
		}
	}
	r.seek = append(r.seek[:0], r.res.row...)
	r.seek = binary.BigEndian.AppendUint32(r.seek, uint32(f))
	r.seek = append(r.seek, 1)
	r.seek = base.AppendRowPrefix(r.seek, qualifier)
	if bytes.Compare(r.it.Key(), r.seek) < 0 {
		r.valid = r.it.SeekGE(r.seek)
		r.fresh = r.valid
	}
	return r.valid
}

// System returns the newest hidden cell of the current row with that qualifier:
// its value, valid until the reader moves, its timestamp and its sequence
// number; ok is false where there is none. The reader is of no other use in this
// row afterwards.
func (r *Reader) System(qualifier []byte) (value []byte, timestamp int64, seq base.Seq, ok bool) {
	r.seek = append(r.seek[:0], r.res.row...)
	r.seek = binary.BigEndian.AppendUint32(r.seek, uint32(base.SystemFamily))
	r.seek = append(r.seek, 1)
	r.seek = base.AppendRowPrefix(r.seek, qualifier)
	for r.valid = r.it.SeekGE(r.seek); r.valid; r.valid = r.it.Next() {
		key := r.it.Key()
		if !bytes.HasPrefix(key, r.seek) || len(key) != len(r.seek)+17 {
			break
		}
		if seq, _ := base.Trailer(key); seq <= r.res.snapshot {
			return r.it.Value(), int64(^binary.BigEndian.Uint64(key[len(r.seek)+1:])), seq, true
		}
	}
	r.fresh = r.valid
	return nil, 0, 0, false
}

// passTombstones classifies the row and family tombstones that the reader
// stands before.
func (r *Reader) passTombstones() bool {
	for r.advance() {
		key := r.it.Key()
		if !r.res.sameRow(key) || len(key) < len(r.res.row)+12 || !ofRowOrFamily(key) {
			r.fresh = true
			return true
		}
		c, err := r.res.classify(key, nil)
		if err != nil {
			return r.fail(err)
		}
		if c == tombstone {
			r.hide()
		}
	}
	return false
}

// hide makes the iterator leave out what the tombstone it stands on hides, where
// it knows that it is older without reading it. (The ids of requests that stand
// in a row are not hidden by it; who wants them seeks to them.)
func (r *Reader) hide() {
	// Of several sources only: one alone would leave the tombstone behind, and
	// the next step would pass what comes after.
	s, ok := r.it.(*merging.Iter)
	if !ok {
		return
	}
	seq, kind := base.Trailer(r.it.Key())
	r.seek = append(r.seek[:0], r.res.row...)
	switch kind {
	case base.KindDeleteRow:
	case base.KindDeleteFamily:
		if r.res.familyID&0xff == 0xff {
			return // the end of its prefix takes more than one byte
		}
		r.seek = binary.BigEndian.AppendUint32(r.seek, uint32(r.res.familyID))
	default:
		return
	}
	s.SkipPrefix(r.seek, seq)
}

func ofRowOrFamily(key []byte) bool {
	_, kind := base.Trailer(key)
	return kind == base.KindDeleteRow || kind == base.KindDeleteFamily
}

// take makes the current entry the current cell.
func (r *Reader) take(value []byte) bool {
	q, err := r.res.qualifier()
	if err != nil {
		return r.fail(err)
	}
	r.cell = rowfilter.Cell{
		Family: r.res.family.Name, FamilyID: r.res.familyID, Qualifier: q,
		Timestamp: r.res.ts, Value: value,
	}
	return true
}

// fold reads the operands of an aggregate cell, of which the iterator stands
// on the first.
func (r *Reader) fold() bool {
	r.acc = aggregate.Accumulator{Type: r.res.family.Aggregate}
	ts := r.res.ts
	for {
		if err := r.acc.Add(r.it.Value()); err != nil {
			return r.fail(err)
		}
		more, err := r.nextOperand(ts)
		if err != nil {
			return r.fail(err)
		}
		if !more {
			break
		}
	}
	r.folds = r.acc.AppendValue(r.folds[:0])
	return r.take(r.folds) // nothing else of this column was classified: ts is still the cell's
}

// nextOperand moves to the next visible operand of the current cell; false: it
// has no more, and the iterator stands on an entry that is not classified.
func (r *Reader) nextOperand(ts int64) (bool, error) {
	for {
		r.valid = r.it.Next()
		if !r.valid {
			return false, nil
		}
		key := r.it.Key()
		n := len(r.res.row) + len(r.res.column)
		if !r.res.sameRow(key) || !bytes.HasPrefix(key[len(r.res.row):], r.res.column) ||
			len(key) != n+17 || int64(^binary.BigEndian.Uint64(key[n+1:])) != ts {
			r.fresh = true
			return false, nil
		}
		c, err := r.res.classify(key, r.it.Value())
		if err != nil {
			return false, err
		}
		if c == operand {
			return true, nil
		}
	}
}

// appendMax appends a key that sorts after every cell key: rows are at most
// 4096 bytes and esc(x) of a run of ff bytes stays a run of ff bytes.
func appendMax(dst []byte) []byte {
	return append(dst, bytes.Repeat([]byte{0xff}, 4097)...)
}
