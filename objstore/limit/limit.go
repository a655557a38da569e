// Package limit is the decorator that bounds what is asked of an object store at
// a time: so many calls in flight, and optionally so many bytes a second,
// separately for foreground work, which somebody waits for, and background work
// such as compactions.
package limit

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/tabletdb/tabletdb/objstore"
)

// Class says on whose account a call is made.
type Class int

const (
	// Foreground calls hold up a request of a user. It is the class of calls
	// whose context says nothing.
	Foreground Class = iota
	// Background calls can wait.
	Background

	classes
)

type classKey struct{}

// WithClass returns a context whose calls on a Store are of class c.
func WithClass(ctx context.Context, c Class) context.Context {
	return context.WithValue(ctx, classKey{}, c)
}

// ClassOf returns the class of calls with ctx.
func ClassOf(ctx context.Context) Class {
	if c, ok := ctx.Value(classKey{}).(Class); ok && c > Foreground && c < classes {
		return c
	}
	return Foreground
}

// Limits of one class; zero fields mean the defaults.
type Limits struct {
	// Calls is how many calls may be in flight: 128 by default for Foreground,
	// 8 for Background. Others wait their turn, first come, first served.
	Calls int
	// BytesPerSecond bounds the bytes put and got, averaged over about a
	// second: 0, the default, for no bound.
	BytesPerSecond int64
}

// Options of a Store.
type Options struct {
	Foreground Limits
	Background Limits
}

// Store bounds the calls on another store. It implements objstore.Store and
// objstore.Streamer and has no goroutines of its own.
type Store struct {
	inner   objstore.Store
	classes [classes]class
}

type class struct {
	calls *semaphore.Weighted
	bytes *rate.Limiter // nil for no bound
}

// New returns inner with limits.
func New(inner objstore.Store, opts Options) *Store {
	s := &Store{inner: inner}
	s.classes[Foreground] = newClass(opts.Foreground, 128)
	s.classes[Background] = newClass(opts.Background, 8)
	return s
}

func newClass(l Limits, calls int) class {
	if l.Calls > 0 {
		calls = l.Calls
	}
	c := class{calls: semaphore.NewWeighted(int64(calls))}
	if l.BytesPerSecond > 0 {
		c.bytes = rate.NewLimiter(rate.Limit(l.BytesPerSecond), int(min(l.BytesPerSecond, 1<<30)))
	}
	return c
}

// begin waits for a free slot. end gives it back and charges the bytes moved.
func (s *Store) begin(ctx context.Context) (end func(bytes int), err error) {
	c := &s.classes[ClassOf(ctx)]
	if err := c.calls.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for a slot of the object store: %w", err)
	}
	if c.bytes != nil {
		// Bytes are charged when they have moved; here a debt is waited off.
		if err := c.bytes.Wait(ctx); err != nil {
			c.calls.Release(1)
			if ctx.Err() == nil {
				err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err) // it would end first
			}
			return nil, fmt.Errorf("wait for bandwidth of the object store: %w", err)
		}
	}
	return func(bytes int) {
		c.charge(bytes)
		c.calls.Release(1)
	}, nil
}

// charge takes bytes from the limiter, into debt if need be.
func (c *class) charge(bytes int) {
	if c.bytes == nil {
		return
	}
	for bytes > 0 {
		n := min(bytes, c.bytes.Burst())
		c.bytes.ReserveN(time.Now(), n)
		bytes -= n
	}
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end(len(data))
	return s.inner.Put(ctx, key, data)
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end(len(data))
	return s.inner.PutIfAbsent(ctx, key, data)
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	data, err := s.inner.Get(ctx, key)
	end(len(data))
	return data, err
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	data, err := s.inner.GetRange(ctx, key, off, n)
	end(len(data))
	return data, err
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return objstore.Info{}, err
	}
	defer end(0)
	return s.inner.Stat(ctx, key)
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end(0)
	return s.inner.Delete(ctx, keys...)
}

// listChunk is how many objects a listing fetches per slot: a page of S3.
const listChunk = 1000

// List implements objstore.Store. It holds a slot while it fetches a chunk of
// the listing, but none while the caller works on it, who may need slots.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for after := startAfter; ; {
			chunk, err := s.listChunk(ctx, prefix, after)
			for _, info := range chunk {
				if !yield(info, nil) {
					return
				}
				after = info.Key
			}
			if err != nil {
				yield(objstore.Info{}, err)
				return
			}
			if len(chunk) < listChunk {
				return
			}
		}
	}
}

func (s *Store) listChunk(ctx context.Context, prefix, after string) (chunk []objstore.Info, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end(0)
	for info, err := range s.inner.List(ctx, prefix, after) {
		if err != nil {
			return chunk, err
		}
		if chunk = append(chunk, info); len(chunk) == listChunk {
			break
		}
	}
	return chunk, nil
}

// Upload implements objstore.Streamer.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end(int(size))
	return objstore.Upload(ctx, s.inner, key, r, size)
}

// Download implements objstore.Streamer. The slot is held until the stream is
// closed.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	body, err := objstore.Download(ctx, s.inner, key, off, n)
	if err != nil {
		end(0)
		return nil, err
	}
	return &stream{ReadCloser: body, class: &s.classes[ClassOf(ctx)], end: end}, nil
}

// stream charges what is read from it, and gives its slot back once.
type stream struct {
	io.ReadCloser
	class *class
	end   func(int)
	once  sync.Once
}

func (r *stream) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.class.charge(n)
	return n, err
}

func (r *stream) Close() error {
	r.once.Do(func() { r.end(0) })
	return r.ReadCloser.Close()
}
