package objstoretest

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/tabletdb/tabletdb/objstore"
)

// must ends the test on an error; only the test's own goroutine may call it.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check reports an error; any goroutine may call it.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// parallel calls f(0) to f(n-1) from several goroutines and waits.
func parallel(workers, n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func list(ctx context.Context, s objstore.Store, prefix, startAfter string) (keys []string, err error) {
	for info, err := range s.List(ctx, prefix, startAfter) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

func readAll(r io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func wantContent(t *testing.T, s objstore.Store, key, want string) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil {
		t.Error(err)
	} else if string(got) != want {
		t.Errorf("%s holds %.40q, want %.40q", key, got, want)
	}
}

func wantRange(t *testing.T, s objstore.Store, key string, off, n int64, want string) {
	t.Helper()
	got, err := s.GetRange(t.Context(), key, off, n)
	if err != nil {
		t.Errorf("GetRange(%q, %d, %d): %v", key, off, n, err)
	} else if string(got) != want {
		t.Errorf("GetRange(%q, %d, %d) = %q, want %q", key, off, n, got, want)
	}
}

func wantKeys(t *testing.T, s objstore.Store, prefix, startAfter string, want ...string) {
	t.Helper()
	got, err := list(t.Context(), s, prefix, startAfter)
	if err != nil {
		t.Errorf("List(%q, %q): %v", prefix, startAfter, err)
	} else if !slices.Equal(got, want) {
		t.Errorf("List(%q, %q) = %q, want %q", prefix, startAfter, got, want)
	}
}

// Clear deletes all objects of s, at the end of a test on a shared bucket; ctx
// may be done already.
func Clear(t testing.TB, ctx context.Context, s objstore.Store) {
	t.Helper()
	ctx = context.WithoutCancel(ctx)
	keys, err := list(ctx, s, "", "")
	if err == nil {
		err = s.Delete(ctx, keys...)
	}
	if err != nil {
		t.Errorf("clear the store: %v", err)
	}
}
