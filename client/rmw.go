package client

import "google.golang.org/protobuf/encoding/protowire"

// ReadModifyWrite is changes of one row that depend on what it holds, applied
// in order and atomically.
type ReadModifyWrite struct{ buf []byte } // the rules, as fields of the request

// NewReadModifyWrite returns a ReadModifyWrite without rules.
func NewReadModifyWrite() *ReadModifyWrite { return &ReadModifyWrite{} }

// AppendValue appends to the newest cell of the column; none counts as empty.
func (m *ReadModifyWrite) AppendValue(family, column string, v []byte) {
	b := rule(family, column)
	m.add(protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), v))
}

// Increment adds to the newest cell of the column, 8 bytes, big-endian; none
// counts as 0.
func (m *ReadModifyWrite) Increment(family, column string, delta int64) {
	b := rule(family, column)
	m.add(protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), uint64(delta)))
}

func rule(family, column string) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), family)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), column)
}

func (m *ReadModifyWrite) add(rule []byte) {
	m.buf = protowire.AppendBytes(protowire.AppendTag(m.buf, 3, protowire.BytesType), rule)
}
