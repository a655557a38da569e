package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
)

func openPacked(t testing.TB, root string) *Store {
	t.Helper()
	if !isOwnFileSystem(filepath.Dir(root)) {
		t.Skip("no packs on this file system")
	}
	s, err := OpenWith(root, Options{Packed: []string{""}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func packNames(t testing.TB, root string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, packDir, "p-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPackedConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return openPacked(t, t.TempDir()) })
}

// TestPackedAndPlain: creators that pack and such that do not race for the same
// names.
func TestPackedAndPlain(t *testing.T) {
	root := t.TempDir()
	packed := openPacked(t, root)
	plain, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	stores := []*Store{packed, plain, openPacked(t, root)}
	for round := range 50 {
		key := fmt.Sprintf("wal/%d/0", round%3) + fmt.Sprint(round)
		var winner atomic.Int32
		var wins atomic.Int32
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				switch err := stores[i%3].PutIfAbsent(t.Context(), key, []byte{byte(i)}); {
				case err == nil:
					wins.Add(1)
					winner.Store(int32(i))
				case !errors.Is(err, objstore.ErrExists):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, s := range stores {
			got, err := s.Get(t.Context(), key)
			if err != nil || wins.Load() != 1 || len(got) != 1 || got[0] != byte(winner.Load()) {
				t.Fatalf("round %d: %d winners, the last %d; reads %v, %v", round, wins.Load(), winner.Load(), got, err)
			}
		}
	}
}

// TestMachineCrash: names go, what was written stays, and what was being written
// is torn.
func TestMachineCrash(t *testing.T) {
	rng := seedtest.New(t)
	root := t.TempDir()
	s := openPacked(t, root)
	want := map[string][]byte{}
	for i := range 200 {
		key, data := fmt.Sprintf("wal/ab/1-7/%016x", i), make([]byte, rng.IntN(20_000))
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		if err := s.PutIfAbsent(t.Context(), key, data); err != nil {
			t.Fatal(err)
		}
		want[key] = data
	}
	// One that nobody was told of: its data did not reach the disk.
	p := s.packs.mu.open
	torn, data := "wal/ab/1-7/torn", bytes.Repeat([]byte("x"), 10_000)
	if _, err := p.f.WriteAt(append(appendPackHeader(nil, p.name, torn, data), data[:5000]...), p.next); err != nil {
		t.Fatal(err)
	}
	// One behind it, of another writer, that did.
	behind := "wal/ab/1-7/behind"
	if _, err := p.f.WriteAt(append(appendPackHeader(nil, p.name, behind, []byte("v")), 'v'), p.next+roundToUnit(11_000)); err != nil {
		t.Fatal(err)
	}
	want[behind] = []byte("v")
	for key := range want {
		if rng.IntN(3) > 0 {
			os.Remove(s.path(key))
		}
	}
	if err := os.WriteFile(filepath.Join(root, packDir, hostFile), []byte("another life"), 0o666); err != nil {
		t.Fatal(err)
	}
	var opened sync.WaitGroup
	for range 4 {
		opened.Go(func() {
			s, err := Open(root)
			if err != nil {
				t.Error(err)
				return
			}
			for key, data := range want {
				if got, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes, not %d: %v", key, len(got), len(data), err)
				}
			}
			if _, err := s.Get(t.Context(), torn); !errors.Is(err, objstore.ErrNotFound) {
				t.Errorf("the torn object: %v", err)
			}
			if err := s.PutIfAbsent(t.Context(), behind, nil); !errors.Is(err, objstore.ErrExists) {
				t.Errorf("create what exists: %v", err)
			}
		})
	}
	opened.Wait()
}

// TestLoserStaysLoser: after a crash, an object that lost to one that was
// durable does not take its place.
func TestLoserStaysLoser(t *testing.T) {
	root := t.TempDir()
	s := openPacked(t, root)
	plain, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	// The writer has written, and the sealer takes the name before it.
	p, at, err := s.reserve(100)
	if err != nil {
		t.Fatal(err)
	}
	head := appendPackHeader(nil, p.name, "wal/p", []byte("data"))
	if err := p.write(head, []byte("data"), at); err != nil {
		t.Fatal(err)
	}
	if err := plain.PutIfAbsent(t.Context(), "wal/p", []byte("seal")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, packDir, hostFile)); err != nil {
		t.Fatal(err)
	}
	if got, err := openPacked(t, root).Get(t.Context(), "wal/p"); err != nil || string(got) != "seal" {
		t.Errorf("after the crash: %q, %v", got, err)
	}
}

// TestPacksGo: packs of which nothing is left are deleted, whoever deletes, but
// not while somebody may append.
func TestPacksGo(t *testing.T) {
	root := t.TempDir()
	s := openPacked(t, root)
	ctx := t.Context()
	data := make([]byte, 1<<20)
	var keys []string
	for i := range 40 { // 2.5 packs
		keys = append(keys, fmt.Sprintf("k%02d", i))
		if err := s.PutIfAbsent(ctx, keys[i], data); err != nil {
			t.Fatal(err)
		}
	}
	before := len(packNames(t, root))
	kept := func() int {
		s.packs.mu.Lock()
		defer s.packs.mu.Unlock()
		return len(s.packs.mu.spares)
	}
	if err := s.Delete(ctx, keys[:20]...); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, keys[:20]...); err != nil { // counts nothing twice
		t.Fatal(err)
	}
	if n := len(packNames(t, root)); n != before || kept() != 1 {
		t.Errorf("%d packs, %d before half was deleted; %d are kept to be used again", n, before, kept())
	}
	other, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Delete(ctx, keys...); err != nil {
		t.Fatal(err)
	}
	if names := packNames(t, root); len(names) != before { // in use, as far as anybody can tell
		t.Errorf("packs left: %v", names)
	}
	if err := s.PutIfAbsent(ctx, "late", data); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Get(ctx, "late"); err != nil || len(got) != len(data) {
		t.Errorf("an object in the pack that others found empty: %d bytes, %v", len(got), err)
	}
	s.Close()
	if err := other.Delete(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	if names := packNames(t, root); len(names) != 0 {
		t.Errorf("packs left in the end: %v", names)
	}
}

// TestPacksAreUsedAgain: what was in a pack before is not found in it, neither by
// readers that are slow nor after a crash.
func TestPacksAreUsedAgain(t *testing.T) {
	root := t.TempDir()
	s := openPacked(t, root)
	ctx := t.Context()
	data := make([]byte, 1<<20)
	put := func(round, i int) {
		if err := s.PutIfAbsent(ctx, fmt.Sprintf("k%d-%02d", round, i), data); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 4 {
		for i := range 20 {
			put(round, i)
		}
		slow, err := s.open(ctx, fmt.Sprintf("k%d-00", round))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := s.Delete(ctx, fmt.Sprintf("k%d-%02d", round, i)); err != nil {
				t.Fatal(err)
			}
		}
		if r, ok := readRef(s.path(fmt.Sprintf("k%d-00", round))); ok {
			t.Errorf("%v is there still", r)
		}
		slow.Close()
	}
	if n := len(packNames(t, root)); n > 3 {
		t.Errorf("%d packs", n)
	}
	put(9, 0)
	if err := os.Remove(filepath.Join(root, packDir, hostFile)); err != nil {
		t.Fatal(err)
	}
	again := openPacked(t, root)
	var got []string
	for info, err := range again.List(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	// What was deleted last may be back, from the pack that is appended to.
	for _, key := range got {
		if key[:2] != "k9" && key[:2] != "k3" {
			t.Errorf("after the crash there is %s", key)
		}
	}
	if !slices.Contains(got, "k9-00") {
		t.Errorf("after the crash there are %v", got)
	}
}

// TestLargeObjectsHaveFiles of their own.
func TestLargeObjectsHaveFiles(t *testing.T) {
	root := t.TempDir()
	s := openPacked(t, root)
	if err := s.PutIfAbsent(t.Context(), "large", make([]byte, packMaxData+1)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(root, "large")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
}

// FuzzScanPack: whatever a pack holds, scanning it ends, and finds nothing
// outside of it.
func FuzzScanPack(f *testing.F) {
	one := append(appendPackHeader(nil, "p-1", "a/b", []byte("data")), "data"...)
	f.Add(one)
	f.Add(append(make([]byte, packUnit), one...))
	f.Add(append(one[:20:20], make([]byte, 5000)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "p-1")
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		err = scanPack(file, "p-1", func(r packRecord) error {
			if r.off < packHeaderLen || r.off+r.len > int64(len(b)) {
				t.Errorf("%+v in %d bytes", r, len(b))
			}
			_, err := r.whole(file)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// FuzzParseRef: links that others made are no references.
func FuzzParseRef(f *testing.F) {
	f.Add("p-0011:4096:10")
	f.Add("/etc/passwd")
	f.Add("p-/../x:4096:1")
	f.Fuzz(func(t *testing.T, target string) {
		r, ok := parseRef(target)
		if !ok {
			return
		}
		if r.len < 0 || r.off < 0 || filepath.Base(r.pack) != r.pack {
			t.Errorf("%q is %+v", target, r)
		}
		if again, ok := parseRef(r.String()); !ok || again != r {
			t.Errorf("%q is %+v, then %+v", target, r, again)
		}
	})
}

func BenchmarkPackedPutIfAbsent(b *testing.B) {
	objstoretest.BenchmarkPutIfAbsent(b, openPacked(b, b.TempDir()))
}
