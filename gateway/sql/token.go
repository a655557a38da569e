package sql

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// tokenVersion is the first byte of all tokens.
const tokenVersion = 1

// prepared is what a prepared query holds.
type prepared struct {
	instance string
	text     string
	types    map[string]value.Type
	expires  time.Time
	table    *plan.Table // nil: it reads none
}

// encode returns the bytes of q, as doc.go draws them.
func (q *prepared) encode() []byte {
	b := header()
	b = binary.AppendVarint(b, q.expires.UnixMicro())
	b = appendText(b, q.instance)
	b = appendText(b, q.text)
	b = binary.AppendUvarint(b, uint64(len(q.types)))
	for _, name := range slices.Sorted(maps.Keys(q.types)) {
		t := q.types[name]
		b = append(appendText(b, name), byte(t.Kind))
		if t.Kind == value.Array {
			b = append(b, byte(t.Elem.Kind))
		}
	}
	if q.table == nil {
		return seal(append(b, 0))
	}
	b = appendText(append(b, 1), q.table.ID)
	b = binary.AppendUvarint(b, uint64(len(q.table.Families)))
	for _, f := range q.table.Families {
		b = append(appendText(b, f.Name), bit(f.Number))
	}
	return seal(b)
}

// decodePrepared is the inverse of encode. An error wraps base.ErrInvalid: the
// bytes come from a client.
func decodePrepared(raw []byte) (*prepared, error) {
	d := openToken(raw)
	q := &prepared{types: map[string]value.Type{}}
	q.expires = time.UnixMicro(d.varint())
	q.instance, q.text = d.text(), d.text()
	for range d.count() {
		name := d.text()
		t := value.Of(d.scalarOr(value.Array))
		if t.Kind == value.Array {
			t = value.ArrayOf(value.Of(d.scalarOr(value.Bool)))
		}
		q.types[name] = t
	}
	if d.bool() {
		q.table = &plan.Table{ID: d.text()}
		for range d.count() {
			q.table.Families = append(q.table.Families, plan.Family{Name: d.text(), Number: d.bool()})
		}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("prepared_query: %w", err)
	}
	return q, nil
}

// resumption is what a resume token holds.
type resumption struct {
	done bool // the sentinel
	now  value.Time
	pos  plan.Position
}

// encode returns the bytes of r, for a request of the given hash.
func (r *resumption) encode(hash uint64) []byte {
	b := binary.BigEndian.AppendUint64(header(), hash)
	b = append(b, bit(r.done))
	b = binary.AppendVarint(b, int64(r.now))
	b = binary.AppendVarint(b, r.pos.Skipped)
	b = binary.AppendVarint(b, r.pos.Sent)
	return seal(appendText(b, string(r.pos.Key)))
}

// decodeResumption is the inverse of encode; the token must be of a request of
// the given hash. An error wraps base.ErrInvalid.
func decodeResumption(raw []byte, hash uint64) (resumption, error) {
	d := openToken(raw)
	var r resumption
	given := d.word()
	r.done = d.bool()
	r.now = value.Time(d.varint())
	r.pos.Skipped, r.pos.Sent = d.varint(), d.varint()
	if key := d.text(); key != "" {
		r.pos.Key = []byte(key)
	}
	err := d.end()
	switch {
	case err != nil:
	case r.pos.Skipped < 0 || r.pos.Sent < 0:
		err = errToken()
	case given != hash:
		err = fmt.Errorf("it is of another query or other parameters: %w", base.ErrInvalid)
	}
	if err != nil {
		return resumption{}, fmt.Errorf("resume_token: %w", err)
	}
	return r, nil
}

// requestHash is the same for requests that may resume each other.
func requestHash(req *bigtablepb.ExecuteQueryRequest) uint64 {
	h := fnv.New64a()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	put([]byte(req.GetInstanceName()))
	put(req.GetPreparedQuery())
	put([]byte(req.GetQuery())) //nolint:staticcheck // deprecated, but part of the API
	for _, name := range slices.Sorted(maps.Keys(req.GetParams())) {
		put([]byte(name))
		b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(req.GetParams()[name]) // came over the wire: it can be marshalled
		put(b)
	}
	return h.Sum64()
}

// header is the version and room for the checksum.
func header() []byte { return []byte{tokenVersion, 0, 0, 0, 0} }

// seal puts the checksum into b.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[1:5], crc32.Checksum(b[5:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func bit(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func errToken() error { return fmt.Errorf("malformed token: %w", base.ErrInvalid) }

// decoder reads a token. After an error it yields zeros.
type decoder struct {
	b   []byte
	bad bool
}

func openToken(raw []byte) *decoder {
	if len(raw) < 5 || raw[0] != tokenVersion ||
		binary.BigEndian.Uint32(raw[1:5]) != crc32.Checksum(raw[5:], crc32.MakeTable(crc32.Castagnoli)) {
		return &decoder{bad: true}
	}
	return &decoder{b: raw[5:]}
}

// take returns the next n bytes.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) || d.bad {
		d.bad, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		n, d.bad = 0, true
		v = 0
	}
	d.take(uint64(n))
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count is a number of things of at least a byte each.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
	}
	if d.bad {
		return 0
	}
	return n
}

func (d *decoder) text() string { return string(d.take(d.uvarint())) }

func (d *decoder) byte() byte {
	if b := d.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	b := d.byte()
	d.bad = d.bad || b > 1
	return b == 1
}

func (d *decoder) word() uint64 {
	if b := d.take(8); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// scalarOr returns the next kind, which is scalar or other.
func (d *decoder) scalarOr(other value.Kind) value.Kind {
	k := value.Kind(d.byte())
	if k != other && (k == value.Unknown || !value.Of(k).IsScalar()) {
		d.bad = true
		return value.Int64
	}
	return k
}

// end reports whether all was as it must be.
func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return errToken()
	}
	return nil
}
