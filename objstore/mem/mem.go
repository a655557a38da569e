// Package mem is an object store in memory: the bucket of tests and of clusters
// that need not outlive their process.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/google/btree"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Store implements objstore.Store. It starts no goroutine; listings are
// snapshots. The zero Store is not usable: call New.
type Store struct {
	mu struct {
		sync.RWMutex
		objects *btree.BTreeG[object]
		bytes   int64
	}
}

// object is one entry of the tree; data is never changed once stored.
type object struct {
	key  string
	data []byte
}

// New returns an empty store.
func New() *Store {
	s := &Store{}
	s.mu.objects = btree.NewG(32, func(a, b object) bool { return a.key < b.key })
	return s
}

// Close does nothing: the objects stay until the store is garbage.
func (s *Store) Close() error { return nil }

// Size returns how many objects the store holds, and how many bytes.
func (s *Store) Size() (objects int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.objects.Len(), s.mu.bytes
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.put(ctx, key, data, true)
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return s.put(ctx, key, data, false)
}

func (s *Store) put(ctx context.Context, key string, data []byte, replace bool) error {
	if err := ready(ctx, key); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	o := object{key: key, data: bytes.Clone(data)}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.mu.objects.Get(o)
	if found && !replace {
		return fmt.Errorf("put %s: %w", key, objstore.ErrExists)
	}
	if !found {
		if other := s.clashLocked(key); other != "" {
			return fmt.Errorf("put %s: %w: one of it and object %s continues the other after a slash",
				key, base.ErrInvalid, other)
		}
	}
	s.mu.objects.ReplaceOrInsert(o)
	s.mu.bytes += int64(len(o.data) - len(old.data))
	return nil
}

// clashLocked returns an object whose key continues key after a slash, or the
// other way round, or "". Directories and MinIO refuse such keys, so tests in
// memory do too.
func (s *Store) clashLocked(key string) string {
	for i, c := range []byte(key) {
		if c == '/' && s.mu.objects.Has(object{key: key[:i]}) {
			return key[:i]
		}
	}
	var clash string
	s.mu.objects.AscendGreaterOrEqual(object{key: key + "/"}, func(o object) bool {
		if strings.HasPrefix(o.key, key+"/") {
			clash = o.key
		}
		return false
	})
	return clash
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := s.find(ctx, key)
	if err != nil {
		return nil, err
	}
	return append([]byte{}, data...), nil
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := objstore.CheckRange(key, n); err != nil {
		return nil, err
	}
	data, err := s.find(ctx, key)
	if err != nil {
		return nil, err
	}
	lo, hi := objstore.Window(int64(len(data)), off, n)
	return append([]byte{}, data[lo:hi]...), nil
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	data, err := s.find(ctx, key)
	if err != nil {
		return objstore.Info{}, err
	}
	return objstore.Info{Key: key, Size: int64(len(data))}, nil
}

// find returns the stored bytes, which the caller must not change.
func (s *Store) find(ctx context.Context, key string) ([]byte, error) {
	if err := ready(ctx, key); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, found := s.mu.objects.Get(object{key: key})
	if !found {
		return nil, fmt.Errorf("read %s: %w", key, objstore.ErrNotFound)
	}
	return o.data, nil
}

// List implements objstore.Store.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.CheckPrefix(prefix); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list: %w", err))
			return
		}
		s.mu.Lock() // Clone writes to the tree it copies
		snapshot := s.mu.objects.Clone()
		s.mu.Unlock()
		snapshot.AscendGreaterOrEqual(object{key: max(prefix, startAfter)}, func(o object) bool {
			if err := ctx.Err(); err != nil {
				yield(objstore.Info{}, fmt.Errorf("list %s: %w", prefix, err))
				return false
			}
			if !strings.HasPrefix(o.key, prefix) {
				return false
			}
			if startAfter != "" && o.key == startAfter {
				return true
			}
			return yield(objstore.Info{Key: o.key, Size: int64(len(o.data))}, nil)
		})
	}
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := ready(ctx, key); err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if old, found := s.mu.objects.Delete(object{key: key}); found {
			s.mu.bytes -= int64(len(old.data))
		}
	}
	return nil
}

func ready(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return objstore.CheckKey(key)
}
