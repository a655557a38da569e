package retry

import (
	"context"
	"errors"
	"io"

	"github.com/tabletdb/tabletdb/objstore"
)

// Download implements objstore.Streamer. A stream that breaks is taken up again
// where it broke, which is sound as long as nobody replaces the object: by
// convention objects that are large enough to be streamed never change.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if off < 0 { // to resume, the place must be known
		info, err := s.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		lo, hi := objstore.Window(info.Size, off, n)
		off, n = lo, hi-lo
	}
	d := &download{s: s, ctx: ctx, key: key, off: off, n: n}
	if err := s.do(ctx, "Download", key, 0, d.open); err != nil {
		return nil, err
	}
	return d, nil
}

// download is a stream that mends itself.
type download struct {
	s    *Store
	ctx  context.Context // of the call of Download, as for any stream
	key  string
	off  int64         // of the next byte to read
	n    int64         // bytes left, or negative: to the end
	body io.ReadCloser // nil after a failure
}

// open starts the stream at the next byte.
func (d *download) open(ctx context.Context) (err error) {
	d.body, err = objstore.Download(ctx, d.s.inner, d.key, d.off, d.n)
	return err
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	end := false
	err := d.s.do(d.ctx, "Download", d.key, 0, func(ctx context.Context) (err error) {
		if d.body == nil {
			if err := d.open(ctx); err != nil {
				d.body = nil
				return err
			}
		}
		n, err = d.body.Read(p)
		d.advance(n)
		end = errors.Is(err, io.EOF)
		if end || err == nil {
			return nil
		}
		_ = d.body.Close()
		d.body = nil
		if n > 0 {
			return nil // progress: the next Read opens anew
		}
		return err
	})
	if err == nil && end {
		err = io.EOF
	}
	return n, err
}

func (d *download) advance(n int) {
	d.off += int64(n)
	if d.n >= 0 {
		d.n -= int64(n)
	}
}

// Close implements io.Closer.
func (d *download) Close() error {
	if d.body == nil {
		return nil
	}
	return d.body.Close()
}
