package base

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// Kind says what an entry of a memtable or SSTable means. It is the last byte
// of its key.
type Kind uint8

const (
	// KindSet: the value is the value of the cell.
	KindSet Kind = 1
	// KindDeleteColumn hides the older cells (smaller sequence) of the column
	// whose timestamp lies in the range given by the 16-byte value: start
	// inclusive, end exclusive (0: no end), big-endian microseconds.
	KindDeleteColumn Kind = 2
	// KindDeleteFamily hides all older cells of the family in the row.
	KindDeleteFamily Kind = 3
	// KindDeleteRow hides all older cells of the row.
	KindDeleteRow Kind = 4
	// KindAdd is an operand of an aggregate cell: an input to be added.
	KindAdd Kind = 5
	// KindMerge is an operand of an aggregate cell: a state to be merged.
	KindMerge Kind = 6
	// KindDropRows hides all older cells of a range of rows. It is an op of row
	// records only: in a tablet, drops are kept apart from the entries.
	KindDropRows Kind = 7
)

// SystemFamily holds hidden cells that must live and move with the row they
// belong to, such as the ids of requests already applied (rule R13). No
// filter, scan or schema shows it.
const SystemFamily FamilyID = 1<<32 - 1

// SystemRetention is how long cells of SystemFamily are kept, at least. Who
// relies on them stops well before: clocks differ.
const SystemRetention = 15 * time.Minute

// A cell key is the memcomparable form of
//
//	row, family, qualifier, timestamp (newest first), sequence (newest first), kind
//
// so that bytes.Compare is the order of every memtable and SSTable, and that
// what deletes a thing sorts directly before it:
//
//	row-level:     esc(row) 00000000                                    trailer
//	family-level:  esc(row) ffffffff 00                                 trailer
//	column-level:  esc(row) ffffffff 01 esc(qualifier) 00               trailer
//	cell:          esc(row) ffffffff 01 esc(qualifier) 01 ^timestamp(8) trailer
//
// ffffffff is the family id, big-endian, and trailer is 8 bytes, big-endian:
// the inverted sequence number in the upper 56 bits, the kind in the lower 8.
// esc(x) replaces each byte 00 by 00 FF and ends with 00 01.

const (
	levelFamily = 0x00
	levelColumn = 0x01
	levelDelete = 0x00
	levelCell   = 0x01

	trailerLen = 8
)

// AppendRowPrefix appends esc(row): the prefix of exactly the keys of the row.
func AppendRowPrefix(dst, row []byte) []byte { return appendEscaped(dst, row) }

// AppendRowEnd appends a key that sorts after every key of the row and before
// every key of the next possible row.
func AppendRowEnd(dst, row []byte) []byte {
	dst = appendEscaped(dst, row)
	dst[len(dst)-1] = 0x02 // 00 02: after the terminator 00 01, before 00 FF
	return dst
}

// AppendFamilyPrefix appends the prefix of exactly the keys of the family in
// the row.
func AppendFamilyPrefix(dst, row []byte, f FamilyID) []byte {
	return binary.BigEndian.AppendUint32(appendEscaped(dst, row), uint32(f))
}

// AppendColumnPrefix appends the prefix of exactly the keys of the column.
func AppendColumnPrefix(dst, row []byte, f FamilyID, qualifier []byte) []byte {
	dst = append(AppendFamilyPrefix(dst, row, f), levelColumn)
	return appendEscaped(dst, qualifier)
}

// AppendColumnStart appends a key that sorts at or before every column of the
// family with a qualifier >= the one given, and after all smaller ones.
func AppendColumnStart(dst, row []byte, f FamilyID, qualifier []byte) []byte {
	return AppendColumnPrefix(dst, row, f, qualifier)
}

// AppendCellKey appends the key of a cell (KindSet, KindAdd, KindMerge). The
// timestamp is in microseconds and not negative.
func AppendCellKey(dst, row []byte, f FamilyID, qualifier []byte, timestamp int64, seq Seq, k Kind) []byte {
	dst = append(AppendColumnPrefix(dst, row, f, qualifier), levelCell)
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(timestamp))
	return appendTrailer(dst, seq, k)
}

// AppendDeleteColumnKey appends the key of a KindDeleteColumn entry.
func AppendDeleteColumnKey(dst, row []byte, f FamilyID, qualifier []byte, seq Seq) []byte {
	dst = append(AppendColumnPrefix(dst, row, f, qualifier), levelDelete)
	return appendTrailer(dst, seq, KindDeleteColumn)
}

// AppendDeleteFamilyKey appends the key of a KindDeleteFamily entry.
func AppendDeleteFamilyKey(dst, row []byte, f FamilyID, seq Seq) []byte {
	dst = append(AppendFamilyPrefix(dst, row, f), levelFamily)
	return appendTrailer(dst, seq, KindDeleteFamily)
}

// AppendDeleteRowKey appends the key of a KindDeleteRow entry.
func AppendDeleteRowKey(dst, row []byte, seq Seq) []byte {
	return appendTrailer(AppendFamilyPrefix(dst, row, 0), seq, KindDeleteRow)
}

// AppendTimeRange appends the value of a KindDeleteColumn entry.
func AppendTimeRange(dst []byte, start, end int64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(start))
	return binary.BigEndian.AppendUint64(dst, uint64(end))
}

// DecodeTimeRange is the inverse of AppendTimeRange.
func DecodeTimeRange(v []byte) (start, end int64, err error) {
	if len(v) != 16 {
		return 0, 0, fmt.Errorf("%w: time range of %d bytes", ErrCorrupt, len(v))
	}
	return int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:])), nil
}

// RowPrefixLen returns the length of esc(row) at the start of key, or -1 where
// key holds none.
func RowPrefixLen(key []byte) int { return escapedLen(key) }

// ColumnPrefixLen returns the length of the prefix of key that
// AppendColumnPrefix makes, or the length of its row prefix plus family where
// the key is of row or family level. -1: not a cell key.
func ColumnPrefixLen(key []byte) int {
	n := escapedLen(key)
	if n < 0 || len(key) < n+4+trailerLen {
		return -1
	}
	n += 4
	if len(key) == n+trailerLen || key[n] == levelFamily {
		return n
	}
	q := escapedLen(key[n+1:])
	if q < 0 {
		return -1
	}
	return n + 1 + q
}

// Trailer returns the sequence number and kind at the end of a cell key, which
// must be one.
func Trailer(key []byte) (Seq, Kind) {
	t := binary.BigEndian.Uint64(key[len(key)-trailerLen:])
	return Seq(^t >> 8), Kind(t)
}

// Key is a decoded cell key. Row and Qualifier alias the encoded key where it
// holds no escape, else they are fresh copies.
type Key struct {
	Row       []byte
	Family    FamilyID // 0 for KindDeleteRow
	Qualifier []byte   // nil for KindDeleteRow and KindDeleteFamily
	Timestamp int64    // of cells; else 0
	Seq       Seq
	Kind      Kind
}

// DecodeKey parses a cell key. An error wraps ErrCorrupt.
func DecodeKey(key []byte) (Key, error) {
	var k Key
	row, rest, ok := unescape(key)
	if !ok || len(rest) < 4+trailerLen {
		return k, corruptKey(key)
	}
	k.Row = row
	k.Seq, k.Kind = Trailer(key)
	k.Family = FamilyID(binary.BigEndian.Uint32(rest))
	return k, k.decodeColumn(key, rest[4:len(rest)-trailerLen])
}

// DecodeColumn parses what follows the row in a cell key whose row prefix is
// n bytes long (RowPrefixLen); Row stays nil.
func DecodeColumn(key []byte, n int) (Key, error) {
	var k Key
	if n < 0 || len(key) < n+4+trailerLen {
		return k, corruptKey(key)
	}
	k.Seq, k.Kind = Trailer(key)
	k.Family = FamilyID(binary.BigEndian.Uint32(key[n:]))
	return k, k.decodeColumn(key, key[n+4:len(key)-trailerLen])
}

// decodeColumn parses what stands between family and trailer.
func (k *Key) decodeColumn(key, mid []byte) error {
	switch {
	case len(mid) == 0:
		if k.Family != 0 || k.Kind != KindDeleteRow {
			return corruptKey(key)
		}
		return nil
	case mid[0] == levelFamily:
		if len(mid) != 1 || k.Kind != KindDeleteFamily {
			return corruptKey(key)
		}
		return nil
	}
	q, rest, ok := unescape(mid[1:])
	if !ok || len(rest) == 0 || mid[0] != levelColumn {
		return corruptKey(key)
	}
	k.Qualifier = q
	switch {
	case rest[0] == levelDelete && len(rest) == 1 && k.Kind == KindDeleteColumn:
		return nil
	case rest[0] == levelCell && len(rest) == 9 && (k.Kind == KindSet || k.Kind == KindAdd || k.Kind == KindMerge):
		k.Timestamp = int64(^binary.BigEndian.Uint64(rest[1:]))
		return nil
	}
	return corruptKey(key)
}

// DecodeRow returns the row of a cell key or of a row prefix; it aliases key
// where it can.
func DecodeRow(key []byte) ([]byte, error) {
	row, _, ok := unescape(key)
	if !ok {
		return nil, corruptKey(key)
	}
	return row, nil
}

func corruptKey(key []byte) error { return fmt.Errorf("%w: cell key %x", ErrCorrupt, key) }

func appendTrailer(dst []byte, seq Seq, k Kind) []byte {
	return binary.BigEndian.AppendUint64(dst, ^uint64(seq)<<8|uint64(k))
}

// appendEscaped appends esc(x).
func appendEscaped(dst, x []byte) []byte {
	for {
		i := bytes.IndexByte(x, 0)
		if i < 0 {
			break
		}
		dst = append(append(dst, x[:i]...), 0x00, 0xff)
		x = x[i+1:]
	}
	return append(append(dst, x...), 0x00, 0x01)
}

// escapedLen returns the length of the escaped string at the start of b,
// terminator included, or -1.
func escapedLen(b []byte) int {
	for i := 0; ; {
		j := bytes.IndexByte(b[i:], 0)
		if j < 0 || i+j+1 >= len(b) {
			return -1
		}
		i += j + 2
		switch b[i-1] {
		case 0x01:
			return i
		case 0xff:
		default:
			return -1
		}
	}
}

// unescape is the inverse of appendEscaped; x aliases b where nothing was
// escaped.
func unescape(b []byte) (x, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 || i+1 >= len(b) {
		return nil, nil, false
	}
	if b[i+1] == 0x01 {
		return b[:i:i], b[i+2:], true
	}
	n := escapedLen(b)
	if n < 0 {
		return nil, nil, false
	}
	x = bytes.ReplaceAll(b[:n-2], []byte{0x00, 0xff}, []byte{0x00})
	return x, b[n:], true
}
