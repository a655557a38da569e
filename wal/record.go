package wal

import (
	"encoding/binary"

	"github.com/golang/snappy"

	"github.com/tabletdb/tabletdb/internal/base"
)

// A record stands in its section as
//
//	uvarint  length of the body
//	uvarint  first - (last of the record before + 1); 0 in the first record
//	uvarint  last - first
//	body
//
// MaxRecordHeaderLen is the longest that can stand before a body.
const MaxRecordHeaderLen = 3 * binary.MaxVarintLen64

// AppendRecordHeader appends what stands before the body of a record with
// sequences [first, last]. next is the Last of the record before it in its
// section plus one, or first if there is none.
func AppendRecordHeader(dst []byte, bodyLen int, next, first, last base.Seq) []byte {
	dst = binary.AppendUvarint(dst, uint64(bodyLen))
	dst = binary.AppendUvarint(dst, uint64(first-next))
	return binary.AppendUvarint(dst, uint64(last-first))
}

// Record is one record of a log.
type Record struct {
	First, Last base.Seq
	Body        []byte // opaque to this package
}

// unpack checks the stored bytes of a section and returns its records as
// bytes. The result aliases stored when the section is not compressed.
func (s *Section) unpack(stored []byte) ([]byte, error) {
	if len(stored) != int(s.Length) {
		return nil, corrupt("section has %d bytes, not %d", len(stored), s.Length)
	}
	if checksum(stored) != s.Sum {
		return nil, corrupt("section of tablet %d fails its checksum", s.Tablet)
	}
	if s.Compression == NoCompression {
		return stored, nil
	}
	n, err := snappy.DecodedLen(stored)
	if err != nil || n != int(s.RawLength) {
		return nil, corrupt("section of tablet %d unpacks to %d bytes, not %d", s.Tablet, n, s.RawLength)
	}
	raw, err := snappy.Decode(nil, stored)
	if err != nil {
		return nil, corrupt("unpack section of tablet %d: %v", s.Tablet, err)
	}
	return raw, nil
}

// records calls fn for each record of a section that was unpacked. Bodies alias
// raw. An error of fn ends the walk and is returned as it is.
func (s *Section) records(raw []byte, fn func(Record) error) error {
	next := s.First
	for i := uint32(0); i < s.Records; i++ {
		size, n1 := binary.Uvarint(raw)
		if n1 <= 0 {
			return corrupt("record %d of tablet %d is cut short", i, s.Tablet)
		}
		delta, n2 := binary.Uvarint(raw[n1:])
		if n2 <= 0 {
			return corrupt("record %d of tablet %d is cut short", i, s.Tablet)
		}
		span, n3 := binary.Uvarint(raw[n1+n2:])
		if n3 <= 0 {
			return corrupt("record %d of tablet %d is cut short", i, s.Tablet)
		}
		raw = raw[n1+n2+n3:]
		if size > uint64(len(raw)) {
			return corrupt("record %d of tablet %d is cut short", i, s.Tablet)
		}
		room := uint64(s.Last - next)
		if i == 0 && delta != 0 || next > s.Last || delta > room || span > room-delta {
			return corrupt("record %d of tablet %d leaves the section's sequences", i, s.Tablet)
		}
		r := Record{First: next + base.Seq(delta), Body: raw[:size:size]}
		r.Last = r.First + base.Seq(span)
		if err := fn(r); err != nil {
			return err
		}
		raw, next = raw[size:], r.Last+1
	}
	if len(raw) != 0 || next != s.Last+1 {
		return corrupt("section of tablet %d ends at sequence %d with %d bytes left", s.Tablet, next-1, len(raw))
	}
	return nil
}

// Pack appends the stored form of the records of a section to dst, sets
// Length, RawLength and Compression of s, and returns it. A section that snappy
// does not make smaller by an eighth is stored as it is.
func (s *Section) Pack(dst, raw []byte, c Compression) []byte {
	s.RawLength, s.Length, s.Compression = uint32(len(raw)), uint32(len(raw)), NoCompression
	if c != Snappy {
		return append(dst, raw...)
	}
	off, room := len(dst), snappy.MaxEncodedLen(len(raw))
	for cap(dst)-off < room {
		dst = append(dst[:cap(dst)], 0)
	}
	packed := snappy.Encode(dst[off:off+room], raw)
	if len(packed) > len(raw)-len(raw)/8 {
		return append(dst[:off], raw...)
	}
	s.Length, s.Compression = uint32(len(packed)), Snappy
	return dst[:off+len(packed)]
}
