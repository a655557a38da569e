package sstable

import (
	"context"

	"github.com/tabletdb/tabletdb/objstore"
)

// Source is the stored bytes of one file. Its methods may be called
// concurrently.
type Source interface {
	// ReadAt returns n bytes from off, or fewer only where the file ends; a
	// negative off counts from its end, as in objstore.Store. The bytes are
	// not changed afterwards by anyone.
	ReadAt(ctx context.Context, off, n int64) ([]byte, error)
	// Name names the file in errors.
	Name() string
}

// FreshReader is the optional ability of a Source to read past any cache of
// its own; it is asked where bytes from ReadAt fail their checksum, and drops
// what it had cached of them. Without it ReadAt is asked again.
type FreshReader interface {
	ReadFresh(ctx context.Context, off, n int64) ([]byte, error)
}

// freshStore is the optional ability of an objstore.Store that caches: GetRange
// that drops what is cached of the range and asks the store below.
type freshStore interface {
	GetRangeFresh(ctx context.Context, key string, off, n int64) ([]byte, error)
}

// ObjectSource is a file in an object store.
type ObjectSource struct {
	store objstore.Store
	key   string
}

var (
	_ Source      = (*ObjectSource)(nil)
	_ FreshReader = (*ObjectSource)(nil)
)

// NewObjectSource returns the object key of store as a Source.
func NewObjectSource(store objstore.Store, key string) *ObjectSource {
	return &ObjectSource{store: store, key: key}
}

// Name implements Source: the key of the object.
func (s *ObjectSource) Name() string { return s.key }

// ReadAt implements Source: one GetRange.
func (s *ObjectSource) ReadAt(ctx context.Context, off, n int64) ([]byte, error) {
	return s.store.GetRange(ctx, s.key, off, n)
}

// ReadFresh implements FreshReader. A store that caches offers GetRangeFresh
// with the arguments of GetRange; others are asked as usual.
func (s *ObjectSource) ReadFresh(ctx context.Context, off, n int64) ([]byte, error) {
	if f, ok := s.store.(freshStore); ok {
		return f.GetRangeFresh(ctx, s.key, off, n)
	}
	return s.store.GetRange(ctx, s.key, off, n)
}
