package master_test

import (
	"context"
	"iter"

	"github.com/tabletdb/tabletdb/objstore"
)

// gate is a bucket that takes no write of the master before it is opened.
type gate struct {
	objstore.Store
	open chan struct{}
}

func (g *gate) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	select {
	case <-g.open:
		return g.Store.PutIfAbsent(ctx, key, data)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stepStore calls step before each request.
type stepStore struct {
	objstore.Store
	step func() error
}

func (s *stepStore) Put(ctx context.Context, key string, data []byte) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, data)
}

func (s *stepStore) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.Store.PutIfAbsent(ctx, key, data)
}

func (s *stepStore) Delete(ctx context.Context, keys ...string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.Store.Delete(ctx, keys...)
}

func (s *stepStore) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if err := s.step(); err != nil {
		return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, err) }
	}
	return s.Store.List(ctx, prefix, after)
}
