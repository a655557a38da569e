package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

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

func (s *Store) read(ctx context.Context, key string, off, n int64) ([]byte, error) {
	body, err := s.open(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data := make([]byte, body.left)
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, err
	}
	return data, nil
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return s.open(ctx, key, off, n)
}

// open asks for n bytes from off (n < 0: to the end) in one request.
func (s *Store) open(ctx context.Context, key string, off, n int64) (*body, error) {
	if err := ready(ctx, key); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if n == 0 { // the protocol has no empty range
		if _, err := s.Stat(ctx, key); err != nil {
			return nil, err
		}
		return s.emptyBody(ctx, key), nil
	}
	rng := ""
	if off != 0 || n > 0 {
		rng = rangeHeader(off, n)
	}
	rc, header, err := s.get(ctx, key, rng)
	if rng != "" && minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
		if off >= 0 {
			return s.emptyBody(ctx, key), nil // at or past the end
		}
		// The object is empty or, with stores that do not cut a suffix to
		// what there is, shorter than the suffix: small in any case.
		rc, header, err = s.get(ctx, key, "")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, s.explain(ctx, err))
	}
	b, err := s.newBody(ctx, key, rc, header, off, n)
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return b, nil
}

func (s *Store) get(ctx context.Context, key, rng string) (io.ReadCloser, http.Header, error) {
	var opts minio.GetObjectOptions
	if rng != "" {
		opts.Set("Range", rng)
	}
	rc, _, header, err := s.core.GetObject(ctx, s.cfg.Bucket, s.cfg.Prefix+key, opts)
	return rc, header, err
}

// rangeHeader asks for [off, off+n), for all from off, or for a suffix.
func rangeHeader(off, n int64) string {
	switch {
	case off < 0:
		return fmt.Sprintf("bytes=%d", off)
	case n < 0 || off+n < off:
		return fmt.Sprintf("bytes=%d-", off)
	}
	return fmt.Sprintf("bytes=%d-%d", off, off+n-1)
}

// newBody works out which part of the object the response holds, and places
// the body at the wanted one: suffixes can be longer than wanted, and a server
// may send the whole object.
func (s *Store) newBody(ctx context.Context, key string, rc io.ReadCloser, header http.Header, off, n int64) (*body, error) {
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return nil, fmt.Errorf("the response has no usable Content-Length (%q)", header.Get("Content-Length"))
	}
	first, size := int64(0), length
	// MinIO answers "bytes 0--1/0" to a suffix of an empty object.
	if cr := header.Get("Content-Range"); cr != "" && length > 0 {
		var last int64
		if first, last, size, err = parseContentRange(cr); err != nil {
			return nil, err
		}
		if last-first+1 != length {
			return nil, fmt.Errorf("the response has %d bytes for the range %q", length, cr)
		}
	}
	lo, hi := objstore.Window(size, off, n)
	if lo < hi && (lo < first || hi > first+length) {
		return nil, fmt.Errorf("the response has bytes %d to %d of %d, not %d to %d", first, first+length, size, lo, hi)
	}
	if lo < hi && lo > first {
		if _, err := io.CopyN(io.Discard, rc, lo-first); err != nil {
			return nil, s.explain(ctx, unexpected(err))
		}
	}
	return &body{s: s, ctx: ctx, key: key, rc: rc, left: hi - lo}, nil
}

// parseContentRange parses "bytes 0-9/100".
func parseContentRange(v string) (first, last, size int64, err error) {
	spec, ok := strings.CutPrefix(v, "bytes ")
	extent, total, ok2 := strings.Cut(spec, "/")
	from, to, ok3 := strings.Cut(extent, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	size, err3 := strconv.ParseInt(total, 10, 64)
	if !ok || !ok2 || !ok3 || errors.Join(err1, err2, err3) != nil || first < 0 || last < first || size <= last {
		return 0, 0, 0, fmt.Errorf("the response has an unusable Content-Range %q", v)
	}
	return first, last, size, nil
}

// body is the part of an object that was asked for. It ends with io.EOF only
// when all of it was read.
type body struct {
	s    *Store
	ctx  context.Context // of the request
	key  string
	rc   io.ReadCloser
	left int64
}

func (s *Store) emptyBody(ctx context.Context, key string) *body {
	return &body{s: s, ctx: ctx, key: key, rc: http.NoBody}
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.rc.Read(p)
	b.left -= int64(n)
	if err != nil && b.left > 0 {
		return n, fmt.Errorf("read %s, %d bytes before the end: %w", b.key, b.left, b.s.explain(b.ctx, unexpected(err)))
	}
	return n, nil
}

// Close implements io.Closer. What is left unread costs the connection.
func (b *body) Close() error { return b.rc.Close() }

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
