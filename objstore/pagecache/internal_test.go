package pagecache

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/tabletdb/tabletdb/objstore/mem"
)

// TestDiskFull: a disk that takes nothing turns the cache off, once, and no read
// fails.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	inner := mem.New()
	want := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	if err := inner.Put(t.Context(), "sst/00/a", want); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 10)
	s, err := Open(inner, Options{Dir: t.TempDir(), Bytes: 1 << 20, PageSize: 4 << 10, OnDisabled: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	s.disk.pages.Close()
	s.disk.pages = full
	for range 3 {
		got, err := s.GetRange(t.Context(), "sst/00/a", 0, int64(len(want)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	t.Log(<-told)
	if !s.Stats().Disabled {
		t.Error("the cache is on")
	}
	s.Forget("sst/00/a")
	s.Close()
	if len(told) > 0 {
		t.Errorf("told again: %v", <-told)
	}
}

// FuzzIndex: whatever stands in the index, the cache opens and gives the bytes
// of the store.
func FuzzIndex(f *testing.F) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	id := pageID{"sst/00/a", 1}
	f.Add(record(id, 4<<10, checksum(id, want[4<<10:8<<10])), want[4<<10:8<<10])
	f.Add(record(id, 4<<10, 77), []byte("short"))
	f.Add(make([]byte, 300), []byte{})
	f.Fuzz(func(t *testing.T, index, pages []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "index"), append(header("x", 4<<10), index...), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pages"), pages, 0o644); err != nil {
			t.Fatal(err)
		}
		inner := mem.New()
		if err := inner.Put(t.Context(), "sst/00/a", want); err != nil {
			t.Fatal(err)
		}
		s, err := Open(inner, Options{Dir: dir, Identity: "x", Bytes: 1 << 20, PageSize: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got, err := s.GetRange(t.Context(), "sst/00/a", 0, int64(len(want)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}
