package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
)

func sample() *Manifest {
	return &Manifest{
		Tablet: 7, Epoch: 3, Version: 12, Flushed: 99, LastTimestamp: 1234567,
		Runs: []Run{
			{{Number: base.FileNumber{Creator: base.Incarnation{Generation: 1, Index: 2}, Number: 5}, Size: 1000, TailOffset: 900,
				Lower: []byte("a"), Upper: []byte("m"), Smallest: []byte("a\x00\x01"), Largest: []byte("l\x00\x01"),
				MinSeq: 1, MaxSeq: 99, MinTimestamp: 10, MaxTimestamp: 20, Entries: 50, Tombstones: 2, Rows: 25, RawBytes: 5000}},
			{{Number: base.FileNumber{Creator: base.Incarnation{Generation: 1, Index: 2}, Number: 4}, Size: 5}},
		},
	}
}

func TestGolden(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/v1.manifest"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Fatal("the encoding changed: a new format needs a new version")
	}
	got, err := Decode(want)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Fatalf("golden file decodes to %+v, %v", got, err)
	}
}

func TestDecodeNoticesEveryFlippedBit(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			if _, err := Decode(c); !errors.Is(err, base.ErrCorrupt) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if _, err := Decode(b[:i]); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("cut at byte %d: %v", i, err)
		}
	}
}

// seal makes length and checksum of a manifest right.
func seal(b []byte) {
	if len(b) >= headerLen {
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-headerLen))
		binary.BigEndian.PutUint32(b[12:], checksum(b))
	}
}

func FuzzDecode(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = grouped().Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = loaded().Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		seal(b) // or nearly everything would stop at the checksum
		m, err := Decode(b)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if _, err := m.Encode(); err != nil {
			t.Fatal(err)
		}
		for _, r := range m.Runs {
			for i := range r {
				if f := r[i].Families; f != nil && (len(f) == 0 || !slices.IsSorted(f)) {
					t.Fatalf("families %v", f)
				}
				r[i].Stored()
				r[i].Span()
				r[i].Matters([]base.FamilyID{1, 2, base.SystemFamily})
			}
		}
		Families(m.Runs...)
	})
}

// TestGoldenDrops: a manifest with drops has a version of its own, so that who
// knows no drops refuses it.
func TestGoldenDrops(t *testing.T) {
	m := sample()
	m.Drops = []Drop{{Start: []byte("a"), End: []byte("b"), Seq: 7, Time: 1234}, {Seq: 9, Time: 5678}}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/v2.manifest"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) || want[5] != VersionDrops {
		t.Fatal("the encoding changed: a new format needs a new version")
	}
	if got, err := Decode(want); err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("golden file decodes to %+v, %v", got, err)
	}
}

// loaded returns a manifest with a file that was bulk loaded.
func loaded() *Manifest {
	m := sample()
	key := base.AppendCellKey(nil, []byte("r"), 1, []byte("q"), 1000, 0, base.KindSet)
	f := File{Number: base.FileNumber{Creator: base.Incarnation{Generation: 1, Index: 9}, Number: 1}, Size: 100, TailOffset: 50, Smallest: key, Largest: key, Entries: 1, Rows: 1, Loaded: true}
	m.Runs = append([]Run{{f.At(98)}}, m.Runs...)
	return m
}

// TestGoldenLoaded: a manifest with files that were bulk loaded has a version of
// its own, whether there are drops or not: who does not know them would read them
// with sequences of 0.
func TestGoldenLoaded(t *testing.T) {
	m := loaded()
	m.Drops = []Drop{{Seq: 9, Time: 5678}}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/v3.manifest"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) || want[5] != VersionLoaded {
		t.Fatal("the encoding changed: a new format needs a new version")
	}
	if got, err := Decode(want); err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("golden file decodes to %+v, %v", got, err)
	}
}

// TestLoadedAt: a reference bears the sequence at which it was adopted in all
// that is compared with keys, and the file's own keys can be told from it.
func TestLoadedAt(t *testing.T) {
	f := loaded().Runs[0][0]
	if seq, kind := base.Trailer(f.Smallest); seq != 98 || kind != base.KindSet || f.MinSeq != 98 || f.MaxSeq != 98 || f.Last() != 98 {
		t.Errorf("%+v", f)
	}
	s := f.Stored()
	if seq, _ := base.Trailer(s.Largest); seq != 0 || s.MinSeq != 0 || s.MaxSeq != 0 {
		t.Errorf("stored: %+v", s)
	}
	if seq, _ := base.Trailer(f.Largest); seq != 98 {
		t.Error("the reference was changed with its copy")
	}
	plain := sample().Runs[0][0]
	if got := plain.Stored(); !reflect.DeepEqual(got, plain) {
		t.Errorf("%+v", got)
	}
	for _, spoil := range []func(*File){
		func(f *File) { f.MinSeq-- },
		func(f *File) { f.MinSeq, f.MaxSeq = base.MaxSeq+1, base.MaxSeq+1 },
		func(f *File) { f.Smallest = []byte("short") },
		func(f *File) { f.Largest = nil },
		func(f *File) { f.Tombstones = 1 },
	} {
		m := loaded()
		spoil(&m.Runs[0][0])
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("%+v: %v", m.Runs[0][0], err)
		}
	}
}
