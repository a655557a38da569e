package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// The encodings of this package are drawn in docs/format/lockservice.md.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendBytes appends a length-prefixed string.
func appendBytes[T ~string | ~[]byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendSession(dst []byte, id lockservice.SessionID) []byte {
	dst = binary.AppendUvarint(dst, uint64(id.Generation))
	return binary.AppendUvarint(dst, id.Index)
}

// reader decodes; after the first fault every read returns zero and err stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", what, base.ErrCorrupt)
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("truncated")
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bool() bool {
	switch r.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	r.fail("bad flag")
	return false
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// uvarintUpTo decodes a number that must not exceed limit.
func (r *reader) uvarintUpTo(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail("number out of range")
		return 0
	}
	return v
}

func (r *reader) duration() time.Duration { return time.Duration(r.uvarintUpTo(1<<63 - 1)) }

// count decodes the length of a list of elements of at least one byte each.
func (r *reader) count() int { return int(r.uvarintUpTo(uint64(len(r.b)))) }

// bytes returns a copy; nil where empty.
func (r *reader) bytes() []byte {
	n := r.count()
	if n == 0 {
		return nil
	}
	if n > len(r.b) {
		r.fail("truncated")
		return nil
	}
	out := append([]byte(nil), r.b[:n]...)
	r.b = r.b[n:]
	return out
}

func (r *reader) string() string {
	n := r.count()
	if n > len(r.b) {
		r.fail("truncated")
		return ""
	}
	out := string(r.b[:n])
	r.b = r.b[n:]
	return out
}

func (r *reader) session() lockservice.SessionID {
	g := r.uvarintUpTo(1<<32 - 1)
	return lockservice.SessionID{Generation: uint32(g), Index: r.uvarint()}
}

func (r *reader) txnID() (id lockservice.TxnID) {
	if len(r.b) < len(id) {
		r.fail("truncated")
		return id
	}
	copy(id[:], r.b)
	r.b = r.b[len(id):]
	return id
}
