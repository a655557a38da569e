package mutation

import (
	"bytes"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
)

// A request that must not be applied twice carries an id, so that a repeat of
// it is recognised (rule R13). The id stands behind the request, or behind the
// entry of a MutateRowsRequest, as one more field of a number that the API does
// not use: 16 bytes of id and 4 bytes, big-endian, of attempt.
const (
	idField = 15001
	idKey   = uint64(idField<<3) | wireBytes
	idLen   = 16
	idBody  = idLen + 4
)

// ID names one request among all that any router sends.
type ID [idLen]byte

// AppendID appends the id to a request or an entry. Attempt is 0 until the
// outcome of an attempt is unknown, and rises by at least one each time. Of
// several ids behind a request the last counts.
func AppendID(req []byte, id ID, attempt uint32) []byte {
	req = protowire.AppendTag(req, idField, protowire.BytesType)
	req = append(req, idBody)
	req = append(req, id[:]...)
	return binary.BigEndian.AppendUint32(req, attempt)
}

// IDSize is by how much AppendID makes a request longer.
const IDSize = 3 + 1 + idBody

// Once says how a write is recognised when it comes again; the zero value: not
// at all. It aliases the request.
type Once struct {
	// ID is what AppendID appended; nil: nothing.
	ID      []byte
	Attempt uint32
	// Token is the client's; nil: it gave none.
	Token []byte
}

// Keys of the hidden cells that remember requests begin with what they name.
const (
	keyID    = 0x00
	keyToken = 0x01
)

// AppendKey appends the qualifier of the hidden cell that remembers the write.
// A client's token counts rather than the id: whoever repeats the request, it
// stays the same.
func (o *Once) AppendKey(dst []byte) []byte {
	if o.Token != nil {
		return append(append(dst, keyToken), o.Token...)
	}
	return append(append(dst, keyID), o.ID...)
}

// Named reports whether there is anything to recognise the write by.
func (o *Once) Named() bool { return o.ID != nil || o.Token != nil }

// ParseID returns the id behind a message of which nothing else is known.
func ParseID(req []byte) (Once, error) {
	var o Once
	s := scanner{rest: req}
	for s.next() {
		if s.key == idKey {
			if err := o.setID(s.b); err != nil {
				return Once{}, err
			}
		}
	}
	return o, s.err("request")
}

// setID takes the body of the id field.
func (o *Once) setID(b []byte) error {
	if len(b) != idBody {
		return base.Invalidf("Malformed request id of %d bytes", len(b))
	}
	o.ID, o.Attempt = b[:idLen:idLen], binary.BigEndian.Uint32(b[idLen:])
	return nil
}

// AppendOnce appends the op that remembers a write, with what its answer needs,
// to the row record at the start of record, which thereby has one op more. The
// timestamp of the op is the server's.
func AppendOnce(record, key, answer []byte) []byte {
	b := Builder{buf: record}
	b.CellAtServerTime(base.KindSet, base.SystemFamily, key, answer)
	return b.buf
}

// Form is the message that a request is.
type Form uint8

// The messages that write.
const (
	FormMutateRow Form = iota
	FormEntry          // of a MutateRowsRequest
	FormCheckAndMutateRow
	FormReadModifyWriteRow
	FormDropRows
)

// Repeatable reports whether applying the request twice is the same as once:
// where it only sets cells with timestamps of the client and deletes, or bears
// a token of the client (tokened), for as long as that is remembered. Of
// malformed requests nothing is said.
func Repeatable(req []byte, f Form) (ok, tokened bool) {
	var mutations, token uint64
	switch f {
	case FormMutateRow:
		mutations, token = 3<<3|wireBytes, 8<<3|wireBytes
	case FormEntry:
		mutations, token = 2<<3|wireBytes, 3<<3|wireBytes
	default:
		return false, false
	}
	ok = true
	timed := bytes.Contains(req, minusOne)
	s := scanner{rest: req}
	for s.next() {
		switch s.key {
		case mutations:
			ok = ok && repeatable(s.b, timed)
		case token:
			tokened = true
		}
	}
	return ok || tokened, tokened && !ok
}

// minusOne is the timestamp that leaves it to the server, the only negative one
// there is, as it stands in every request that has one; few others contain it.
var minusOne = protowire.AppendVarint(nil, math.MaxUint64)

// repeatable reports whether one Mutation may be applied twice. It looks at
// every field of the oneof, though only the last would count. Unless timed, no
// timestamp is the server's.
func repeatable(raw []byte, timed bool) bool {
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			for t := (scanner{rest: s.b}); timed && t.next(); {
				if t.key == 3<<3|wireVarint && int64(t.v) < 0 {
					return false
				}
			}
		case 2<<3 | wireBytes, 3<<3 | wireBytes, 4<<3 | wireBytes, 7<<3 | wireVarint:
		default:
			return false
		}
	}
	return true
}
