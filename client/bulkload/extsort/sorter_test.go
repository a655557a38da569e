package extsort

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

// sortAll returns what a Sorter gives back of entries.
func sortAll(t *testing.T, s *Sorter, entries [][2][]byte) [][2][]byte {
	t.Helper()
	for _, e := range entries {
		if err := s.Add(e[0], e[1]); err != nil {
			t.Fatal(err)
		}
	}
	it, err := s.Sort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got [][2][]byte
	for it.Next() {
		got = append(got, [2][]byte{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestSort: whatever is added comes back in order, from memory, from files, and
// from files of files; some values are longer than the memory. No file is left.
func TestSort(t *testing.T) {
	rng := seedtest.New(t)
	for _, n := range []int{0, 1, 500, 20_000, 200_000} {
		dir := t.TempDir()
		s, err := New(Options{Dir: dir, Memory: MinMemory})
		if err != nil {
			t.Fatal(err)
		}
		entries := make([][2][]byte, n)
		for i := range entries {
			value := make([]byte, rng.IntN(40))
			if rng.IntN(5000) == 0 {
				value = make([]byte, 2*MinMemory)
			}
			entries[i] = [2][]byte{fmt.Appendf(nil, "%x-%d", rng.Uint64()>>rng.IntN(64), i), value}
		}
		got := sortAll(t, s, entries)
		slices.SortFunc(entries, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
		if !slices.EqualFunc(got, entries, func(a, b [2][]byte) bool { return bytes.Equal(a[0], b[0]) && bytes.Equal(a[1], b[1]) }) {
			t.Fatalf("%d entries: not what was added, in order", n)
		}
		if levels := len(s.mu.levels); n == 200_000 && levels < 2 || n <= 500 && levels > 0 {
			t.Errorf("%d entries: %d levels of files", n, levels)
		}
		if err := s.Add(nil, nil); err == nil {
			t.Error("added after Sort")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestManyFiles: more files than are read at once are merged before.
func TestManyFiles(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), Memory: MinMemory})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.mu.levels = make([][]*run, 4)
	var entries [][2][]byte
	for i := range 3 * (fanIn - 4) { // levels that are not quite full
		b := &batch{}
		b.add(fmt.Appendf(nil, "k%04d", i*7919%1000), nil)
		r, err := writeRun(s.o.Dir, b.walk())
		if err != nil {
			t.Fatal(err)
		}
		s.mu.levels[i%3] = append(s.mu.levels[i%3], r)
		entries = append(entries, [2][]byte{bytes.Clone(b.keyOf(b.entries[0]))})
	}
	got := sortAll(t, s, nil)
	slices.SortFunc(entries, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	if !slices.EqualFunc(got, entries, func(a, b [2][]byte) bool { return bytes.Equal(a[0], b[0]) }) {
		t.Fatalf("%d entries, want %d", len(got), len(entries))
	}
}

// TestDamage: every flipped bit of a file is noticed, and every cut.
func TestDamage(t *testing.T) {
	b := &batch{}
	for i := range 20 {
		b.add(fmt.Appendf(nil, "key%02d", i), []byte("value"))
	}
	r, err := writeRun(t.TempDir(), b.walk())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	whole := make([]byte, r.bytes)
	if _, err := r.f.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	read := func() (n int, err error) {
		w := r.walk()
		for w.Next() {
			n++
		}
		return n, w.Err()
	}
	if n, err := read(); n != 20 || err != nil {
		t.Fatalf("%d entries, %v", n, err)
	}
	for i := range whole {
		for bit := range 8 {
			c := bytes.Clone(whole)
			c[i] ^= 1 << bit
			if _, err := r.f.WriteAt(c, 0); err != nil {
				t.Fatal(err)
			}
			if n, err := read(); err == nil {
				t.Fatalf("bit %d of byte %d flipped: %d entries", bit, i, n)
			} else if i >= blockHeader && !errors.Is(err, base.ErrCorrupt) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	if _, err := r.f.WriteAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	for r.bytes = int64(len(whole)) - 1; r.bytes > 0; r.bytes-- {
		if n, err := read(); err == nil {
			t.Fatalf("cut at %d: %d entries", r.bytes, n)
		}
	}
}

// FuzzRun: no bytes make a reader of files panic or run on.
func FuzzRun(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 1, 2, 3, 4, 0, 0})
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		w := (&run{f: file, bytes: int64(len(b))}).walk()
		for n := 0; w.Next(); n++ {
			if n > len(b) {
				t.Fatal("more entries than bytes")
			}
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Memory: 100}); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("100 bytes: %v", err)
	}
	s, err := New(Options{Dir: t.TempDir() + "/none", Memory: MinMemory})
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		if err = s.Add([]byte("some key or other"), nil); err != nil {
			break
		}
	}
	if err == nil {
		_, err = s.Sort(context.Background())
	}
	if err == nil {
		t.Error("a directory that does not exist is no error")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
