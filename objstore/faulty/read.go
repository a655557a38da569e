package faulty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/tabletdb/tabletdb/objstore"
)

// maxIntact bounds how much of a stream arrives before a truncation, in bytes.
const maxIntact = 4096

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	return s.read(ctx, Get, key, func() ([]byte, error) { return s.inner.Get(ctx, key) })
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	return s.read(ctx, GetRange, key, func() ([]byte, error) { return s.inner.GetRange(ctx, key, off, n) })
}

func (s *Store) read(ctx context.Context, op Op, key string, get func() ([]byte, error)) ([]byte, error) {
	f := s.strike(op, key)
	if err, handled := f.fail(ctx, op, key); handled {
		if f.Kind == Truncate {
			err = fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	data, err := get()
	if f.Kind == Flip && len(data) > 0 {
		data[s.random(len(data))] ^= 1 << s.random(8)
	}
	return data, err
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err, handled := s.strike(Stat, key).fail(ctx, Stat, key); handled {
		return objstore.Info{}, err
	}
	return s.inner.Stat(ctx, key)
}

// List implements objstore.Store.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		f := s.strike(List, prefix)
		cut := -1
		if f.Kind == Truncate {
			cut = s.random(2 * s.pageSize)
		} else if err, handled := f.fail(ctx, List, prefix); handled {
			yield(objstore.Info{}, err)
			return
		}
		n := 0
		for info, err := range s.inner.List(ctx, prefix, startAfter) {
			if n == cut {
				break
			}
			if f.Kind == Slow && n > 0 && n%s.pageSize == 0 && err == nil {
				err = wait(ctx, f.Delay)
			}
			if !yield(info, err) || err != nil {
				return
			}
			n++
		}
		if cut >= 0 {
			yield(objstore.Info{}, fmt.Errorf("list %s: %w: %w", prefix, ErrInjected, io.ErrUnexpectedEOF))
		}
	}
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f := s.strike(Download, key)
	if f.Kind != Truncate {
		if err, handled := f.fail(ctx, Download, key); handled {
			return nil, err
		}
	}
	body, err := objstore.Download(ctx, s.inner, key, off, n)
	if err != nil || f.Kind != Truncate && f.Kind != Flip {
		return body, err
	}
	return &badStream{ReadCloser: body, kind: f.Kind, intact: s.random(maxIntact), bit: s.random(8)}, nil
}

// badStream breaks off after some intact bytes, at the end of the stream at the
// latest, or flips a bit in the first bytes read.
type badStream struct {
	io.ReadCloser
	kind   Kind
	intact int
	bit    int
	done   bool
}

func (b *badStream) Read(p []byte) (int, error) {
	if b.kind == Flip {
		n, err := b.ReadCloser.Read(p)
		if n > 0 && !b.done {
			p[b.intact%n] ^= 1 << b.bit
			b.done = true
		}
		return n, err
	}
	if b.intact == 0 {
		return 0, fmt.Errorf("%w: %w", ErrInjected, io.ErrUnexpectedEOF)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.intact)])
	b.intact -= n
	if errors.Is(err, io.EOF) {
		b.intact = 0
		err = fmt.Errorf("%w: %w", ErrInjected, io.ErrUnexpectedEOF)
	}
	return n, err
}
