package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tabletdb/tabletdb/objstore"
)

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	return s.read(ctx, key, 0, -1)
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := objstore.CheckRange(key, n); err != nil {
		return nil, err
	}
	return s.read(ctx, key, off, n)
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	o, err := s.open(ctx, key)
	if err != nil {
		return objstore.Info{}, err
	}
	return objstore.Info{Key: key, Size: o.size}, o.Close()
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	o, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	if o.ref != (ref{}) { // small, and to be checked when it has been read
		o.Close()
		data, err := s.read(ctx, key, off, n)
		return io.NopCloser(bytes.NewReader(data)), err
	}
	lo, hi := objstore.Window(o.size, off, n)
	body := &contextReader{ctx: ctx, r: io.NewSectionReader(o.File, o.off+lo, hi-lo)}
	return struct {
		io.Reader
		io.Closer
	}{body, o.File}, nil
}

func (s *Store) read(ctx context.Context, key string, off, n int64) ([]byte, error) {
	o, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	lo, hi := objstore.Window(o.size, off, n)
	data := make([]byte, hi-lo)
	if got, err := o.ReadAt(data, o.off+lo); err != nil && got < len(data) {
		return nil, fmt.Errorf("read %s at %d: %w", key, lo+int64(got), err)
	}
	if o.ref != (ref{}) {
		// The pack may have been used again since the object was deleted; while it
		// has its name it is what it was.
		if r, ok := readRef(s.path(key)); !ok || r != o.ref {
			return nil, fmt.Errorf("read %s: %w", key, objstore.ErrNotFound)
		}
	}
	return data, nil
}

// object is an object opened for reading: part of a file, or all of it. It never
// changes: a replacing put makes a new file.
type object struct {
	*os.File
	off, size int64
	ref       ref // zero: it has a file of its own
}

func (s *Store) open(ctx context.Context, key string) (o object, err error) {
	if err = ctx.Err(); err == nil {
		err = objstore.CheckKey(key)
	}
	if err == nil {
		path := s.path(key)
		if o, err = s.openFile(path); errors.Is(err, objstore.ErrNotFound) {
			if r, ok := readRef(path); ok {
				o, err = s.openPacked(r)
			}
		}
	}
	if err != nil {
		return object{}, fmt.Errorf("read %s: %w", key, err)
	}
	return o, nil
}

func (s *Store) openFile(path string) (object, error) {
	f, err := os.Open(path)
	if err != nil {
		return object{}, explainRead(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = objstore.ErrNotFound
	}
	if err == nil {
		err = s.dirs.settle(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return object{}, err
	}
	return object{f, 0, info.Size(), ref{}}, nil
}

func (s *Store) openPacked(r ref) (object, error) {
	f, err := os.Open(filepath.Join(s.root, packDir, r.pack))
	if err != nil {
		return object{}, explainRead(err)
	}
	return object{f, r.off, r.len, r}, nil
}

func explainRead(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return objstore.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the process may not read there (%w)", objstore.ErrDenied, err)
	}
	return err
}
