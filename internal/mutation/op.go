package mutation

import (
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Op is one google.bigtable.v2.Mutation as it was sent. Its slices alias the
// request.
type Op struct {
	Kind      base.Kind
	Family    []byte // name; empty for KindDeleteRow
	Qualifier []byte // of cells and columns
	Value     []byte // of KindSet; of KindMerge where the input was bytes
	Int       int64  // of KindAdd; of KindMerge where the input was an integer
	Timestamp int64  // of cells, microseconds; -1: the server's time
	Start     int64  // of KindDeleteColumn: the range of timestamps,
	End       int64  // microseconds; 0: no end
	// ClientTime: the client's library made up the timestamp, so the server
	// truncates it to the granularity of the table instead of refusing it.
	ClientTime bool
	// Null: a KindMerge of NULL, which has no effect.
	Null bool

	input inputKind
}

// inputKind says which field of the oneof an aggregate's input was.
type inputKind uint8

const (
	inputNone inputKind = iota
	inputInt
	inputRaw
	inputOther
)

// List is the mutations of one row, in their order, still encoded. It aliases
// the request it came from. The zero List is empty.
type List struct {
	raw []byte // of the message that holds them
	key uint64 // of the repeated field
	n   int
}

// Len returns the number of mutations.
func (l List) Len() int { return l.n }

// Size returns the bytes of the message that holds the mutations: no less than
// they take.
func (l List) Size() int { return len(l.raw) }

// Iter returns an iterator over the mutations.
func (l List) Iter() Iter { return Iter{s: scanner{rest: l.raw}, key: l.key} }

// Iter walks the mutations of a List.
type Iter struct {
	s   scanner
	key uint64
	i   int
}

// Next parses the next mutation into op; false: there is none. An error names
// the element.
func (it *Iter) Next(op *Op) (bool, error) {
	for it.s.next() {
		if it.s.key != it.key {
			continue
		}
		it.i++
		if err := parseOp(it.s.b, op); err != nil {
			return false, element(it.i-1, err)
		}
		return true, nil
	}
	return false, nil
}

// element says which mutation of the list err is about.
func element(i int, err error) error {
	return base.Textf(err, "Error in Mutation list : Error in element #%d : %s", i, err)
}

// kindOf maps the fields of the oneof of Mutation, by number.
func kindOf(num uint64) base.Kind {
	switch num {
	case 1:
		return base.KindSet
	case 2:
		return base.KindDeleteColumn
	case 3:
		return base.KindDeleteFamily
	case 4:
		return base.KindDeleteRow
	case 5:
		return base.KindAdd
	case 6:
		return base.KindMerge
	}
	return 0
}

func parseOp(raw []byte, op *Op) error {
	var kind base.Kind
	var body []byte
	op.ClientTime = false
	s := scanner{rest: raw}
	for s.next() {
		if s.key == 7<<3|wireVarint {
			op.ClientTime = bigtablepb.Mutation_TimestampOrigin(s.v) == bigtablepb.Mutation_CLIENT_AUTO_GENERATED
			continue
		}
		if k := kindOf(s.key >> 3); k != 0 && s.key&7 == wireBytes {
			// The last field of a oneof wins; the same one twice is merged.
			body, kind = merge(body, s.b, kind == k), k
		}
	}
	if err := s.err("Mutation"); err != nil {
		return err
	}
	op.Kind = kind
	op.Family, op.Qualifier, op.Value = nil, nil, nil
	op.Int, op.Timestamp, op.Start, op.End = 0, 0, 0, 0
	op.Null, op.input = false, inputNone
	switch kind {
	case base.KindSet:
		return op.parseSetCell(body)
	case base.KindDeleteColumn:
		return op.parseDeleteColumn(body)
	case base.KindDeleteFamily:
		return op.parseDeleteFamily(body)
	case base.KindDeleteRow:
		return nil
	case base.KindAdd, base.KindMerge:
		return op.parseAggregate(body)
	}
	return base.Invalidf("mutation must be set to a type that this server knows")
}

func (op *Op) parseSetCell(body []byte) error {
	s := scanner{rest: body}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			op.Family = s.b
		case 2<<3 | wireBytes:
			op.Qualifier = s.b
		case 3<<3 | wireVarint:
			op.Timestamp = int64(s.v)
		case 4<<3 | wireBytes:
			op.Value = s.b
		}
	}
	return s.err("Mutation.SetCell")
}

func (op *Op) parseDeleteColumn(body []byte) error {
	s := scanner{rest: body}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			op.Family = s.b
		case 2<<3 | wireBytes:
			op.Qualifier = s.b
		case 3<<3 | wireBytes:
			t := scanner{rest: s.b}
			for t.next() {
				switch t.key {
				case 1<<3 | wireVarint:
					op.Start = int64(t.v)
				case 2<<3 | wireVarint:
					op.End = int64(t.v)
				}
			}
			if err := t.err("TimestampRange"); err != nil {
				return err
			}
		}
	}
	return s.err("Mutation.DeleteFromColumn")
}

func (op *Op) parseDeleteFamily(body []byte) error {
	s := scanner{rest: body}
	for s.next() {
		if s.key == 1<<3|wireBytes {
			op.Family = s.b
		}
	}
	return s.err("Mutation.DeleteFromFamily")
}

// parseAggregate parses AddToCell and MergeToCell, which are alike.
func (op *Op) parseAggregate(body []byte) error {
	var qualifier, timestamp, input []byte
	var hasQ, hasTS, hasIn bool
	s := scanner{rest: body}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			op.Family = s.b
		case 2<<3 | wireBytes:
			qualifier, hasQ = merge(qualifier, s.b, hasQ), true
		case 3<<3 | wireBytes:
			timestamp, hasTS = merge(timestamp, s.b, hasTS), true
		case 4<<3 | wireBytes:
			input, hasIn = merge(input, s.b, hasIn), true
		}
	}
	if err := s.err("Mutation.AddToCell"); err != nil {
		return err
	}
	q, err := parseValue(qualifier)
	if err != nil {
		return err
	}
	ts, err := parseValue(timestamp)
	if err != nil {
		return err
	}
	in, err := parseValue(input)
	if err != nil {
		return err
	}
	if q.num != valueRaw || q.typed {
		return base.Invalidf("Error in field 'column_qualifier' : must be a raw_value")
	}
	if ts.num != valueTimestamp || ts.typed {
		return base.Invalidf("Error in field 'timestamp' : must be a raw_timestamp_micros")
	}
	op.Qualifier, op.Timestamp = q.b, int64(ts.v)
	op.setInput(in)
	return nil
}

func (op *Op) setInput(in value) {
	switch in.num {
	case 0:
		op.input, op.Null = inputNone, op.Kind == base.KindMerge
	case valueInt:
		op.input, op.Int = inputInt, int64(in.v)
	case valueRaw, valueBytes:
		op.input, op.Value = inputRaw, in.b
	default:
		op.input = inputOther
	}
}

// Numbers of the fields of google.bigtable.v2.Value that mutations use.
const (
	valueBytes     = 2
	valueInt       = 6
	valueType      = 7
	valueRaw       = 8
	valueTimestamp = 9
)

// value is the last field of the oneof of a google.bigtable.v2.Value.
type value struct {
	num   uint64 // 0: none is set, that is NULL
	b     []byte
	v     uint64
	typed bool // type was given
}

func parseValue(raw []byte) (value, error) {
	var v value
	s := scanner{rest: raw}
	for s.next() {
		switch num := s.key >> 3; num {
		case valueType:
			v.typed = true
		case valueBytes, valueRaw:
			if s.key&7 == wireBytes {
				v.num, v.b = num, s.b
			}
		case valueInt, valueTimestamp:
			if s.key&7 == wireVarint {
				v.num, v.v = num, s.v
			}
		case 3, 4, 10, 11, 12, 13: // kinds that no mutation takes
			v.num = num
		}
	}
	return v, s.err("Value")
}
