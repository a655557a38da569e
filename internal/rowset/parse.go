package rowset

import (
	"bytes"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	// MaxSize is the most bytes that an encoded row set may have.
	MaxSize = 1 << 20
	// MaxRowKey is the most bytes that a row key may have.
	MaxRowKey = 4096
)

// FromProto validates p and returns the set it describes; a set that names
// neither keys nor ranges is that of all rows, as is nil. It keeps the slices
// of p. An error wraps base.ErrInvalid.
func FromProto(p *bigtablepb.RowSet) (Set, error) {
	if n := proto.Size(p); n > MaxSize {
		return Set{}, tooLarge(n)
	}
	if len(p.GetRowKeys())+len(p.GetRowRanges()) == 0 {
		return All(), nil
	}
	arena := 0
	for i, k := range p.GetRowKeys() {
		if err := checkKey(k); err != nil {
			return Set{}, base.Textf(err, "Error in element #%d: %s", i, err)
		}
		arena += len(k) + 1
	}
	ends := make([]byte, 0, arena)
	ranges := make([]Range, 0, len(p.GetRowKeys())+len(p.GetRowRanges()))
	for _, k := range p.GetRowKeys() {
		at := len(ends)
		ends = append(append(ends, k...), 0)
		ranges = append(ranges, Range{Start: k, End: ends[at:len(ends):len(ends)]})
	}
	for i, r := range p.GetRowRanges() {
		x, err := FromRange(r)
		if err != nil {
			return Set{}, base.Textf(err, "Error in element #%d: %s", i, err)
		}
		ranges = append(ranges, x)
	}
	return normalise(ranges), nil
}

// Parse is FromProto of an encoded google.bigtable.v2.RowSet. The set does not
// alias raw.
func Parse(raw []byte) (Set, error) {
	if len(raw) > MaxSize {
		return Set{}, tooLarge(len(raw))
	}
	if len(raw) == 0 {
		return All(), nil
	}
	var p bigtablepb.RowSet
	if err := proto.Unmarshal(raw, &p); err != nil {
		return Set{}, base.Invalidf("Malformed RowSet: %v", err)
	}
	return FromProto(&p)
}

func tooLarge(n int) error {
	return base.Invalidf("Row set of %d bytes exceeds the maximum size of %d bytes; split the request", n, MaxSize)
}

func checkKey(k []byte) error {
	switch {
	case len(k) == 0:
		return base.Invalidf("Row keys must be non-empty")
	case len(k) > MaxRowKey:
		return base.Invalidf("Row key of %d bytes exceeds the limit of %d bytes", len(k), MaxRowKey)
	}
	return nil
}

// FromRange validates one range of the API and returns it as a half-open one.
// An error wraps base.ErrInvalid.
func FromRange(r *bigtablepb.RowRange) (Range, error) {
	var start, end []byte
	var startName, endName string
	var startOpen, endClosed bool
	switch k := r.GetStartKey().(type) {
	case *bigtablepb.RowRange_StartKeyClosed:
		start, startName = k.StartKeyClosed, "start_key_closed"
	case *bigtablepb.RowRange_StartKeyOpen:
		start, startName, startOpen = k.StartKeyOpen, "start_key_open", true
	}
	switch k := r.GetEndKey().(type) {
	case *bigtablepb.RowRange_EndKeyOpen:
		end, endName = k.EndKeyOpen, "end_key_open"
	case *bigtablepb.RowRange_EndKeyClosed:
		end, endName, endClosed = k.EndKeyClosed, "end_key_closed", true
	}
	if len(start) > 0 && len(end) > 0 && bytes.Compare(start, end) > 0 {
		return Range{}, base.Invalidf("%s must be less than %s", startName, endName)
	}
	// The successor of a key is the key with a zero byte behind it. There is
	// no empty row key, so an open empty start is the same as a closed one,
	// and an empty end is infinity however it is given.
	if startOpen && len(start) > 0 {
		start = successor(start)
	}
	if endClosed && len(end) > 0 {
		end = successor(end)
	}
	return Range{Start: start, End: end}, nil
}

func successor(k []byte) []byte {
	s := make([]byte, len(k)+1)
	copy(s, k)
	return s
}

// Proto returns s in the form of the API; it keeps the slices of s. An empty
// set has no such form (the API takes it for all rows) and must not be sent.
func (s Set) Proto() *bigtablepb.RowSet {
	p := &bigtablepb.RowSet{}
	for _, r := range s.ranges {
		if r.IsPoint() {
			p.RowKeys = append(p.RowKeys, r.Start)
			continue
		}
		x := &bigtablepb.RowRange{}
		if len(r.Start) > 0 {
			x.StartKey = &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: r.Start}
		}
		if len(r.End) > 0 {
			x.EndKey = &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: r.End}
		}
		p.RowRanges = append(p.RowRanges, x)
	}
	return p
}
