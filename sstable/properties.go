package sstable

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// Properties tell about a file as a whole.
type Properties struct {
	// File is the name the file was made under.
	File base.FileNumber
	// Entries, Rows and Columns count what is stored. A family or row that
	// holds deletions of its own level counts one column for them.
	Entries, Rows, Columns uint64
	// ByKind counts the entries of each base.Kind.
	ByKind [base.KindMerge + 1]uint64
	// Families counts the entries of each family, ascending; deletions of
	// rows belong to none.
	Families []FamilyCount
	// RawKeyBytes and RawValueBytes are before compression; DataBytes is the
	// length of all data blocks with their trailers.
	RawKeyBytes, RawValueBytes, DataBytes, Blocks uint64
	// MinKey and MaxKey are the first and the last cell key.
	MinKey, MaxKey []byte
	// MinTimestamp and MaxTimestamp bound the timestamps of the cells, in
	// microseconds; Min > Max: there is no cell, but only deletions.
	MinTimestamp, MaxTimestamp int64
	// MinSeq and MaxSeq bound the sequence numbers; both 0 where empty.
	MinSeq, MaxSeq base.Seq
	// Compression is what the writer was asked for; a block may be stored raw.
	Compression compress.Type
	// Group is the locality group that the file was written for; for people.
	Group string
}

// FamilyCount is the number of entries of one family.
type FamilyCount struct {
	Family  base.FamilyID
	Entries uint64
}

// Tombstones returns the number of entries that delete others.
func (p *Properties) Tombstones() uint64 {
	return p.ByKind[base.KindDeleteColumn] + p.ByKind[base.KindDeleteFamily] + p.ByKind[base.KindDeleteRow]
}

// Tags of the properties block. A reader skips tags it does not know; they are
// never reused.
const (
	tagFile = 1 + iota
	tagEntries
	tagRows
	tagColumns
	tagByKind
	tagFamilies
	tagRawKeyBytes
	tagRawValueBytes
	tagDataBytes
	tagBlocks
	tagMinKey
	tagMaxKey
	tagMinTimestamp
	tagMaxTimestamp
	tagMinSeq
	tagMaxSeq
	tagCompression
	tagGroup
)

// numbers are the properties that are one unsigned integer.
func (p *Properties) numbers() map[uint64]*uint64 {
	return map[uint64]*uint64{
		tagEntries: &p.Entries, tagRows: &p.Rows, tagColumns: &p.Columns,
		tagRawKeyBytes: &p.RawKeyBytes, tagRawValueBytes: &p.RawValueBytes,
		tagDataBytes: &p.DataBytes, tagBlocks: &p.Blocks,
		tagMinSeq: (*uint64)(&p.MinSeq), tagMaxSeq: (*uint64)(&p.MaxSeq),
	}
}

// appendTo appends the properties block: tag(uvarint) len(uvarint) value, with
// ascending tags.
func (p *Properties) appendTo(dst []byte) []byte {
	numbers := p.numbers()
	var v []byte
	for tag := uint64(tagFile); tag <= tagGroup; tag++ {
		if tag == tagGroup && p.Group == "" {
			continue
		}
		v = v[:0]
		switch tag {
		case tagFile:
			v = binary.BigEndian.AppendUint64(base.AppendIncarnation(v, p.File.Creator), p.File.Number)
		case tagByKind:
			for _, n := range p.ByKind {
				v = binary.AppendUvarint(v, n)
			}
		case tagFamilies:
			for _, f := range p.Families {
				v = binary.AppendUvarint(binary.AppendUvarint(v, uint64(f.Family)), f.Entries)
			}
		case tagMinKey:
			v = append(v, p.MinKey...)
		case tagMaxKey:
			v = append(v, p.MaxKey...)
		case tagMinTimestamp:
			v = binary.AppendVarint(v, p.MinTimestamp)
		case tagMaxTimestamp:
			v = binary.AppendVarint(v, p.MaxTimestamp)
		case tagCompression:
			v = append(v, byte(p.Compression))
		case tagGroup:
			v = append(v, p.Group...)
		default:
			v = binary.AppendUvarint(v, *numbers[tag])
		}
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, tag), uint64(len(v)))
		dst = append(dst, v...)
	}
	return dst
}

// parseProperties is the inverse of appendTo. The keys alias b. An error wraps
// base.ErrCorrupt.
func parseProperties(b []byte) (Properties, error) {
	var p Properties
	numbers := p.numbers()
	last := uint64(0)
	for len(b) > 0 {
		d := decoder{b: b}
		tag := d.uvarint()
		v := d.bytes(d.uvarint())
		if d.bad || tag <= last {
			return p, fmt.Errorf("%w: properties after tag %d", base.ErrCorrupt, last)
		}
		b, last = d.b, tag
		if !p.set(tag, v, numbers) {
			return p, fmt.Errorf("%w: property %d: %x", base.ErrCorrupt, tag, v)
		}
	}
	if last < tagCompression {
		return p, fmt.Errorf("%w: properties end after tag %d", base.ErrCorrupt, last)
	}
	return p, nil
}

// set decodes one property and reports whether it is well-formed.
func (p *Properties) set(tag uint64, v []byte, numbers map[uint64]*uint64) bool {
	d := decoder{b: v}
	switch tag {
	case tagFile:
		f := d.bytes(20)
		if d.bad {
			return false
		}
		p.File.Creator.Generation = binary.BigEndian.Uint32(f)
		p.File.Creator.Index = binary.BigEndian.Uint64(f[4:])
		p.File.Number = binary.BigEndian.Uint64(f[12:])
	case tagByKind:
		for i := range p.ByKind {
			p.ByKind[i] = d.uvarint()
		}
	case tagFamilies:
		for len(d.b) > 0 && !d.bad {
			f := d.uvarint()
			p.Families = append(p.Families, FamilyCount{base.FamilyID(f), d.uvarint()})
			d.bad = d.bad || f > 1<<32-1
		}
	case tagMinKey:
		p.MinKey, d.b = slices.Clip(v), nil
	case tagMaxKey:
		p.MaxKey, d.b = slices.Clip(v), nil
	case tagMinTimestamp:
		p.MinTimestamp = d.varint()
	case tagMaxTimestamp:
		p.MaxTimestamp = d.varint()
	case tagCompression:
		if c := d.bytes(1); !d.bad {
			p.Compression = compress.Type(c[0])
		}
	case tagGroup:
		p.Group, d.b = string(v), nil
	default:
		to, known := numbers[tag]
		if !known {
			return true
		}
		*to = d.uvarint()
	}
	return !d.bad && len(d.b) == 0
}

// decoder takes values off the front of b until something is wrong.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, n = true, 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, n = true, 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}
