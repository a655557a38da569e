package mutation

import (
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
)

// Timestamp units of tables, in microseconds.
const (
	UnitMillis int64 = 1000
	UnitMicros int64 = 1
)

// FamilySpec is what a write must know of a column family.
type FamilySpec struct {
	ID        base.FamilyID
	Aggregate aggregate.Type // None: an ordinary family
}

// Schema is what a write must know of a table. Its methods are called once for
// each mutation and must be cheap; an implementation does not change while a
// request uses it.
type Schema interface {
	// Family returns the family called name; false: the table has none.
	Family(name []byte) (FamilySpec, bool)
	// TimestampUnit is UnitMillis or UnitMicros.
	TimestampUnit() int64
}

// Families is a Schema held in a map; the zero value has no families and a
// granularity of milliseconds.
type Families struct {
	ByName map[string]FamilySpec
	Unit   int64 // 0: UnitMillis
}

// Family implements Schema.
func (f *Families) Family(name []byte) (FamilySpec, bool) {
	s, ok := f.ByName[string(name)]
	return s, ok
}

// TimestampUnit implements Schema.
func (f *Families) TimestampUnit() int64 {
	if f.Unit == 0 {
		return UnitMillis
	}
	return f.Unit
}
