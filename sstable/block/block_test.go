package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// randomKeys returns n sorted, distinct keys, some long.
func randomKeys(rng *rand.Rand, n int) [][]byte {
	var keys [][]byte
	for range n {
		k := make([]byte, 1+rng.IntN(8))
		for i := range k {
			k[i] = byte(rng.IntN(3))
		}
		if rng.IntN(10) == 0 {
			k = append(k, make([]byte, 300)...)
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

func valueOf(key []byte) []byte {
	n := int(key[0])*7 + len(key)*100
	if len(key) == 5 {
		n *= 50
	}
	return bytes.Repeat(key[:1], n)
}

func build(keys [][]byte) []byte {
	var b Builder
	var last []byte
	for _, k := range keys {
		shared := 0
		for shared < min(len(last), len(k)) && last[shared] == k[shared] {
			shared++
		}
		b.Add(k, valueOf(k), shared)
		last = k
	}
	return b.Finish()
}

func TestIterAgainstSortedSlice(t *testing.T) {
	rng := seedtest.New(t)
	var it Iter
	for range 200 {
		keys := randomKeys(rng, 1+rng.IntN(100))
		raw := build(keys)
		if err := it.Init(raw); err != nil {
			t.Fatal(err)
		}
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if !bytes.Equal(it.Key(), keys[n]) || !bytes.Equal(it.Value(), valueOf(keys[n])) {
				t.Fatalf("entry %d is %x", n, it.Key())
			}
			n++
		}
		if n != len(keys) || !it.Last() || !bytes.Equal(it.Key(), keys[n-1]) || it.Next() {
			t.Fatalf("%d entries of %d", n, len(keys))
		}
		for _, k := range append(randomKeys(rng, 50), keys...) {
			at := sort.Search(len(keys), func(i int) bool { return bytes.Compare(keys[i], k) >= 0 })
			if ok := it.SeekGE(k); ok != (at < len(keys)) || ok && (!bytes.Equal(it.Key(), keys[at]) || !bytes.Equal(it.Value(), valueOf(keys[at]))) {
				t.Fatalf("SeekGE(%x) = %v", k, ok)
			}
			if ok := it.SeekLT(k); ok != (at > 0) || ok && (!bytes.Equal(it.Key(), keys[at-1]) || !bytes.Equal(it.Value(), valueOf(keys[at-1]))) {
				t.Fatalf("SeekLT(%x) = %v", k, ok)
			} else if ok && (it.Next() != (at < len(keys)) || at < len(keys) && !bytes.Equal(it.Key(), keys[at])) {
				t.Fatalf("Next after SeekLT(%x)", k)
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
}

func TestIndexAgainstSortedSlice(t *testing.T) {
	rng := seedtest.New(t)
	for range 100 {
		keys := randomKeys(rng, rng.IntN(60))
		var b IndexBuilder
		for i, k := range keys {
			b.Add(k, Handle{uint64(i) * 1000, uint64(i)})
		}
		size := b.Size()
		raw := b.Append(nil)
		x, err := OpenIndex(raw)
		if err != nil || x.Len() != len(keys) || len(raw) != size {
			t.Fatalf("%d entries of %d in %d bytes: %v", x.Len(), len(keys), len(raw), err)
		}
		for i, k := range keys {
			if !bytes.Equal(x.Separator(i), k) || x.Handle(i) != (Handle{uint64(i) * 1000, uint64(i)}) {
				t.Fatalf("entry %d is %x %v", i, x.Separator(i), x.Handle(i))
			}
		}
		for _, k := range append(randomKeys(rng, 50), keys...) {
			le := sort.Search(len(keys), func(i int) bool { return bytes.Compare(keys[i], k) > 0 }) - 1
			lt := sort.Search(len(keys), func(i int) bool { return bytes.Compare(keys[i], k) >= 0 }) - 1
			if x.FindLE(k) != le || x.FindLT(k) != lt {
				t.Fatalf("FindLE, FindLT(%x) = %d, %d, want %d, %d", k, x.FindLE(k), x.FindLT(k), le, lt)
			}
		}
	}
}

func TestFrame(t *testing.T) {
	frame := AppendTrailer([]byte("..hello"), 2, compress.Snappy, 7, 9)[2:]
	b, typ, err := CheckFrame(frame, 7, 9)
	if err != nil || string(b) != "hello" || typ != compress.Snappy {
		t.Fatalf("%q %v %v", b, typ, err)
	}
	for i := range frame {
		bad := bytes.Clone(frame)
		bad[i] ^= 4
		if _, _, err := CheckFrame(bad, 7, 9); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for _, c := range []struct {
		frame []byte
		salt  uint32
		off   uint64
	}{{frame, 8, 9}, {frame, 7, 8}, {frame[:4], 7, 9}, {nil, 7, 9}} {
		if _, _, err := CheckFrame(c.frame, c.salt, c.off); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// use moves an iterator in every way; it must not panic or loop.
func use(it *Iter, key []byte) error {
	for ok := it.First(); ok; ok = it.Next() {
	}
	it.Last()
	it.SeekLT(key)
	it.Next()
	it.SeekGE(key)
	it.Next()
	return it.Err()
}

func FuzzIter(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	f.Add(build(randomKeys(rng, 40)), []byte{1})
	f.Add([]byte{0, 1, 0, 'a', 0, 0, 0, 0, 1, 0, 0, 0}, []byte("a"))
	f.Fuzz(func(t *testing.T, b, key []byte) {
		var it Iter
		err := it.Init(b)
		if err == nil {
			err = use(&it, key)
		}
		if err != nil && !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("error %v does not wrap ErrCorrupt", err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	var b IndexBuilder
	for i := range 20 {
		b.Add(fmt.Appendf(nil, "k%02d", i), Handle{uint64(i), 5})
	}
	f.Add(b.Append(nil), []byte("k1"))
	f.Add(binary.LittleEndian.AppendUint32(nil, 0), []byte{})
	f.Fuzz(func(t *testing.T, raw, key []byte) {
		x, err := OpenIndex(raw)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		x.FindLE(key)
		x.FindLT(key)
		for i := range x.Len() {
			x.Separator(i)
			x.Handle(i)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(AppendTrailer([]byte("hello"), 0, compress.None, 1, 2), uint32(1), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, salt uint32, off uint64) {
		raw, typ, err := CheckFrame(b, salt, off)
		if err == nil && !bytes.Equal(AppendTrailer(bytes.Clone(raw), 0, typ, salt, off), b) {
			t.Fatal("an accepted frame is not what AppendTrailer makes")
		}
	})
}

func BenchmarkIter(b *testing.B) {
	var bl Builder
	value := make([]byte, 1000)
	var keys [][]byte
	for i := 0; bl.Size() < 32<<10; i++ {
		keys = append(keys, fmt.Appendf(nil, "user%020d\x00\x01field", i))
		bl.Add(keys[i], value, min(i, 1)*20)
	}
	var it Iter
	if err := it.Init(bl.Finish()); err != nil {
		b.Fatal(err)
	}
	b.Run("Next", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(1000)
		for b.Loop() {
			if !it.Next() {
				it.First()
			}
		}
	})
	b.Run("SeekGE", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			it.SeekGE(keys[n%len(keys)])
		}
	})
}
