package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

type pair struct{ key, value []byte }

// randomPairs returns n pairs with distinct keys, in random order.
func randomPairs(rng *rand.Rand, n int) []pair {
	seen := map[string]bool{}
	var out []pair
	for len(out) < n {
		k := make([]byte, rng.IntN(12))
		for i := range k {
			k[i] = byte(rng.IntN(4))
		}
		if seen[string(k)] {
			continue
		}
		seen[string(k)] = true
		size := rng.IntN(50)
		if rng.IntN(100) == 0 {
			size = rng.IntN(200 << 10)
		}
		v := make([]byte, size)
		for i := range v {
			v[i] = byte(rng.Uint32())
		}
		out = append(out, pair{k, v})
	}
	return out
}

func TestAgainstSortedSlice(t *testing.T) {
	rng := seedtest.New(t)
	for _, n := range []int{0, 1, 2, 10, 3000} {
		pairs := randomPairs(rng, n)
		tab := New()
		var size int64
		for _, p := range pairs {
			if !tab.Add(p.key, p.value) {
				t.Fatalf("key %x was there already", p.key)
			}
			size += int64(len(p.key) + len(p.value))
		}
		for _, p := range pairs[:n/2] {
			if tab.Add(p.key, []byte("again")) {
				t.Fatalf("key %x was added twice", p.key)
			}
		}
		if tab.Len() != n || tab.Empty() != (n == 0) || tab.Size() < size || tab.Allocated() < tab.Size() {
			t.Fatalf("Len %d, Empty %v, Size %d, Allocated %d for %d entries of %d bytes",
				tab.Len(), tab.Empty(), tab.Size(), tab.Allocated(), n, size)
		}
		slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.key, b.key) })
		checkScan(t, tab, pairs)
		checkSeeks(t, rng, tab, pairs)
	}
}

func checkScan(t *testing.T, tab *Table, want []pair) {
	t.Helper()
	it := tab.NewIterator()
	n := 0
	for ok := it.SeekGE(nil); ok; ok = it.Next() {
		if n == len(want) || !bytes.Equal(it.Key(), want[n].key) || !bytes.Equal(it.Value(), want[n].value) {
			t.Fatalf("entry %d is %x", n, it.Key())
		}
		n++
	}
	if n != len(want) || it.Err() != nil || it.Close() != nil {
		t.Fatalf("scan saw %d entries of %d", n, len(want))
	}
}

func checkSeeks(t *testing.T, rng *rand.Rand, tab *Table, want []pair) {
	t.Helper()
	it := tab.Iter()
	for range 2000 {
		k := make([]byte, rng.IntN(8))
		for i := range k {
			k[i] = byte(rng.IntN(5))
		}
		at := sort.Search(len(want), func(i int) bool { return bytes.Compare(want[i].key, k) >= 0 })
		if ok := it.SeekGE(k); ok != (at < len(want)) || ok && !bytes.Equal(it.Key(), want[at].key) {
			t.Fatalf("SeekGE(%x) = %v", k, ok)
		}
		if ok := it.SeekLT(k); ok != (at > 0) || ok && !bytes.Equal(it.Key(), want[at-1].key) {
			t.Fatalf("SeekLT(%x) = %v", k, ok)
		} else if ok {
			if next := it.Next(); next != (at < len(want)) || next && !bytes.Equal(it.Key(), want[at].key) {
				t.Fatalf("Next after SeekLT(%x) = %v", k, next)
			}
		}
	}
}

// One goroutine adds, four read: each must see a sorted list that holds all
// that was added before it started, with the right values.
func TestReadersRunWhileOneAdds(t *testing.T) {
	rng := seedtest.New(t)
	pairs := randomPairs(rng, 5000)
	index := map[string][]byte{}
	for _, p := range pairs {
		index[string(p.key)] = p.value
	}
	tab := New()
	var added atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for done := false; !done; {
				before := int(added.Load())
				done = before == len(pairs)
				it := tab.NewIterator()
				n := 0
				var last []byte
				for ok := it.SeekGE(nil); ok; ok = it.Next() {
					if n > 0 && bytes.Compare(last, it.Key()) >= 0 {
						t.Errorf("%x comes after %x", it.Key(), last)
						return
					}
					last = it.Key()
					if !bytes.Equal(it.Value(), index[string(last)]) {
						t.Errorf("wrong value of %x", last)
						return
					}
					n++
				}
				if n < before {
					t.Errorf("saw %d entries where %d were added before", n, before)
					return
				}
				if before > 0 {
					if k := pairs[before-1].key; !it.SeekGE(k) || !bytes.Equal(it.Key(), k) {
						t.Errorf("SeekGE does not find %x", k)
						return
					}
				}
			}
		})
	}
	for _, p := range pairs {
		tab.Add(p.key, p.value)
		added.Add(1)
	}
	wg.Wait()
}

func TestIdleTableIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Table{}); n >= 200 {
		t.Errorf("an empty table takes %d bytes", n)
	}
	tab := New()
	if tab.Allocated() != 0 {
		t.Errorf("an empty table allocated %d bytes", tab.Allocated())
	}
	it := tab.NewIterator()
	if it.SeekGE(nil) || it.SeekLT([]byte("x")) {
		t.Error("an empty table has entries")
	}
	tab.Add([]byte("k"), []byte("v"))
	if tab.Allocated() != firstBlock {
		t.Errorf("a table with one entry allocated %d bytes", tab.Allocated())
	}
}

func TestUnusedSpaceIsBounded(t *testing.T) {
	for _, size := range []int{100, 1000, 30_000, 60_000, 70_000, 1 << 20} {
		tab := New()
		value := make([]byte, size)
		for i := 0; tab.Size() < 16<<20; i++ {
			tab.Add(fmt.Appendf(nil, "key%08d", i), value)
		}
		if a, s := tab.Allocated(), tab.Size(); float64(a) > 1.12*float64(s) {
			t.Errorf("values of %d bytes: %d bytes allocated for %d", size, a, s)
		}
	}
}

func TestKeysOfCells(t *testing.T) {
	tab := New()
	for seq := base.Seq(1); seq <= 3; seq++ {
		tab.Add(base.AppendCellKey(nil, []byte("r"), 1, []byte("q"), 5, seq, base.KindSet), nil)
	}
	it := tab.NewIterator()
	it.SeekGE(base.AppendRowPrefix(nil, []byte("r")))
	if s, _ := base.Trailer(it.Key()); s != 3 {
		t.Fatalf("the newest cell has sequence %d, want 3", s)
	}
}

const benchEntries = 60_000

// benchKey makes cell keys of realistic shape.
func benchKey(dst []byte, i uint64) []byte {
	row := fmt.Appendf(nil, "user%020d", i)
	return base.AppendCellKey(dst, row, 1, []byte("field0"), 1_700_000_000_000_000, base.Seq(i), base.KindSet)
}

func BenchmarkAdd(b *testing.B) {
	value := make([]byte, 1000)
	for _, order := range []string{"ascending", "random"} {
		b.Run(order, func(b *testing.B) {
			keys := make([][]byte, benchEntries)
			rng := rand.New(rand.NewPCG(1, 0))
			for i := range keys {
				n := uint64(i)
				if order == "random" {
					n = rng.Uint64()
				}
				keys[i] = benchKey(nil, n)
			}
			b.SetBytes(int64(len(value) + len(keys[0])))
			b.ReportAllocs()
			tab := New()
			n := 0
			for b.Loop() {
				if n == len(keys) {
					tab, n = New(), 0
				}
				tab.Add(keys[n], value)
				n++
			}
		})
	}
}

func benchTable() *Table {
	tab := New()
	value := make([]byte, 1000)
	var key []byte
	for i := range benchEntries {
		key = benchKey(key[:0], uint64(i))
		tab.Add(key, value)
	}
	return tab
}

func BenchmarkSeekGE(b *testing.B) {
	tab := benchTable()
	keys := make([][]byte, 1024)
	rng := rand.New(rand.NewPCG(1, 0))
	for i := range keys {
		keys[i] = benchKey(nil, rng.Uint64N(benchEntries))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		it := tab.Iter()
		if !it.SeekGE(keys[n%1024]) {
			b.Fatal("not found")
		}
		n++
	}
}

func BenchmarkScan(b *testing.B) {
	tab := benchTable()
	it := tab.NewIterator()
	b.SetBytes(1000)
	b.ReportAllocs()
	var sum uint64
	ok := false
	for b.Loop() {
		if !ok {
			ok = it.SeekGE(nil)
		}
		sum += uint64(len(it.Key())) + uint64(binary.LittleEndian.Uint16(it.Value()))
		ok = it.Next()
	}
	_ = sum
}
