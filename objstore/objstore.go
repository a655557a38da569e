// Package objstore is the contract TabletDB has with its bucket: a flat
// namespace of immutable-by-convention objects, with strong read-after-write
// and list-after-write consistency and an atomic, durable create-if-absent.
// The implementations are in mem, local and s3; retry, limit, measure and faulty
// are decorators; objstoretest holds the conformance suite, probe the check every
// process makes at start-up, and openstore turns a URL into a store.
package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
)

var (
	// ErrNotFound is returned by Get, GetRange and Stat (wrapped, with the
	// key) when no object of that name exists.
	ErrNotFound = errors.New("object not found")
	// ErrExists is returned by PutIfAbsent (wrapped, with the key) when an
	// object of that name exists. After a lost reply it may be the caller's
	// own: stores may retry a put that was applied.
	ErrExists = errors.New("object exists")
	// ErrThrottled marks a refusal by the store that asks for less load
	// (503 SlowDown). Retry decorators back off longer on it.
	ErrThrottled = errors.New("object store throttles")
	// ErrDenied marks wrong credentials or a missing bucket: retrying does
	// not help before a person acts.
	ErrDenied = errors.New("object store denies access")
)

// MaxKeyLen is the longest key every implementation accepts, in bytes. CheckKey
// has the other rules for keys.
const MaxKeyLen = 512

// Info describes one object.
type Info struct {
	Key  string
	Size int64
}

// Store is an object store. All methods may be called concurrently; none keeps
// a slice it was given after it returned, and the caller owns returned slices.
//
// A method that returns an error other than the sentinels may have had its
// effect or not, and a put may even land after the method returned; so callers
// that care use PutIfAbsent with content that tells whose it is.
type Store interface {
	// Put makes data the content of key, replacing what was there. It is
	// atomic (readers see the old or the new content) and durable on return.
	Put(ctx context.Context, key string, data []byte) error

	// PutIfAbsent is Put where no object exists, else ErrExists. Of several
	// racing calls for one key exactly one ever wins.
	PutIfAbsent(ctx context.Context, key string, data []byte) error

	// Get returns the whole object.
	Get(ctx context.Context, key string) ([]byte, error)

	// GetRange returns n bytes from off, or fewer only where the object ends
	// before off+n; off at or past the end gives an empty slice. A negative
	// off counts from the end of the object (off=-64, n=64: the last 64 bytes,
	// or the whole object if it is shorter).
	GetRange(ctx context.Context, key string, off, n int64) ([]byte, error)

	// Stat returns the size of the object.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose key starts with prefix and is greater
	// than startAfter ("" for all), in ascending byte order of their keys. An
	// object that exists during the whole listing is yielded once. An error
	// ends the sequence.
	List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error]

	// Delete removes the objects; keys that do not exist are no error. It is
	// done in batches as large as the store allows; on error some may remain.
	Delete(ctx context.Context, keys ...string) error
}

// Streamer is the optional ability to move objects that one does not want in
// memory at once. Use the functions Upload and Download, which fall back to
// whole objects.
type Streamer interface {
	// Upload is PutIfAbsent with the content of r, which holds size bytes. It
	// may read r more than once, and parts of it concurrently.
	Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error
	// Download streams n bytes from off (n < 0: to the end). The caller
	// closes the reader.
	Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
}
