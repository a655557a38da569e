package base

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// TableID names a table for ever; it is never reused, not even when a table of
// the same name is created again.
type TableID uint64

// TabletID names a tablet for ever. Splits and merges make new tablets with
// new ids (rules R8 and R9).
type TabletID uint64

// LoadID names a bulk load for ever.
type LoadID uint64

// FamilyID names a column family within its table. Ids start at 1, rise with
// each family created and are never reused, so that a family which is dropped
// and created again does not show old cells. Cells of a row are ordered by
// family id.
type FamilyID uint32

// Epoch is a tablet epoch ("tepoch"): it rises by one each time the ownership
// of a tablet changes. At most one incarnation ever acknowledges writes for an
// epoch of a tablet (invariant T1).
type Epoch uint64

// Seq is a tablet sequence number. Every mutation of a record gets one; a
// record of n mutations takes the n numbers [First, First+n). Sequence numbers
// rise strictly within a tablet, over all its owners. 0 is before every record.
type Seq uint64

// MaxSeq is above every sequence number in use.
const MaxSeq Seq = 1<<56 - 1

// Position numbers the objects of one commit log, from 0, without holes.
type Position uint64

// Incarnation names one life of one process: it is the id of its session with
// the lock service, won once and never reused, not even after the lock service
// was restored from an old backup (rule R17). The zero Incarnation means
// "none".
type Incarnation struct {
	Generation uint32 // of the lock service; won by create-if-absent of CLUSTER/<generation>
	Index      uint64 // Raft index at which the session was registered
}

// IsZero reports whether e names no incarnation.
func (e Incarnation) IsZero() bool { return e == Incarnation{} }

// String returns e as "<generation>-<index>", the form used in object names,
// in keys of the lock service and in logs, or "none".
func (e Incarnation) String() string {
	if e.IsZero() {
		return "none"
	}
	return strconv.FormatUint(uint64(e.Generation), 10) + "-" + strconv.FormatUint(e.Index, 10)
}

// Compare orders incarnations by generation, then index.
func (e Incarnation) Compare(o Incarnation) int {
	switch {
	case e.Generation != o.Generation:
		if e.Generation < o.Generation {
			return -1
		}
		return 1
	case e.Index < o.Index:
		return -1
	case e.Index > o.Index:
		return 1
	}
	return 0
}

// ParseIncarnation is the inverse of Incarnation.String.
func ParseIncarnation(s string) (Incarnation, error) {
	if s == "none" {
		return Incarnation{}, nil
	}
	g, i, ok := strings.Cut(s, "-")
	gen, err1 := strconv.ParseUint(g, 10, 32)
	idx, err2 := strconv.ParseUint(i, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Incarnation{}, fmt.Errorf("incarnation %q: want <generation>-<index>", s)
	}
	return Incarnation{Generation: uint32(gen), Index: idx}, nil
}

// AppendIncarnation appends the 12-byte big-endian form of e.
func AppendIncarnation(dst []byte, e Incarnation) []byte {
	dst = binary.BigEndian.AppendUint32(dst, e.Generation)
	return binary.BigEndian.AppendUint64(dst, e.Index)
}

// FileNumber names an SSTable or manifest together with its creator: files are
// called <creator>-<number>, from one counter per incarnation (rule R12).
type FileNumber struct {
	Creator Incarnation
	Number  uint64
}

// IsZero reports whether f names no file.
func (f FileNumber) IsZero() bool { return f == FileNumber{} }

// String returns "<generation>-<index>-<number>", or "none".
func (f FileNumber) String() string {
	if f.IsZero() {
		return "none"
	}
	return f.Creator.String() + "-" + strconv.FormatUint(f.Number, 10)
}

// ParseFileNumber is the inverse of FileNumber.String.
func ParseFileNumber(s string) (FileNumber, error) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return FileNumber{}, fmt.Errorf("file number %q: want <generation>-<index>-<number>", s)
	}
	e, err := ParseIncarnation(s[:i])
	if err != nil {
		return FileNumber{}, fmt.Errorf("file number %q: %w", s, err)
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 64)
	if err != nil {
		return FileNumber{}, fmt.Errorf("file number %q: want <generation>-<index>-<number>", s)
	}
	return FileNumber{Creator: e, Number: n}, nil
}
