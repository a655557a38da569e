package mutation

import (
	"strconv"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Limits of the API, in bytes or as counts.
const (
	MaxRowKey    = 4096
	MaxQualifier = 16 << 10
	MaxValue     = 100 << 20
	MaxMutations = 100_000 // of one request, over all its rows
	MaxRules     = 100_000 // of one read-modify-write
	MinToken     = 8       // of an idempotency token
)

// CheckRowKey refuses row keys that no row can have.
func CheckRowKey(row []byte) error {
	switch {
	case len(row) == 0:
		return base.Invalidf("Row keys must be non-empty")
	case len(row) > MaxRowKey:
		return base.Invalidf("Row key of %d bytes exceeds the limit of %d bytes", len(row), MaxRowKey)
	}
	return nil
}

func checkQualifier(q []byte) error {
	if len(q) > MaxQualifier {
		return base.Invalidf("Column qualifier of %d bytes exceeds the limit of %d bytes", len(q), MaxQualifier)
	}
	return nil
}

func checkValue(n int) error {
	if n > MaxValue {
		return base.Invalidf("Cell value of %d bytes exceeds the limit of %d bytes", n, MaxValue)
	}
	return nil
}

func tooManyMutations(n int) error {
	return base.Invalidf("Too many mutations: %d provided; limit %d", n, MaxMutations)
}

// printable returns b fit for the text of an error: valid UTF-8, and short.
func printable(b []byte) string {
	const most = 128
	tail := ""
	if len(b) > most {
		b, tail = b[:most], "..."
	}
	q := strconv.Quote(string(b))
	return q[1:len(q)-1] + tail
}
