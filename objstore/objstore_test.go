package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/mem"
)

// plain hides the abilities of a store beyond objstore.Store.
type plain struct{ objstore.Store }

// TestFallbacks: stores that cannot stream move whole objects.
func TestFallbacks(t *testing.T) {
	ctx := t.Context()
	s := plain{mem.New()}
	if err := objstore.Upload(ctx, s, "k", strings.NewReader("0123456789"), 10); err != nil {
		t.Fatal(err)
	}
	if err := objstore.Upload(ctx, s, "k", strings.NewReader("x"), 1); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second Upload: %v", err)
	}
	for _, size := range []int64{-1, 11} {
		if err := objstore.Upload(ctx, s, "bad", strings.NewReader("0123456789"), size); err == nil {
			t.Errorf("Upload of 10 bytes as %d succeeded", size)
		}
	}
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, -1, "0123456789"}, {3, -1, "3456789"}, {3, 2, "34"}, {-3, -1, "789"}, {-3, 2, "78"}, {20, -1, ""}} {
		r, err := objstore.Download(ctx, s, "k", c.off, c.n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); string(got) != c.want || err != nil {
			t.Errorf("Download(%d, %d) = %q, %v, want %q", c.off, c.n, got, err, c.want)
		}
	}
	if _, err := objstore.Download(ctx, s, "missing", 1, -1); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Download of a missing object: %v", err)
	}
}

func TestCheckPrefix(t *testing.T) {
	for prefix, ok := range map[string]bool{
		"": true, "a": true, "a/": true, "a/b": true, "a/.b": true, "a/...": true, "wal/ab/1-2/": true,
		"/": false, "a//": false, "a//b": false, "../": false, "..": false, "a/.": false, "\xff": false, "\x00": false,
		strings.Repeat("x", 600): false,
	} {
		if err := objstore.CheckPrefix(prefix); (err == nil) != ok || err != nil && !errors.Is(err, base.ErrInvalid) {
			t.Errorf("CheckPrefix(%q) = %v", prefix, err)
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add(10, int64(-3), int64(2))
	f.Fuzz(func(t *testing.T, size int, off, n int64) {
		content := bytes.Repeat([]byte("x"), max(size, -size)%100)
		lo, hi := objstore.Window(int64(len(content)), off, n)
		part := content[lo:hi] // must not panic
		if n >= 0 && int64(len(part)) > n {
			t.Errorf("window [%d, %d) of %d for off %d, n %d", lo, hi, len(content), off, n)
		}
		s := mem.New()
		if err := s.Put(context.Background(), "k", content); err != nil {
			t.Fatal(err)
		}
		if got, err := s.GetRange(context.Background(), "k", off, max(n, 0)); err != nil || n >= 0 && len(got) != len(part) {
			t.Errorf("GetRange(%d, %d) of %d: %d bytes, %v", off, n, len(content), len(got), err)
		}
	})
}
