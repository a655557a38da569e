package mutation

import (
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
)

// CheckCell checks a cell that does not come by a mutation, by the rules for
// those, and returns its family. The timestamp is in microseconds. In an
// aggregate family value is a state that is merged; elsewhere it is set.
func CheckCell(row, family, qualifier []byte, timestamp int64, value []byte, s Schema) (FamilySpec, error) {
	if err := CheckRowKey(row); err != nil {
		return FamilySpec{}, err
	}
	f, ok := s.Family(family)
	if !ok {
		return f, base.Textf(base.ErrFamilyNotFound, "Requested column family '%s' not found", printable(family))
	}
	if err := checkQualifier(qualifier); err != nil {
		return f, err
	}
	if err := checkValue(len(value)); err != nil {
		return f, err
	}
	if _, err := checkTimestamp(timestamp, s.TimestampUnit(), false); err != nil {
		return f, err
	}
	if f.Aggregate == aggregate.None {
		return f, nil
	}
	if err := checkFolds("a cell", family, f); err != nil {
		return f, err
	}
	_, err := aggregate.DecodeState(value)
	return f, err
}

// checkFolds refuses what would write to an aggregate family whose cells
// nobody here can merge.
func checkFolds(what string, family []byte, f FamilySpec) error {
	if f.Aggregate != aggregate.HyperLogLog {
		return nil
	}
	return base.Textf(base.ErrUnimplemented, "%s for column family '%s': TabletDB does not offer %s; sum, min and max it does", what, printable(family), f.Aggregate)
}
