package plan

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// KeyColumn is the name of the column of row keys.
const KeyColumn = "_key"

// Names of the fields of a version.
const (
	timestampField = "timestamp"
	valueField     = "value"
)

// Table is what an analysis knows of a table.
type Table struct {
	ID       string
	Families []Family // in the order in which SELECT * has them
}

// Family is a column family.
type Family struct {
	Name string
	// Number: the values are big-endian INT64, as those of the aggregates SUM,
	// MIN and MAX are.
	Number bool
}

// Equal reports whether plans for t and o are the same.
func (t *Table) Equal(o *Table) bool { return t.ID == o.ID && slices.Equal(t.Families, o.Families) }

// valueType returns the type of the values of f.
func (f *Family) valueType() value.Type {
	if f.Number {
		return value.Of(value.Int64)
	}
	return value.Of(value.Bytes)
}

// columnType returns the type of the column of f.
func (f *Family) columnType(history bool) value.Type {
	t := f.valueType()
	if history {
		t = value.ArrayOf(value.StructOf(
			value.Field{Name: timestampField, Type: value.Of(value.Timestamp)},
			value.Field{Name: valueField, Type: t}))
	}
	return value.MapOf(value.Of(value.Bytes), t)
}

// decode returns the value of a cell. It keeps b.
func (f *Family) decode(b []byte) (value.Value, error) {
	switch {
	case !f.Number && b == nil:
		return []byte{}, nil
	case !f.Number:
		return b, nil
	case len(b) != 8:
		return nil, fmt.Errorf("a cell of the family %s of numbers has %d bytes: %w", f.Name, len(b), base.ErrInvalid)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// invalid returns an error that wraps base.ErrInvalid.
func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, base.ErrInvalid)...)
}
