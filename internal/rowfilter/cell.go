package rowfilter

import "github.com/tabletdb/tabletdb/internal/base"

// Cell is one cell of a row. What is passed to Push and to its callback is
// borrowed for the duration of the call.
type Cell struct {
	Family    string // name; cells of a family all have the same
	FamilyID  base.FamilyID
	Qualifier []byte
	Timestamp int64 // microseconds
	Value     []byte
	Labels    []string
}

// Hint tells which of the following cells of the row can still change the
// result. A reader that pushes more than needed gets the same result.
type Hint uint8

const (
	// More: the next cell.
	More Hint = iota
	// SkipColumn: the first cell of the next column.
	SkipColumn
	// SkipFamily: the first cell of the next family.
	SkipFamily
	// SkipRow: none; go on with End.
	SkipRow
)

// String returns the name of h.
func (h Hint) String() string {
	switch h {
	case More:
		return "More"
	case SkipColumn:
		return "SkipColumn"
	case SkipFamily:
		return "SkipFamily"
	}
	return "SkipRow"
}
