package bloom

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
)

func build(n, bits int) []byte {
	var b Builder
	for i := range n {
		b.Add(Hash(fmt.Appendf(nil, "key%d", i)))
	}
	return b.Append(nil, bits)
}

func TestNoFalseNegativeAndFewFalsePositives(t *testing.T) {
	for _, n := range []int{0, 1, 10, 1000, 100_000} {
		raw := build(n, DefaultBitsPerKey)
		f, err := Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if !f.MayContain(Hash(fmt.Appendf(nil, "key%d", i))) {
				t.Fatalf("key%d of %d is missing", i, n)
			}
		}
		wrong := 0
		const probes = 100_000
		for i := range probes {
			if f.MayContain(Hash(fmt.Appendf(nil, "other%d", i))) {
				wrong++
			}
		}
		t.Logf("%d keys, %d bytes: %.3f %% false positives", n, len(raw), float64(wrong)*100/probes)
		if n >= 1000 && wrong > probes/330 {
			t.Errorf("%d of %d absent keys are let through", wrong, probes)
		}
	}
	if !(Filter{}).MayContain(1) {
		t.Error("the zero filter says no")
	}
}

// The bits of a filter are on disk: they must not change.
func TestFormat(t *testing.T) {
	const want = "000000200000010000002000000000080000010000000020000020000080000001"
	got := build(1, DefaultBitsPerKey)
	if hex.EncodeToString(got) != want {
		t.Errorf("filter of one key is %x", got)
	}
}

func TestBadFilters(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, make([]byte, 32), make([]byte, 33), append(make([]byte, 32), 2), append(make([]byte, 40), 1)} {
		if _, err := Open(b); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("Open of %d bytes: %v", len(b), err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(build(3, 15), uint64(7))
	f.Fuzz(func(t *testing.T, b []byte, h uint64) {
		f, err := Open(bytes.Clone(b))
		if err == nil {
			f.MayContain(h)
		}
	})
}

func BenchmarkMayContain(b *testing.B) {
	f, _ := Open(build(1_000_000, DefaultBitsPerKey))
	key := []byte("user00000000000000000001")
	b.ReportAllocs()
	var i uint64
	for b.Loop() {
		i += 0x9e3779b97f4a7c15
		f.MayContain(Hash(key) ^ i)
	}
}

func BenchmarkAppend(b *testing.B) {
	var bl Builder
	for i := range 100_000 {
		bl.Add(Hash(fmt.Appendf(nil, "key%d", i)))
	}
	buf := make([]byte, 0, bl.Size(DefaultBitsPerKey))
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		bl.Append(buf, DefaultBitsPerKey)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/key")
}
