package mutation

import (
	"encoding/binary"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
)

// ReadModifyWriteRow is a parsed ReadModifyWriteRowRequest. It aliases the
// request.
type ReadModifyWriteRow struct {
	Target
	Row   []byte
	Rules Rules
	Once  Once
}

// Rules is the rules of one read-modify-write, in their order, still encoded.
type Rules struct {
	raw []byte
	n   int
}

// Len returns the number of rules.
func (r Rules) Len() int { return r.n }

// Size returns the bytes of the message that holds the rules.
func (r Rules) Size() int { return len(r.raw) }

// Rule says how one column changes. Its slices alias the request.
type Rule struct {
	Family    []byte // name
	Qualifier []byte
	// Increment: the column is a counter and Amount is added to it; otherwise
	// Append is appended to its newest value.
	Increment bool
	Amount    int64
	Append    []byte
}

// ParseReadModifyWriteRow parses a
// google.bigtable.v2.ReadModifyWriteRowRequest.
func ParseReadModifyWriteRow(raw []byte) (ReadModifyWriteRow, error) {
	r := ReadModifyWriteRow{Rules: Rules{raw: raw}}
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			r.Table = s.b
		case 2<<3 | wireBytes:
			r.Row = s.b
		case 3<<3 | wireBytes:
			r.Rules.n++
		case 4<<3 | wireBytes:
			r.AppProfile = s.b
		case 6<<3 | wireBytes:
			r.AuthorizedView = s.b
		case idKey:
			if err := r.Once.setID(s.b); err != nil {
				return ReadModifyWriteRow{}, err
			}
		}
	}
	if err := s.err("ReadModifyWriteRowRequest"); err != nil {
		return ReadModifyWriteRow{}, err
	}
	if err := CheckRowKey(r.Row); err != nil {
		return ReadModifyWriteRow{}, err
	}
	switch n := r.Rules.n; {
	case n == 0:
		return ReadModifyWriteRow{}, base.Invalidf("No rules provided")
	case n > MaxRules:
		return ReadModifyWriteRow{}, base.Invalidf("Too many rules: %d provided; limit %d", n, MaxRules)
	}
	return r, nil
}

// RuleIter walks rules.
type RuleIter struct {
	s scanner
	i int
}

// Iter returns an iterator over the rules.
func (r Rules) Iter() RuleIter { return RuleIter{s: scanner{rest: r.raw}} }

// Next parses the next rule into r; false: there is none. An error names the
// element.
func (it *RuleIter) Next(r *Rule) (bool, error) {
	for it.s.next() {
		if it.s.key != 3<<3|wireBytes {
			continue
		}
		it.i++
		if err := r.parse(it.s.b); err != nil {
			return false, inRules(it.i-1, err)
		}
		return true, nil
	}
	return false, nil
}

func inRules(i int, err error) error {
	return base.Textf(err, "Error in field 'rules' : Error in element #%d : %s", i, err)
}

func (r *Rule) parse(raw []byte) error {
	*r = Rule{}
	set := false
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			r.Family = s.b
		case 2<<3 | wireBytes:
			r.Qualifier = s.b
		case 3<<3 | wireBytes:
			set, r.Increment, r.Append = true, false, s.b
		case 4<<3 | wireVarint:
			set, r.Increment, r.Amount = true, true, int64(s.v)
		}
	}
	if err := s.err("ReadModifyWriteRule"); err != nil {
		return err
	}
	if !set {
		return base.Invalidf("rule must be set")
	}
	if err := checkQualifier(r.Qualifier); err != nil {
		return err
	}
	return checkValue(len(r.Append))
}

// CheckRules validates all rules against the schema. row is for the text of an
// error.
func CheckRules(row []byte, rules Rules, schema Schema) error {
	it := rules.Iter()
	var r Rule
	for i := 0; ; i++ {
		ok, err := it.Next(&r)
		if err != nil || !ok {
			return err
		}
		f, ok := schema.Family(r.Family)
		if !ok {
			return inContext(row, i, errNoFamily)
		}
		if f.Aggregate != aggregate.None {
			return inRules(i, base.Invalidf("ReadModifyWriteRow is not allowed in aggregate column family '%s'", printable(r.Family)))
		}
	}
}

// ApplyRule appends to dst the new value of a column whose newest value is old
// (empty where it has none). An increment wraps around. On an error, which
// wraps base.ErrInvalid, dst is returned as it was. dst may not overlap old.
func ApplyRule(dst, old []byte, r *Rule) ([]byte, error) {
	if !r.Increment {
		if err := checkValue(len(old) + len(r.Append)); err != nil {
			return dst, err
		}
		return append(append(dst, old...), r.Append...), nil
	}
	var v int64
	switch len(old) {
	case 0:
	case 8:
		v = int64(binary.BigEndian.Uint64(old))
	default:
		return dst, base.Invalidf("Cannot increment column '%s:%s': its value must be empty or a 64-bit big-endian integer, but has %d bytes",
			printable(r.Family), printable(r.Qualifier), len(old))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(v+r.Amount)), nil
}
