package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Upload is PutIfAbsent with the size bytes that r holds: by the store's own
// Streamer where it has that ability, else through memory. It may read r more
// than once and at several places concurrently, and is done with r on return.
func Upload(ctx context.Context, s Store, key string, r io.ReaderAt, size int64) error {
	if st, ok := s.(Streamer); ok {
		return st.Upload(ctx, key, r, size)
	}
	data, err := ReadUpload(key, r, size)
	if err != nil {
		return err
	}
	return s.PutIfAbsent(ctx, key, data)
}

// ReadUpload reads the content of an upload into memory.
func ReadUpload(key string, r io.ReaderAt, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("upload %s: %w: size %d", key, base.ErrInvalid, size)
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, 0); n < len(data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("upload %s: read source at %d of %d: %w", key, n, size, err)
	}
	return data, nil
}

// Download streams n bytes from off (n < 0: to the end; a negative off counts
// from the end): by the store's own Streamer where it has that ability, else
// through memory. A stream that ends with io.EOF is whole. The caller closes it.
func Download(ctx context.Context, s Store, key string, off, n int64) (io.ReadCloser, error) {
	if st, ok := s.(Streamer); ok {
		return st.Download(ctx, key, off, n)
	}
	var data []byte
	var err error
	switch {
	case off == 0 && n < 0:
		data, err = s.Get(ctx, key)
	case n < 0:
		data, err = readTail(ctx, s, key, off)
	default:
		data, err = s.GetRange(ctx, key, off, n)
	}
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// readTail reads from off to the end.
func readTail(ctx context.Context, s Store, key string, off int64) ([]byte, error) {
	if off < 0 {
		return s.GetRange(ctx, key, off, -off)
	}
	info, err := s.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	return s.GetRange(ctx, key, off, max(info.Size-off, 0))
}

// Window returns the part [lo, hi) of an object of size bytes that
// GetRange(off, n) asks for; n < 0 stands for "to the end". Implementations use
// it so that they agree on every corner.
func Window(size, off, n int64) (lo, hi int64) {
	if off < 0 {
		off = max(size+off, 0)
	}
	lo = min(off, size)
	if n < 0 || n > size-lo {
		return lo, size
	}
	return lo, lo + n
}

// CheckRange refuses a negative length.
func CheckRange(key string, n int64) error {
	if n < 0 {
		return fmt.Errorf("read %s: %w: length %d", key, base.ErrInvalid, n)
	}
	return nil
}
