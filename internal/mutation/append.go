package mutation

import (
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
)

// AppendRecord validates the mutations of one row against the schema and
// appends their row record to dst. It returns the number of ops in it, each of
// which takes one sequence number. A merge of NULL makes no op; where nothing
// is left, nothing is appended and the number is 0: the write succeeds and
// changes nothing.
//
// Where NeedsTime reports true of the record, AssignTime must be called before
// it is used. On an error dst is returned as it was: a record is complete or
// absent. The record does not alias the request.
func AppendRecord(dst, row []byte, l List, schema Schema) (out []byte, ops int, err error) {
	if err := checkOne(row, l); err != nil {
		return dst, 0, err
	}
	b := NewBuilder(dst, row)
	unit := schema.TimestampUnit()
	it := l.Iter()
	var op Op
	for i := 0; ; i++ {
		ok, err := it.Next(&op)
		if err == nil && !ok {
			break
		}
		if err == nil {
			if err = appendOp(&b, &op, schema, unit); err != nil {
				err = inContext(row, i, err)
			}
		}
		if err != nil {
			return b.buf[:b.start], 0, err
		}
	}
	if b.n == 0 {
		return b.buf[:b.start], 0, nil
	}
	return b.buf, b.n, nil
}

// errNoFamily is told apart from other errors because its text names the row,
// not the element.
var errNoFamily = base.Textf(base.ErrFamilyNotFound, "Requested column family not found")

func inContext(row []byte, i int, err error) error {
	if err == errNoFamily {
		return base.Textf(err, "Error while mutating the row '%s' : %s", printable(row), err)
	}
	return element(i, err)
}

func appendOp(b *Builder, op *Op, schema Schema, unit int64) error {
	if op.Kind == base.KindDeleteRow {
		b.DeleteRow()
		return nil
	}
	f, ok := schema.Family(op.Family)
	if !ok {
		return errNoFamily
	}
	if err := checkQualifier(op.Qualifier); err != nil {
		return err
	}
	switch op.Kind {
	case base.KindDeleteFamily:
		b.DeleteFamily(f.ID)
		return nil
	case base.KindDeleteColumn:
		if err := checkTimeRange(op.Start, op.End, unit); err != nil {
			return err
		}
		b.DeleteColumn(f.ID, op.Qualifier, op.Start, op.End)
		return nil
	case base.KindSet:
		if f.Aggregate != aggregate.None {
			return base.Invalidf("SetCell is not allowed in aggregate column family '%s'; use AddToCell or MergeToCell", printable(op.Family))
		}
		if err := checkValue(len(op.Value)); err != nil {
			return err
		}
		if op.Timestamp == -1 {
			b.CellAtServerTime(base.KindSet, f.ID, op.Qualifier, op.Value)
			return nil
		}
	default:
		if err := checkInput(op, f); err != nil {
			return err
		}
	}
	ts, err := checkTimestamp(op.Timestamp, unit, op.ClientTime)
	if err != nil || op.Null {
		return err
	}
	value := op.Value
	if op.input == inputInt {
		var state [aggregate.StateLen]byte
		value = aggregate.AppendState(state[:0], op.Int)
	}
	b.Cell(op.Kind, f.ID, op.Qualifier, ts, value)
	return nil
}

// checkInput checks the operand of AddToCell and MergeToCell.
func checkInput(op *Op, f FamilySpec) error {
	what := "AddToCell"
	if op.Kind == base.KindMerge {
		what = "MergeToCell"
	}
	if f.Aggregate == aggregate.None {
		return base.Invalidf("%s is only allowed in aggregate column families, but '%s' is not one", what, printable(op.Family))
	}
	if err := checkFolds(what, op.Family, f); err != nil {
		return err
	}
	switch {
	case op.Null:
		return nil
	case op.Kind == base.KindAdd && op.input != inputInt:
		return base.Invalidf("Error in field 'input' : AddToCell on a %s family takes an int_value", f.Aggregate)
	case op.Kind == base.KindMerge && op.input == inputOther:
		return base.Invalidf("Error in field 'input' : MergeToCell on a %s family takes a raw_value or an int_value", f.Aggregate)
	}
	if op.input == inputRaw {
		if _, err := aggregate.DecodeState(op.Value); err != nil {
			return base.Textf(err, "Error in field 'input' : %s", err)
		}
	}
	return nil
}

// checkTimestamp returns the timestamp to store, in microseconds.
func checkTimestamp(ts, unit int64, clientTime bool) (int64, error) {
	if ts < 0 {
		return 0, base.Invalidf("Invalid timestamp %d: timestamps must not be negative", ts)
	}
	rem := ts % unit
	if rem == 0 {
		return ts, nil
	}
	if clientTime {
		return ts - rem, nil
	}
	return 0, base.Invalidf("Timestamp granularity mismatch. Expected a multiple of %d (millisecond granularity), but got %d.", unit, ts)
}

func checkTimeRange(start, end, unit int64) error {
	if _, err := checkTimestamp(start, unit, false); err != nil {
		return base.Textf(err, "Error in field 'time_range' : %s", err)
	}
	if _, err := checkTimestamp(end, unit, false); err != nil {
		return base.Textf(err, "Error in field 'time_range' : %s", err)
	}
	if end != 0 && start >= end {
		return base.Invalidf("Error in field 'time_range' : inverted or invalid timestamp range [%d, %d)", start, end)
	}
	return nil
}
