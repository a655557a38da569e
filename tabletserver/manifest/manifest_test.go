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
		for _, r := range m.Runs {
			for i := range r {
				if f := r[i].Families; f != nil && (len(f) == 0 || !slices.IsSorted(f)) {
					t.Fatalf("families %v", f)
				}
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
