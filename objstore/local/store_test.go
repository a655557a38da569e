package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/local"
)

// TestSharedDirectory: two stores, as of two processes, on one directory.
func TestSharedDirectory(t *testing.T) {
	root := t.TempDir()
	stores := []*local.Store{open(t, root), open(t, root)}
	for round := range 20 {
		var wins atomic.Int32
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				err := stores[i%2].PutIfAbsent(t.Context(), fmt.Sprintf("wal/ab/1-%d/0000", round), []byte{byte(i)})
				if err == nil {
					wins.Add(1)
				} else if !errors.Is(err, objstore.ErrExists) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 {
			t.Errorf("round %d: %d winners", round, wins.Load())
		}
	}
}

// TestTemporaryFiles: puts leave none, also those that fail, and Open clears
// only those of dead processes.
func TestTemporaryFiles(t *testing.T) {
	root := t.TempDir()
	temp := filepath.Join(root, ".tmp")
	s := open(t, root)
	ctx := t.Context()
	for range 2 {
		_ = s.PutIfAbsent(ctx, "a/b", []byte("x"))
		_ = s.Put(ctx, "a/c", []byte("x"))
		_ = s.Put(ctx, "a", []byte("x"))                // a directory is in the way
		_ = s.Put(ctx, "a/b/c", []byte("x"))            // a file is in the way
		_ = s.Upload(ctx, "u", bytes.NewReader(nil), 1) // short
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
	old, young := filepath.Join(temp, "1-dead-1"), filepath.Join(temp, "2-alive-1")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, []byte("half"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old temporary file stays: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young temporary file: %v", err)
	}
	for info, err := range s.List(ctx, "", "") {
		if err != nil || info.Key != "a/b" && info.Key != "a/c" {
			t.Errorf("listing shows %q, %v", info.Key, err)
		}
	}
}

// TestConflictingKeys: an object cannot be continued after a slash.
func TestConflictingKeys(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if err := s.Put(ctx, "a/b", nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		if err := s.Put(ctx, key, nil); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("Put(%q): %v", key, err)
		}
		if err := s.PutIfAbsent(ctx, key, nil); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("PutIfAbsent(%q): %v", key, err)
		}
		if _, err := s.Get(ctx, key); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Get(%q): %v", key, err)
		}
		if err := s.Delete(ctx, key); err != nil {
			t.Errorf("Delete(%q): %v", key, err)
		}
	}
	if _, err := s.Get(ctx, "a/b"); err != nil {
		t.Error(err)
	}
}

// TestRemovedDirectory: somebody tidies up below a running store.
func TestRemovedDirectory(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	for range 3 {
		if err := s.PutIfAbsent(t.Context(), "wal/ab/x/1", []byte("v")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(root, "wal")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForeignFiles in the directory are no objects.
func TestForeignFiles(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if err := s.Put(t.Context(), "dir/k", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".DS_Store", "dir/.nfs0001", "dir/%zz", "dir/%2ehidden%"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil || info.Key != "dir/k" {
			t.Errorf("listing shows %q, %v", info.Key, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, file + "/below", "/proc/nowhere"} {
		if _, err := local.Open(root); err == nil {
			t.Errorf("Open(%q) succeeded", root)
		}
	}
}

// TestBubble: the store works inside a synctest bubble, with files and all.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if err := s.PutIfAbsent(t.Context(), fmt.Sprintf("d/%d", i), []byte("v")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
