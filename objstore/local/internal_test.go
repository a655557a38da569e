package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/objstore"
)

// FuzzPath: keys map to paths below the root, one to one.
func FuzzPath(f *testing.F) {
	for _, key := range []string{"a", ".a", "%2ea", "a/.b/%/...", "%25", "a/%2e%2e/b"} {
		f.Add(key, "x")
		f.Add(key, strings.ReplaceAll(key, ".", "%2e"))
	}
	s := &Store{root: "/store"}
	f.Fuzz(func(t *testing.T, a, b string) {
		if objstore.CheckKey(a) != nil {
			return
		}
		path := s.path(a)
		if !strings.HasPrefix(path, "/store/") || filepath.Clean(path) != path || strings.HasPrefix(path, "/store/"+tempDir) {
			t.Errorf("key %q maps to %q", a, path)
		}
		var parts []string
		for name := range strings.SplitSeq(strings.TrimPrefix(path, "/store/"), "/") {
			part, ok := unescape(name)
			if !ok {
				t.Errorf("key %q maps to %q, of which %q does not map back", a, path, name)
			}
			parts = append(parts, part)
		}
		if back := strings.Join(parts, "/"); back != a {
			t.Errorf("key %q maps to %q, which maps to %q", a, path, back)
		}
		if a != b && objstore.CheckKey(b) == nil && s.path(b) == path {
			t.Errorf("keys %q and %q map to %q", a, b, path)
		}
	})
}

// TestFailedSync: until a directory whose sync failed was synced, nothing in it
// may be read or taken for existing, as a crash could take it back.
func TestFailedSync(t *testing.T) {
	root := t.TempDir()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "d/k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	dir, away := filepath.Join(root, "d"), filepath.Join(root, "away")
	known, err := s.dirs.ensure(dir)
	if err != nil {
		t.Fatal(err)
	}
	// A directory that is not there cannot be synced.
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := known.sync(&s.dirs); err == nil {
		t.Fatal("sync succeeded without a directory")
	}
	if err := s.dirs.settle(dir); err == nil {
		t.Error("settle succeeded without a directory")
	}
	if err := s.exists(known, filepath.Join(dir, "k")); err == nil || errors.Is(err, objstore.ErrExists) {
		t.Errorf("exists: %v", err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	if known.madeUp.Load() == known.failures.Load() {
		t.Error("the failure is forgotten before a sync succeeded")
	}
	if _, err := s.Get(t.Context(), "d/k"); err != nil {
		t.Error(err)
	}
	if known.madeUp.Load() != known.failures.Load() {
		t.Error("the read did not sync the directory")
	}
}
