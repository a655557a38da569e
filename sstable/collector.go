package sstable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/bloom"
)

// collector checks the keys of a file, in order, and gathers its properties and
// filters. Writer and Verify share it.
type collector struct {
	props    Properties
	families map[base.FamilyID]*uint64
	family   *uint64 // count of the family of the last key
	familyID base.FamilyID
	rows     bloom.Builder
	columns  bloom.Builder

	last   []byte // the last key
	rowLen int    // its row prefix
	colLen int    // its column prefix
	column bool   // it is of column level or a cell
}

func newCollector(f base.FileNumber) *collector {
	return &collector{
		props:    Properties{File: f, MinTimestamp: math.MaxInt64, MaxTimestamp: math.MinInt64, MinSeq: base.MaxSeq},
		families: map[base.FamilyID]*uint64{},
	}
}

// add takes the next entry and returns how many bytes its key has in common
// with the one before. An error wraps base.ErrInvalid.
func (c *collector) add(key, value []byte) (shared int, err error) {
	shared = commonPrefix(c.last, key)
	if c.props.Entries > 0 && (shared == len(key) || shared < len(c.last) && key[shared] < c.last[shared]) {
		return 0, fmt.Errorf("%w: cell key %x does not sort after %x", base.ErrInvalid, key, c.last)
	}
	seq, kind, err := c.split(key, shared)
	if err != nil {
		return 0, err
	}
	p := &c.props
	p.Entries++
	p.ByKind[kind]++
	if c.family != nil {
		*c.family++
	}
	p.RawKeyBytes += uint64(len(key))
	p.RawValueBytes += uint64(len(value))
	p.MinSeq, p.MaxSeq = min(p.MinSeq, seq), max(p.MaxSeq, seq)
	c.last = append(c.last[:shared], key[shared:]...)
	return shared, nil
}

// split finds the prefixes of a key that shares so many bytes with the last
// one, counts them where they are new, and checks the form of the rest.
func (c *collector) split(key []byte, shared int) (base.Seq, base.Kind, error) {
	first := c.props.Entries == 0
	if first || !c.column || shared < c.colLen {
		rowLen, colLen := base.RowPrefixLen(key), base.ColumnPrefixLen(key)
		if colLen < 0 {
			return 0, 0, fmt.Errorf("%w: %x is not a cell key", base.ErrInvalid, key)
		}
		c.column = colLen > rowLen+4
		newRow := first || rowLen != c.rowLen || shared < rowLen
		if newRow {
			c.props.Rows++
			c.rows.Add(bloom.Hash(key[:rowLen]))
		}
		if newRow || !bytes.Equal(key[:colLen], c.last[:c.colLen]) {
			c.props.Columns++
			c.columns.Add(bloom.Hash(key[:colLen]))
			c.setFamily(key, rowLen)
		}
		c.rowLen, c.colLen = rowLen, colLen
	}
	return c.checkRest(key)
}

func (c *collector) setFamily(key []byte, rowLen int) {
	f := base.FamilyID(binary.BigEndian.Uint32(key[rowLen:]))
	c.familyID = f
	if f == 0 {
		c.family = nil
		return
	}
	if c.family = c.families[f]; c.family == nil {
		c.family = new(uint64)
		c.families[f] = c.family
	}
}

// checkRest checks what follows the column prefix of key and takes in the
// timestamp of a cell.
func (c *collector) checkRest(key []byte) (base.Seq, base.Kind, error) {
	seq, kind := base.Trailer(key)
	rest := key[c.colLen:]
	ok := false
	switch {
	case !c.column && len(rest) == 8:
		ok = kind == base.KindDeleteRow && c.colLen == c.rowLen+4 && c.family == nil
	case !c.column:
		ok = kind == base.KindDeleteFamily && len(rest) == 9 && rest[0] == 0
	case len(rest) == 9:
		ok = kind == base.KindDeleteColumn && rest[0] == 0
	case len(rest) == 17:
		ok = rest[0] == 1 && (kind == base.KindSet || kind == base.KindAdd || kind == base.KindMerge)
		ts := int64(^binary.BigEndian.Uint64(rest[1:]))
		if ok {
			c.props.MinTimestamp = min(c.props.MinTimestamp, ts)
			c.props.MaxTimestamp = max(c.props.MaxTimestamp, ts)
		}
	}
	if !ok {
		return 0, 0, fmt.Errorf("%w: %x is not a cell key", base.ErrInvalid, key)
	}
	return seq, kind, nil
}

// finish returns the properties of all keys.
func (c *collector) finish() Properties {
	p := c.props
	if p.Entries == 0 {
		p.MinSeq = 0
	}
	p.MaxKey = slices.Clone(c.last)
	for _, f := range slices.Sorted(maps.Keys(c.families)) {
		p.Families = append(p.Families, FamilyCount{f, *c.families[f]})
	}
	return p
}

// commonPrefix returns the length of the longest common prefix of a and b.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]); i += 8 {
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
