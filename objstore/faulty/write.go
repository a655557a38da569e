package faulty

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/tabletdb/tabletdb/objstore"
)

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.write(ctx, Put, key, s.strike(Put, key), data, s.inner.Put)
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return s.write(ctx, PutIfAbsent, key, s.strike(PutIfAbsent, key), data, s.inner.PutIfAbsent)
}

// Upload implements objstore.Streamer.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	fault := s.strike(Upload, key)
	if fault.Kind != LandLate && fault.Kind != LandTwice {
		return s.write(ctx, Upload, key, fault, nil, func(ctx context.Context, key string, _ []byte) error {
			return objstore.Upload(ctx, s.inner, key, r, size)
		})
	}
	data, err := objstore.ReadUpload(key, r, size) // the source may be gone by then
	if err != nil {
		return err
	}
	return s.write(ctx, Upload, key, fault, data, func(ctx context.Context, key string, data []byte) error {
		return objstore.Upload(ctx, s.inner, key, bytes.NewReader(data), int64(len(data)))
	})
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	fault := s.strike(Delete, keys...)
	if fault.Kind == Torn {
		if err := s.inner.Delete(ctx, keys[:(len(keys)+1)/2]...); err != nil {
			return err
		}
	}
	keys = slices.Clone(keys)
	return s.write(ctx, Delete, first(keys), fault, nil, func(ctx context.Context, _ string, _ []byte) error {
		return s.inner.Delete(ctx, keys...)
	})
}

// write carries out one write under a fault.
func (s *Store) write(ctx context.Context, op Op, key string, f Fault, data []byte, apply func(context.Context, string, []byte) error) error {
	if err, handled := f.fail(ctx, op, key); handled {
		return err
	}
	switch f.Kind {
	case LandLate, LandTwice:
		copied := bytes.Clone(data)
		again := func(ctx context.Context) error { return apply(ctx, key, copied) }
		if f.Kind == LandTwice {
			err := apply(ctx, key, data)
			s.later(ctx, f, op, key, again)
			return err
		}
		s.later(ctx, f, op, key, again)
	case FailAfter:
		if err := apply(ctx, key, data); ctx.Err() != nil {
			return err
		}
		if err := wait(ctx, f.Delay); err != nil {
			return fmt.Errorf("%v %s: %w", op, key, err)
		}
	default:
		return apply(ctx, key, data)
	}
	return fmt.Errorf("%v %s: %w: %v", op, key, ErrInjected, f.Kind)
}
