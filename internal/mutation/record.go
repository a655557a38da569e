package mutation

import (
	"encoding/binary"

	"github.com/tabletdb/tabletdb/internal/base"
)

// A row record is
//
//	version  1 byte: 1
//	flags    1 byte: 1 some timestamps are the server's, 2 they are assigned
//	row      uvarint length, bytes
//	ops      to the end, at least one
//
// and an op is its kind (a base.Kind; 0x80 is added where the timestamp is the
// server's) followed by
//
//	KindSet, KindAdd, KindMerge: family, qualifier, timestamp, uvarint length, value
//	KindDeleteColumn:            family, qualifier, start, end
//	KindDeleteFamily:            family
//	KindDeleteRow:
//	KindDropRows:                uvarint length, end row, timestamp
//
// with the family id as uvarint, the qualifier as uvarint length and bytes, and
// timestamps as 8 bytes, big-endian, microseconds, so that the server's can be
// filled in where they stand. docs/format/record.md says it in full.
const (
	recordVersion = 1

	flagServerTime = 1
	flagAssigned   = 2
	knownFlags     = flagServerTime | flagAssigned

	opServerTime = 0x80

	headerLen = 2 // version and flags
)

// Builder appends one row record to a buffer, op by op, for writers that have
// no request at hand, such as a read-modify-write. It checks nothing. The
// family ids are the schema's, or base.SystemFamily.
type Builder struct {
	buf   []byte
	start int
	n     int
}

// NewBuilder begins a record about row behind what dst holds.
func NewBuilder(dst, row []byte) Builder {
	b := Builder{start: len(dst)}
	b.buf = append(dst, recordVersion, 0)
	b.buf = appendBytes(b.buf, row)
	return b
}

// Len returns the number of ops appended, each of which takes one sequence
// number.
func (b *Builder) Len() int { return b.n }

// Bytes returns the buffer given to NewBuilder with the record behind it.
func (b *Builder) Bytes() []byte { return b.buf }

// Cell appends a KindSet, KindAdd or KindMerge with a timestamp in
// microseconds.
func (b *Builder) Cell(k base.Kind, f base.FamilyID, qualifier []byte, timestamp int64, value []byte) {
	b.cell(byte(k), f, qualifier, timestamp, value)
}

// CellAtServerTime appends a cell whose timestamp AssignTime fills in.
func (b *Builder) CellAtServerTime(k base.Kind, f base.FamilyID, qualifier, value []byte) {
	b.buf[b.start+1] |= flagServerTime
	b.cell(byte(k)|opServerTime, f, qualifier, 0, value)
}

func (b *Builder) cell(k byte, f base.FamilyID, qualifier []byte, timestamp int64, value []byte) {
	b.column(k, f, qualifier)
	b.buf = binary.BigEndian.AppendUint64(b.buf, uint64(timestamp))
	b.buf = appendBytes(b.buf, value)
	b.n++
}

// DeleteColumn appends the deletion of the cells of a column with timestamps
// in [start, end), in microseconds; end 0: no end.
func (b *Builder) DeleteColumn(f base.FamilyID, qualifier []byte, start, end int64) {
	b.column(byte(base.KindDeleteColumn), f, qualifier)
	b.buf = base.AppendTimeRange(b.buf, start, end)
	b.n++
}

// DeleteFamily appends the deletion of all cells of a family in the row.
func (b *Builder) DeleteFamily(f base.FamilyID) {
	b.buf = binary.AppendUvarint(append(b.buf, byte(base.KindDeleteFamily)), uint64(f))
	b.n++
}

// DeleteRow appends the deletion of all cells of the row.
func (b *Builder) DeleteRow() {
	b.buf = append(b.buf, byte(base.KindDeleteRow))
	b.n++
}

// DropRows appends the deletion of all rows from the record's to end, which is
// not among them; empty: there is no end. AssignTime fills in its time. It is
// the only op of its record.
func (b *Builder) DropRows(end []byte) {
	b.buf[b.start+1] |= flagServerTime
	b.buf = appendBytes(append(b.buf, byte(base.KindDropRows)|opServerTime), end)
	b.buf = binary.BigEndian.AppendUint64(b.buf, 0)
	b.n++
}

func (b *Builder) column(k byte, f base.FamilyID, qualifier []byte) {
	b.buf = binary.AppendUvarint(append(b.buf, k), uint64(f))
	b.buf = appendBytes(b.buf, qualifier)
}

func appendBytes(dst, x []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(x))), x...)
}

// NeedsTime reports whether AssignTime has to be called before the record is
// logged or applied.
func NeedsTime(record []byte) bool {
	return len(record) >= headerLen && record[1]&(flagServerTime|flagAssigned) == flagServerTime
}

// AssignTime fills in every timestamp of the record that is the server's to
// choose, in place; all of them get the same. The caller makes it a multiple of
// the table's unit that is above the last one assigned in the tablet (rule
// R18). A record without such timestamps stays as it is. The record must come
// from AppendRecord or a Builder; an error wraps base.ErrCorrupt.
func AssignTime(record []byte, timestamp int64) error {
	if !NeedsTime(record) {
		return nil
	}
	r, err := decodeHeader(record)
	if err != nil {
		return err
	}
	for ops := r.ops; len(ops) > 0; {
		var op RecordOp
		n, err := decodeOp(ops, &op)
		if err != nil {
			return err
		}
		if op.ServerTime {
			binary.BigEndian.PutUint64(ops[op.timeAt:], uint64(timestamp))
		}
		ops = ops[n:]
	}
	record[1] |= flagAssigned
	return nil
}
