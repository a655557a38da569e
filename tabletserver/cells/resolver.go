// Package cells gives the sorted entries of a tablet their meaning: which are
// cells that can be seen, which are hidden by a deletion, a newer write or a
// garbage-collection rule. Reads (Reader) and compactions (Compactor) decide by
// the same Resolver.
package cells

import (
	"bytes"
	"encoding/binary"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// class is the meaning of one entry.
type class uint8

const (
	hidden    class = iota + 1 // nobody can see it, now or later
	future                     // above the snapshot
	tombstone                  // hides older entries
	cell                       // a visible cell
	operand                    // part of a visible aggregate cell
)

// span is a deletion in one column: older cells with timestamps in [start,
// end), end 0 meaning no end.
type span struct {
	seq        base.Seq
	start, end int64
}

// resolver classifies the entries of a tablet, which are fed to it in order
// (gaps allowed, as after seeks, as long as the tombstones of a row, family or
// column are fed before its cells).
type resolver struct {
	schema   *schema.Schema
	snapshot base.Seq
	now      int64 // microseconds
	// reads: cells of the system family are hidden.
	reads bool

	// The row, family and column of the last entry; row and column are
	// prefixes of its key, copied.
	row      []byte // esc(row)
	rowDel   base.Seq
	familyID base.FamilyID // 0: none yet
	family   *schema.Family
	famDel   base.Seq
	column   []byte // from the family id on: family 01 esc(qualifier)
	colDel   []span
	versions int   // visible cells of the column before the current one
	ts       int64 // of the current cell
	inCell   bool  // ts and versions describe a cell of this column
	cellLive bool  // that cell is visible

	// columnDone: nothing further in the column is visible, whatever comes.
	columnDone bool
	// familyDone: the same for the family.
	familyDone bool
}

// reset prepares r for another pass.
func (r *resolver) reset() {
	r.row = r.row[:0]
	r.startRow(nil)
}

func (r *resolver) startRow(prefix []byte) {
	r.row = append(r.row[:0], prefix...)
	r.rowDel = 0
	r.familyID, r.family, r.famDel, r.familyDone = 0, nil, 0, false
	r.startColumn(nil)
}

func (r *resolver) startFamily(id base.FamilyID) {
	r.familyID, r.family, r.famDel = id, r.schema.ByID(id), 0
	r.familyDone = r.family == nil && (r.reads || id != base.SystemFamily)
	r.startColumn(nil)
}

func (r *resolver) startColumn(prefix []byte) {
	r.column = append(r.column[:0], prefix...)
	r.colDel = r.colDel[:0]
	r.versions, r.inCell, r.cellLive = 0, false, false
	r.columnDone = false
}

// sameRow reports whether key belongs to the current row. Prefixes of rows are
// prefix-free, so that a comparison suffices.
func (r *resolver) sameRow(key []byte) bool {
	return len(r.row) > 0 && bytes.HasPrefix(key, r.row)
}

// classify takes the next entry. The caller has called startRow for its row.
// value is needed of KindDeleteColumn only.
func (r *resolver) classify(key, value []byte) (class, error) {
	rest := key[len(r.row):]
	if len(rest) < 12 { // family and trailer
		return 0, corrupt(key)
	}
	seq, kind := base.Trailer(key)
	if seq > r.snapshot {
		return future, nil
	}
	if kind == base.KindDeleteRow {
		if seq <= r.rowDel {
			return hidden, nil
		}
		r.rowDel = seq
		return tombstone, nil
	}
	if id := base.FamilyID(binary.BigEndian.Uint32(rest)); id != r.familyID {
		r.startFamily(id)
	}
	if kind == base.KindDeleteFamily {
		if r.familyDone || seq <= r.rowDel || seq <= r.famDel {
			return hidden, nil
		}
		r.famDel = seq
		return tombstone, nil
	}
	if len(r.column) == 0 || !bytes.HasPrefix(rest, r.column) {
		n := base.ColumnPrefixLen(key)
		if n < len(r.row)+4 {
			return 0, corrupt(key)
		}
		r.startColumn(key[len(r.row):n])
	}
	// A request that was applied was applied, whatever became of the row.
	if r.familyDone || r.familyID != base.SystemFamily && (seq <= r.rowDel || seq <= r.famDel) {
		return hidden, nil
	}
	return r.classifyInColumn(key, value, seq, kind)
}

func (r *resolver) classifyInColumn(key, value []byte, seq base.Seq, kind base.Kind) (class, error) {
	mid := key[len(r.row)+len(r.column) : len(key)-8]
	switch kind {
	case base.KindDeleteColumn:
		start, end, err := base.DecodeTimeRange(value)
		if err != nil || len(mid) != 1 {
			return 0, corrupt(key)
		}
		for _, d := range r.colDel {
			if d.seq >= seq && d.start <= start && (d.end == 0 || (end != 0 && end <= d.end)) {
				return hidden, nil
			}
		}
		r.colDel = append(r.colDel, span{seq, start, end})
		return tombstone, nil
	case base.KindSet, base.KindAdd, base.KindMerge:
		if len(mid) != 9 {
			return 0, corrupt(key)
		}
	default:
		return 0, corrupt(key)
	}
	ts := int64(^binary.BigEndian.Uint64(mid[1:]))
	if r.columnDone {
		return hidden, nil
	}
	for _, d := range r.colDel {
		if seq <= d.seq && ts >= d.start && (d.end == 0 || ts < d.end) {
			return hidden, nil
		}
	}
	return r.classifyCell(ts), nil
}

// classifyCell takes an entry that no deletion hides.
func (r *resolver) classifyCell(ts int64) class {
	folds := r.family != nil && r.family.Aggregate != aggregate.None
	if r.inCell && r.ts == ts {
		if folds && r.cellLive {
			return operand
		}
		return hidden // overwritten
	}
	if r.inCell && r.cellLive {
		r.versions++
	}
	r.inCell, r.ts = true, ts
	r.cellLive = !r.drop(ts)
	if !r.cellLive {
		r.columnDone = true // rules are monotone: what is older goes as well
		return hidden
	}
	if folds {
		return operand
	}
	return cell
}

func (r *resolver) drop(ts int64) bool {
	if r.familyID == base.SystemFamily {
		return ts < r.now-base.SystemRetention.Microseconds()
	}
	return r.family.GC.Drop(r.versions, ts, r.now)
}

// qualifier decodes the qualifier of the current column.
func (r *resolver) qualifier() ([]byte, error) {
	// column is family(4) 01 esc(qualifier), and esc is the form of rows.
	return base.DecodeRow(r.column[5:])
}
