package mutation

import (
	"encoding/binary"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Record is a decoded row record. It aliases the encoded one.
type Record struct {
	Row []byte
	// Len is the number of ops; op i takes the i-th of the sequence numbers of
	// the record.
	Len int
	ops []byte
	err error
}

// RecordOp is one op of a row record. Its slices alias the record.
type RecordOp struct {
	Kind      base.Kind
	Family    base.FamilyID // 0 for KindDeleteRow
	Qualifier []byte        // of cells and columns
	Timestamp int64         // of cells, microseconds
	// Value of a cell; for KindDeleteColumn the 16 bytes of the time range as
	// they stand in a memtable (base.DecodeTimeRange); for KindDropRows the row
	// where the drop ends.
	Value []byte
	// ServerTime: the server assigned the timestamp. Replay raises the last
	// one assigned in the tablet to the highest it meets (rule R18).
	ServerTime bool

	timeAt int // offset of the timestamp from the start of the op
}

// Decode parses a row record and checks all of it. An error wraps
// base.ErrCorrupt. A record that still needs AssignTime is corrupt.
func Decode(record []byte) (Record, error) {
	r, err := decodeHeader(record)
	if err != nil {
		return Record{}, err
	}
	if NeedsTime(record) {
		return Record{}, corrupt("has timestamps that were never assigned")
	}
	flagged, drop := false, false
	var op RecordOp
	for rest := r.ops; len(rest) > 0; r.Len++ {
		n, err := decodeOp(rest, &op)
		if err != nil {
			return Record{}, err
		}
		flagged = flagged || op.ServerTime
		drop = drop || op.Kind == base.KindDropRows
		rest = rest[n:]
	}
	if r.Len == 0 {
		return Record{}, corrupt("has no ops")
	}
	if drop && r.Len > 1 {
		return Record{}, corrupt("drops rows beside other ops")
	}
	if flagged != (record[1]&flagServerTime != 0) {
		return Record{}, corrupt("flags do not fit the ops")
	}
	return r, nil
}

// Ops returns an iterator over the ops.
func (r *Record) Ops() RecordIter { return RecordIter{rest: r.ops} }

// RecordIter walks the ops of a decoded record.
type RecordIter struct{ rest []byte }

// Next decodes the next op into op; false: there is none.
func (it *RecordIter) Next(op *RecordOp) bool {
	if len(it.rest) == 0 {
		return false
	}
	n, err := decodeOp(it.rest, op)
	if err != nil { // Decode has checked all ops
		panic("mutation: record changed while it was read: " + err.Error())
	}
	it.rest = it.rest[n:]
	return true
}

func corrupt(what string) error { return fmt.Errorf("%w: row record %s", base.ErrCorrupt, what) }

func decodeHeader(record []byte) (Record, error) {
	if len(record) < headerLen {
		return Record{}, corrupt("is too short")
	}
	if record[0] != recordVersion {
		return Record{}, corrupt(fmt.Sprintf("has version %d, want %d", record[0], recordVersion))
	}
	if f := record[1]; f&^knownFlags != 0 || f&flagAssigned != 0 && f&flagServerTime == 0 {
		return Record{}, corrupt(fmt.Sprintf("has unknown flags %#x", f))
	}
	row, ops, ok := cutBytes(record[headerLen:])
	if !ok || len(row) == 0 || len(row) > MaxRowKey {
		return Record{}, corrupt("has no valid row key")
	}
	return Record{Row: row, ops: ops}, nil
}

// decodeOp decodes the op at the start of b and returns its length.
func decodeOp(b []byte, op *RecordOp) (int, error) {
	rest := b[1:]
	kind := base.Kind(b[0] &^ opServerTime)
	*op = RecordOp{Kind: kind, ServerTime: b[0]&opServerTime != 0}
	isCell := kind == base.KindSet || kind == base.KindAdd || kind == base.KindMerge
	if op.ServerTime && !isCell && kind != base.KindDropRows {
		return 0, corrupt("assigns a timestamp to a deletion")
	}
	switch {
	case kind == base.KindDeleteRow:
		return 1, nil
	case kind == base.KindDropRows:
		return decodeDrop(b, op)
	case !isCell && kind != base.KindDeleteColumn && kind != base.KindDeleteFamily:
		return 0, corrupt(fmt.Sprintf("has an op of unknown kind %d", kind))
	}
	f, n := uvarint(rest)
	if n <= 0 || f == 0 || f > 1<<32-1 {
		return 0, corrupt("has no valid family id")
	}
	op.Family, rest = base.FamilyID(f), rest[n:]
	if kind == base.KindDeleteFamily {
		return len(b) - len(rest), nil
	}
	var ok bool
	if op.Qualifier, rest, ok = cutBytes(rest); !ok {
		return 0, corrupt("ends in a qualifier")
	}
	if kind == base.KindDeleteColumn {
		if len(rest) < 16 {
			return 0, corrupt("ends in a time range")
		}
		op.Value = rest[:16:16]
		return len(b) - len(rest) + 16, nil
	}
	if len(rest) < 8 {
		return 0, corrupt("ends in a timestamp")
	}
	op.timeAt = len(b) - len(rest)
	op.Timestamp = int64(binary.BigEndian.Uint64(rest))
	if op.Timestamp < 0 {
		return 0, corrupt("has a negative timestamp")
	}
	if op.Value, rest, ok = cutBytes(rest[8:]); !ok {
		return 0, corrupt("ends in a value")
	}
	return len(b) - len(rest), nil
}

func decodeDrop(b []byte, op *RecordOp) (int, error) {
	end, rest, ok := cutBytes(b[1:])
	if !ok || len(end) > MaxRowKey || len(rest) < 8 || !op.ServerTime {
		return 0, corrupt("has no valid drop of rows")
	}
	op.Value, op.timeAt = end, len(b)-len(rest)
	if op.Timestamp = int64(binary.BigEndian.Uint64(rest)); op.Timestamp < 0 {
		return 0, corrupt("has a negative timestamp")
	}
	return op.timeAt + 8, nil
}

// cutBytes cuts a string with its length before it off b.
func cutBytes(b []byte) (x, rest []byte, ok bool) {
	n, w := uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n) : w+int(n)], b[w+int(n):], true
}

// uvarint is binary.Uvarint, but refuses longer encodings than needed: a record
// has exactly one form.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	v, n := binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, 0
	}
	return v, n
}
