package compress

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
)

var types = []Type{None, Snappy, Zstd}

// samples are raw blocks from empty to long, that pack well or not at all.
func samples() [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 40_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	text := bytes.Repeat([]byte("the quick brown fox "), 2000)
	return [][]byte{{}, {1}, []byte("short"), noise, text, make([]byte, 1<<20)}
}

func TestRoundTrip(t *testing.T) {
	var d Decoder
	for _, typ := range types {
		e, err := NewEncoder(typ, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, src := range samples() {
			for _, prefix := range [][]byte{nil, []byte("prefix"), make([]byte, 3, 100+e.MaxLen(len(src)))} {
				got, how := e.Append(prefix, src)
				if !bytes.HasPrefix(got, prefix) || how != typ && how != None {
					t.Fatalf("%v: prefix lost, or packed as %v", typ, how)
				}
				got = got[len(prefix):]
				if len(got) > len(src) || how != None && len(got) > len(src)-len(src)/minSaving {
					t.Fatalf("%v: %d bytes were packed into %d", typ, len(src), len(got))
				}
				if n, err := RawLen(how, got); n != len(src) || err != nil {
					t.Fatalf("RawLen = %d, %v", n, err)
				}
				back, err := d.Decode(nil, how, got)
				if err != nil || !bytes.Equal(back, src) {
					t.Fatalf("%v: unpacked %d of %d bytes: %v", typ, len(back), len(src), err)
				}
			}
		}
	}
}

func TestDecodeTakesTheBuffer(t *testing.T) {
	var d Decoder
	src := bytes.Repeat([]byte("abc"), 1000)
	for _, typ := range []Type{Snappy, Zstd} {
		e, _ := NewEncoder(typ, 0, nil)
		packed, _ := e.Append(nil, src)
		buf := make([]byte, 4000)
		if n := testing.AllocsPerRun(10, func() { d.Decode(buf, typ, packed) }); n != 0 {
			t.Errorf("%v: %v allocations", typ, n)
		}
	}
}

func TestBadBlocks(t *testing.T) {
	var d Decoder
	for _, c := range []struct {
		typ Type
		src []byte
	}{
		{Snappy, nil}, {Zstd, nil}, {9, nil},
		{Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}}, {Zstd, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}},
		{Zstd, []byte{3, 1, 2, 3}}, {Snappy, []byte{3, 1, 2, 3}},
	} {
		if _, err := d.Decode(nil, c.typ, c.src); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("%v %x: error %v, want one that wraps ErrCorrupt", c.typ, c.src, err)
		}
	}
	if _, err := NewEncoder(Zstd, 99, nil); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("level 99: %v", err)
	}
	if _, err := NewEncoder(9, 0, nil); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("type 9: %v", err)
	}
	if _, err := Parse("lzma"); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("Parse: %v", err)
	}
	for _, typ := range types {
		if got, err := Parse(typ.String()); got != typ || err != nil {
			t.Errorf("Parse(%q) = %v, %v", typ, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, typ := range types {
		e, _ := NewEncoder(typ, 1, nil)
		for _, s := range samples()[:3] {
			b, how := e.Append(nil, s)
			f.Add(uint8(how), b)
		}
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, typ uint8, b []byte) {
		if n, err := RawLen(Type(typ), b); err == nil && n > 1<<24 {
			return // honest, perhaps, but slow
		}
		if _, err := d.Decode(nil, Type(typ), b); err != nil && !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("error %v does not wrap ErrCorrupt", err)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	src := samples()[4][:32<<10]
	for _, typ := range []Type{Snappy, Zstd} {
		e, _ := NewEncoder(typ, 1, nil)
		dst := make([]byte, 0, e.MaxLen(len(src)))
		b.Run(typ.String()+"/pack", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				e.Append(dst, src)
			}
		})
		packed, _ := e.Append(nil, src)
		var d Decoder
		buf := make([]byte, len(src))
		b.Run(typ.String()+"/unpack", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(buf, typ, packed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
