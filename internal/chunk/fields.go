package chunk

import (
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"
)

// fields are those of one ReadRowsResponse.CellChunk. Slices alias the message.
type fields struct {
	row                     []byte
	family, qualifier       []byte
	hasFamily, hasQualifier bool
	timestamp               int64
	labels                  [][]byte
	value                   []byte
	hasValue                bool
	valueSize               int32
	reset, commit           bool
}

// hasKey reports whether the chunk has any part of the key of a cell.
func (c *fields) hasKey() bool {
	return len(c.row) > 0 || c.hasFamily || c.hasQualifier || c.timestamp != 0
}

func fromProto(p *bigtablepb.ReadRowsResponse_CellChunk) fields {
	c := fields{
		row: p.GetRowKey(), timestamp: p.GetTimestampMicros(), value: p.GetValue(), hasValue: len(p.GetValue()) > 0,
		valueSize: p.GetValueSize(), reset: p.GetResetRow(), commit: p.GetCommitRow(),
		hasFamily: p.FamilyName != nil, family: []byte(p.GetFamilyName().GetValue()),
		hasQualifier: p.Qualifier != nil, qualifier: p.GetQualifier().GetValue(),
	}
	for _, l := range p.GetLabels() {
		c.labels = append(c.labels, []byte(l))
	}
	return c
}

// parse reads an encoded chunk.
func (c *fields) parse(b []byte) error {
	for len(b) > 0 {
		f, rest, ok := cutField(b)
		if !ok {
			return malformed("chunk")
		}
		b = rest
		switch f.tag {
		case uint64(tagRowKey):
			c.row = f.b
		case uint64(tagFamily):
			c.hasFamily = true
			if c.family, ok = unwrap(f.b, c.family); !ok {
				return malformed("family_name")
			}
		case uint64(tagQualifier):
			c.hasQualifier = true
			if c.qualifier, ok = unwrap(f.b, c.qualifier); !ok {
				return malformed("qualifier")
			}
		case uint64(tagTimestamp):
			c.timestamp = int64(f.v)
		case uint64(tagLabels):
			c.labels = append(c.labels, f.b)
		case uint64(tagValue):
			c.value, c.hasValue = f.b, len(f.b) > 0
		case uint64(tagValueSize):
			c.valueSize = int32(f.v)
		case uint64(tagResetRow): // a oneof with commit_row
			c.reset, c.commit = f.v != 0, false
		case uint64(tagCommitRow):
			c.commit, c.reset = f.v != 0, false
		}
	}
	return nil
}

// unwrap returns the value of an encoded StringValue or BytesValue, or old
// where it has none.
func unwrap(b, old []byte) ([]byte, bool) {
	for len(b) > 0 {
		f, rest, ok := cutField(b)
		if !ok {
			return nil, false
		}
		if f.tag == uint64(tagWrapped) {
			old = f.b
		}
		b = rest
	}
	return old, true
}

// field is one field of an encoded message.
type field struct {
	tag uint64 // number << 3 | wire type
	b   []byte // of wire type bytes
	v   uint64 // of a varint
}

// cutField cuts the first field off an encoded message.
func cutField(b []byte) (f field, rest []byte, ok bool) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, false
	}
	f.tag = uint64(num)<<3 | uint64(typ)
	b = b[n:]
	switch typ {
	case protowire.BytesType:
		f.b, n = protowire.ConsumeBytes(b)
	case protowire.VarintType:
		f.v, n = protowire.ConsumeVarint(b)
	default:
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return f, nil, false
	}
	return f, b[n:], true
}
