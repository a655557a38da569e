// Package aggregate holds the arithmetic of aggregate column families: how the
// operands of a cell fold into its value. It is pure.
package aggregate

import (
	"encoding/binary"
	"fmt"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Type says how a family folds what is written to one cell. The numbers are
// stored in schemas.
type Type uint8

const (
	// None: an ordinary family; the newest write of a cell is its value.
	None Type = 0
	// Sum, Min and Max fold signed 64-bit integers; a sum wraps around.
	Sum Type = 1
	Min Type = 2
	Max Type = 3
	// HyperLogLog counts distinct inputs. Its cells cannot be written yet.
	HyperLogLog Type = 4
)

// String returns the name that the API gives t.
func (t Type) String() string {
	switch t {
	case None:
		return "none"
	case Sum:
		return "sum"
	case Min:
		return "min"
	case Max:
		return "max"
	case HyperLogLog:
		return "hllpp_unique_count"
	}
	return fmt.Sprintf("aggregate(%d)", uint8(t))
}

// Of returns the aggregation of a family with value type t; nil means None.
func Of(t *adminpb.Type) (Type, error) {
	a := t.GetAggregateType()
	if a == nil {
		return None, nil
	}
	switch a.GetAggregator().(type) {
	case *adminpb.Type_Aggregate_Sum_:
		return Sum, nil
	case *adminpb.Type_Aggregate_Min_:
		return Min, nil
	case *adminpb.Type_Aggregate_Max_:
		return Max, nil
	case *adminpb.Type_Aggregate_HllppUniqueCount:
		return HyperLogLog, nil
	}
	return None, base.Invalidf("aggregate_type must name an aggregator")
}

// StateLen is the length in bytes of the state of a Sum, Min or Max: a
// big-endian two's complement integer.
const StateLen = 8

// AppendState appends the state that holds v.
func AppendState(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

// DecodeState is the inverse of AppendState. An error wraps base.ErrInvalid.
func DecodeState(b []byte) (int64, error) {
	if len(b) != StateLen {
		return 0, base.Invalidf("state of an aggregate must be a 64-bit big-endian integer, but has %d bytes", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Fold returns a and b folded by t, which is Sum, Min or Max. It is associative
// and commutative, so operands may be folded in any order and grouping.
func (t Type) Fold(a, b int64) int64 {
	switch t {
	case Min:
		return min(a, b)
	case Max:
		return max(a, b)
	}
	return a + b
}

// Accumulator folds the operands of one cell; the zero value with Type set has
// seen none. An input and a state have the same form for Sum, Min and Max, so
// entries of base.KindAdd, base.KindMerge and base.KindSet fold alike.
type Accumulator struct {
	Type  Type
	value int64
	count int
}

// Add folds the value of one stored entry. An error wraps base.ErrCorrupt, for
// what was stored had been checked, or base.ErrUnimplemented.
func (a *Accumulator) Add(operand []byte) error {
	if a.Type == None || a.Type > Max {
		return fmt.Errorf("%w: folding %s", base.ErrUnimplemented, a.Type)
	}
	if len(operand) != StateLen {
		return fmt.Errorf("%w: operand of %d bytes in a %s cell", base.ErrCorrupt, len(operand), a.Type)
	}
	v := int64(binary.BigEndian.Uint64(operand))
	if a.count == 0 {
		a.value = v
	} else {
		a.value = a.Type.Fold(a.value, v)
	}
	a.count++
	return nil
}

// Count returns how many operands were folded.
func (a *Accumulator) Count() int { return a.count }

// AppendValue appends the state of what was folded.
func (a *Accumulator) AppendValue(dst []byte) []byte { return AppendState(dst, a.value) }

// Reset forgets all operands.
func (a *Accumulator) Reset() { a.value, a.count = 0, 0 }
