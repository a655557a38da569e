package local

import (
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
	f, size, err := s.open(ctx, key)
	if err != nil {
		return objstore.Info{}, err
	}
	return objstore.Info{Key: key, Size: size}, f.Close()
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	lo, hi := objstore.Window(size, off, n)
	body := &contextReader{ctx: ctx, r: io.NewSectionReader(f, lo, hi-lo)}
	return struct {
		io.Reader
		io.Closer
	}{body, f}, nil
}

func (s *Store) read(ctx context.Context, key string, off, n int64) ([]byte, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lo, hi := objstore.Window(size, off, n)
	data := make([]byte, hi-lo)
	if got, err := f.ReadAt(data, lo); err != nil && got < len(data) {
		return nil, fmt.Errorf("read %s at %d: %w", key, lo+int64(got), err)
	}
	return data, nil
}

// open opens the file of an object, which never changes: a replacing put makes
// a new file.
func (s *Store) open(ctx context.Context, key string) (f *os.File, size int64, err error) {
	if err = ctx.Err(); err == nil {
		err = objstore.CheckKey(key)
	}
	if err == nil {
		f, size, err = s.openPath(s.path(key))
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return f, size, nil
}

func (s *Store) openPath(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, explainRead(err)
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
		return nil, 0, err
	}
	return f, info.Size(), nil
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
