package client

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Timestamp is a cell's timestamp in microseconds since the epoch. Tables keep
// milliseconds unless they were made otherwise.
type Timestamp int64

// ServerTime makes the server choose the timestamp.
const ServerTime Timestamp = -1

// Now returns the present time in whole milliseconds.
func Now() Timestamp { return Time(time.Now()).TruncateToMilliseconds() }

// Time converts t.
func Time(t time.Time) Timestamp { return Timestamp(t.UnixMicro()) }

// Time converts ts.
func (ts Timestamp) Time() time.Time { return time.UnixMicro(int64(ts)) }

// TruncateToMilliseconds rounds down to what most tables keep.
func (ts Timestamp) TruncateToMilliseconds() Timestamp {
	if ts == ServerTime {
		return ts
	}
	return ts - ts%1000
}

// Mutation is changes of one row, applied in order and all or none.
type Mutation struct {
	buf  []byte // the encoded google.bigtable.v2.Mutation messages
	ends []int  // where each ends
	tmp  []byte

	cond          *Filter // not nil: a conditional mutation
	mtrue, mfalse *Mutation
	misused       bool
}

// NewMutation returns a Mutation without changes.
func NewMutation() *Mutation { return &Mutation{} }

// NewCondMutation returns a Mutation that applies mtrue to a row in which cond
// finds a cell, else mfalse. Either may be nil.
func NewCondMutation(cond Filter, mtrue, mfalse *Mutation) *Mutation {
	return &Mutation{cond: &cond, mtrue: mtrue, mfalse: mfalse}
}

// Len returns the number of changes.
func (m *Mutation) Len() int { return len(m.ends) }

// Size returns about how many bytes the changes take.
func (m *Mutation) Size() int { return len(m.buf) }

// Reset drops the changes and keeps the memory.
func (m *Mutation) Reset() {
	m.buf, m.ends = m.buf[:0], m.ends[:0]
	m.cond, m.mtrue, m.mfalse, m.misused = nil, nil, nil, false
}

// Fields of google.bigtable.v2.Mutation.
const (
	fieldSetCell          protowire.Number = 1
	fieldDeleteFromColumn protowire.Number = 2
	fieldDeleteFromFamily protowire.Number = 3
	fieldDeleteFromRow    protowire.Number = 4
	fieldAddToCell        protowire.Number = 5
	fieldMergeToCell      protowire.Number = 6
)

// Set stores a cell.
func (m *Mutation) Set(family, column string, ts Timestamp, value []byte) {
	m.begin()
	m.column(family, column)
	m.varint(3, uint64(ts))
	m.bytes(4, value)
	m.end(fieldSetCell)
}

// DeleteCellsInColumn deletes all cells of a column.
func (m *Mutation) DeleteCellsInColumn(family, column string) {
	m.begin()
	m.column(family, column)
	m.end(fieldDeleteFromColumn)
}

// DeleteTimestampRange deletes the cells of a column with timestamps in
// [start, end); end 0 means no end.
func (m *Mutation) DeleteTimestampRange(family, column string, start, end Timestamp) {
	var r []byte
	if start != 0 {
		r = protowire.AppendTag(r, 1, protowire.VarintType)
		r = protowire.AppendVarint(r, uint64(start))
	}
	if end != 0 {
		r = protowire.AppendTag(r, 2, protowire.VarintType)
		r = protowire.AppendVarint(r, uint64(end))
	}
	m.begin()
	m.column(family, column)
	m.message(3, r)
	m.end(fieldDeleteFromColumn)
}

// DeleteCellsInFamily deletes all cells of a family.
func (m *Mutation) DeleteCellsInFamily(family string) {
	m.begin()
	m.bytes(1, []byte(family))
	m.end(fieldDeleteFromFamily)
}

// DeleteRow deletes the row.
func (m *Mutation) DeleteRow() {
	m.begin()
	m.end(fieldDeleteFromRow)
}

// AddIntToCell adds to a cell of an aggregate family.
func (m *Mutation) AddIntToCell(family, column string, ts Timestamp, delta int64) {
	m.aggregate(family, column, ts, valueOf(6, uint64(delta)))
	m.end(fieldAddToCell)
}

// MergeBytesToCell merges an encoded state into a cell of an aggregate family.
func (m *Mutation) MergeBytesToCell(family, column string, ts Timestamp, state []byte) {
	var v []byte
	v = protowire.AppendTag(v, 8, protowire.BytesType) // raw_value
	m.aggregate(family, column, ts, protowire.AppendBytes(v, state))
	m.end(fieldMergeToCell)
}

func (m *Mutation) aggregate(family, column string, ts Timestamp, input []byte) {
	m.begin()
	m.bytes(1, []byte(family))
	var q []byte
	q = protowire.AppendTag(q, 8, protowire.BytesType) // raw_value
	m.message(2, protowire.AppendString(q, column))
	m.message(3, valueOf(9, uint64(ts))) // raw_timestamp_micros
	m.message(4, input)
}

// valueOf returns a google.bigtable.v2.Value of one integer field.
func valueOf(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func (m *Mutation) begin() { m.tmp = m.tmp[:0] }

func (m *Mutation) column(family, column string) {
	m.tmp = protowire.AppendTag(m.tmp, 1, protowire.BytesType)
	m.tmp = protowire.AppendString(m.tmp, family)
	if column != "" {
		m.tmp = protowire.AppendTag(m.tmp, 2, protowire.BytesType)
		m.tmp = protowire.AppendString(m.tmp, column)
	}
}

func (m *Mutation) varint(num protowire.Number, v uint64) {
	if v != 0 {
		m.tmp = protowire.AppendVarint(protowire.AppendTag(m.tmp, num, protowire.VarintType), v)
	}
}

func (m *Mutation) bytes(num protowire.Number, b []byte) {
	if len(b) > 0 {
		m.message(num, b)
	}
}

// message appends a field even if it is empty.
func (m *Mutation) message(num protowire.Number, b []byte) {
	m.tmp = protowire.AppendBytes(protowire.AppendTag(m.tmp, num, protowire.BytesType), b)
}

// end appends what was begun as the field num of a Mutation.
func (m *Mutation) end(num protowire.Number) {
	m.misused = m.misused || m.cond != nil
	m.buf = protowire.AppendTag(m.buf, num, protowire.BytesType)
	m.buf = protowire.AppendBytes(m.buf, m.tmp)
	m.ends = append(m.ends, len(m.buf))
}

// check refuses what has no meaning; the server checks the rest.
func (m *Mutation) check() error {
	switch {
	case m == nil:
		return fmt.Errorf("%w: no mutation", ErrInvalid)
	case m.misused:
		return fmt.Errorf("%w: changes were added to a conditional mutation; add them to its branches", ErrInvalid)
	case m.cond != nil && (m.mtrue.conditional() || m.mfalse.conditional()):
		return fmt.Errorf("%w: a branch of a conditional mutation is conditional itself", ErrInvalid)
	}
	return nil
}

func (m *Mutation) conditional() bool { return m != nil && m.cond != nil }

// appendTo appends the changes as a repeated field.
func (m *Mutation) appendTo(dst []byte, num protowire.Number) []byte {
	if m == nil {
		return dst
	}
	at := 0
	for _, end := range m.ends {
		dst = protowire.AppendTag(dst, num, protowire.BytesType)
		dst = protowire.AppendBytes(dst, m.buf[at:end])
		at = end
	}
	return dst
}

// entry returns a MutateRowsRequest.Entry.
func (m *Mutation) entry(row string) []byte {
	b := make([]byte, 0, len(m.buf)+len(row)+6*len(m.ends)+8)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, row)
	return m.appendTo(b, 2)
}
