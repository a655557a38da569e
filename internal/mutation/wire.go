package mutation

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Keys of fields as they stand on the wire: number << 3 | wire type. A known
// number with another wire type is an unknown field, as it is for proto.Unmarshal.
const (
	wireVarint = uint64(protowire.VarintType)
	wireBytes  = uint64(protowire.BytesType)
)

// scanner walks the fields of one message.
type scanner struct {
	rest []byte
	key  uint64 // number << 3 | wire type
	b    []byte // of a field of wire type bytes; aliases the message
	v    uint64 // of a varint
	bad  bool
}

// next moves to the next field; false at the end and at malformed bytes.
func (s *scanner) next() bool {
	if len(s.rest) == 0 {
		return false
	}
	if c := s.rest[0]; c >= 8 && c < 0x80 { // one-byte tags: field numbers 1 to 15
		s.key, s.rest = uint64(c), s.rest[1:]
	} else {
		num, typ, n := protowire.ConsumeTag(s.rest)
		if n < 0 {
			return s.fail()
		}
		s.key, s.rest = uint64(num)<<3|uint64(typ), s.rest[n:]
	}
	switch s.key & 7 {
	case wireBytes:
		if len(s.rest) > 0 && s.rest[0] < 0x80 { // short, as most are
			if n := 1 + int(s.rest[0]); n <= len(s.rest) {
				s.b, s.rest = s.rest[1:n:n], s.rest[n:]
				return true
			}
		}
		b, n := protowire.ConsumeBytes(s.rest)
		if n < 0 {
			return s.fail()
		}
		s.b, s.rest = b, s.rest[n:]
	case wireVarint:
		if len(s.rest) > 0 && s.rest[0] < 0x80 {
			s.v, s.rest = uint64(s.rest[0]), s.rest[1:]
			return true
		}
		v, n := protowire.ConsumeVarint(s.rest)
		if n < 0 {
			return s.fail()
		}
		s.v, s.rest = v, s.rest[n:]
	default:
		n := protowire.ConsumeFieldValue(protowire.Number(s.key>>3), protowire.Type(s.key&7), s.rest)
		if n < 0 {
			return s.fail()
		}
		s.rest = s.rest[n:]
	}
	return true
}

func (s *scanner) fail() bool {
	s.bad, s.rest = true, nil
	return false
}

// err reports malformed bytes met by next.
func (s *scanner) err(what string) error {
	if s.bad {
		return base.Invalidf("Malformed %s", what)
	}
	return nil
}

// merge returns the encoding of a message field that occurred as old and
// occurs again as b: protobuf merges them, which is what their concatenation
// means.
func merge(old, b []byte, seen bool) []byte {
	if !seen {
		return b
	}
	return append(old[:len(old):len(old)], b...)
}
