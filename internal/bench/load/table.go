package load

import (
	"context"
	"errors"
)

// Table is what a load works on. Its methods may be called concurrently, and
// do not keep what they are given after they return.
type Table interface {
	// Write stores the value of a row, with the version, in milliseconds, as
	// its timestamp.
	Write(ctx context.Context, key string, version int64, value []byte) error
	// WriteBulk stores one value for each key. It returns nil or an error for
	// each row, or one error for all.
	WriteBulk(ctx context.Context, keys []string, versions []int64, values [][]byte) ([]error, error)
	// Read returns the newest value of a row; ErrMissing if it has none.
	Read(ctx context.Context, key string) ([]byte, error)
	// Scan calls f with the newest values of the rows from start on, in order,
	// until f returns false or limit rows were read; 0 is no limit. The value
	// is valid until f returns.
	Scan(ctx context.Context, start string, limit int64, f func(key string, value []byte) bool) error
	// Increment adds to the counter of a row and returns the sum.
	Increment(ctx context.Context, key string, delta int64) (int64, error)
	// Counter returns the counter of a row; 0 if it has none.
	Counter(ctx context.Context, key string) (int64, error)
}

// ErrMissing says that a row has no value.
var ErrMissing = errors.New("missing row")

// ErrWrong says that a table answered with something it was not given, or
// forgot something it had acknowledged.
var ErrWrong = errors.New("wrong value")
