package base

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestKeyOrder(t *testing.T) {
	var keys [][]byte
	for _, row := range []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00b", "a\x01", "b", "\xff"} {
		r := []byte(row)
		keys = append(keys, AppendDeleteRowKey(nil, r, 9), AppendDeleteRowKey(nil, r, 3))
		for _, f := range []FamilyID{1, 2, SystemFamily} {
			keys = append(keys, AppendDeleteFamilyKey(nil, r, f, 4))
			for _, q := range []string{"", "\x00", "q", "q\x00", "q\x01"} {
				keys = append(keys, AppendDeleteColumnKey(nil, r, f, []byte(q), 7),
					AppendCellKey(nil, r, f, []byte(q), 1000, 9, KindSet),
					AppendCellKey(nil, r, f, []byte(q), 1000, 8, KindSet),
					AppendCellKey(nil, r, f, []byte(q), 0, 9, KindAdd))
			}
		}
		keys = append(keys, AppendRowEnd(nil, r))
	}
	if !slices.IsSortedFunc(keys, bytes.Compare) {
		t.Fatal("keys are not in the documented order")
	}
}

func TestKeyRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	bs := func() []byte {
		b := make([]byte, rng.IntN(6))
		for i := range b {
			b[i] = []byte{0, 1, 2, 0xff, 'a'}[rng.IntN(5)]
		}
		return b
	}
	for range 20000 {
		row, q, f := bs(), bs(), FamilyID(rng.Uint32N(4)+1)
		ts, seq := rng.Int64(), Seq(rng.Uint64())&MaxSeq
		for _, c := range []struct {
			key  []byte
			want Key
		}{
			{AppendCellKey(nil, row, f, q, ts, seq, KindMerge), Key{row, f, q, ts, seq, KindMerge}},
			{AppendDeleteColumnKey(nil, row, f, q, seq), Key{row, f, q, 0, seq, KindDeleteColumn}},
			{AppendDeleteFamilyKey(nil, row, f, seq), Key{row, f, nil, 0, seq, KindDeleteFamily}},
			{AppendDeleteRowKey(nil, row, seq), Key{row, 0, nil, 0, seq, KindDeleteRow}},
		} {
			got, err := DecodeKey(c.key)
			if err != nil || !bytes.Equal(got.Row, row) || !bytes.Equal(got.Qualifier, c.want.Qualifier) ||
				got.Family != c.want.Family || got.Timestamp != c.want.Timestamp || got.Seq != seq || got.Kind != c.want.Kind {
				t.Fatalf("DecodeKey(%x) = %+v, %v; want %+v", c.key, got, err, c.want)
			}
			if n := RowPrefixLen(c.key); !bytes.Equal(c.key[:n], AppendRowPrefix(nil, row)) {
				t.Fatalf("row prefix of %x has length %d", c.key, n)
			}
			if c.want.Qualifier != nil {
				if n := ColumnPrefixLen(c.key); !bytes.Equal(c.key[:n], AppendColumnPrefix(nil, row, f, q)) {
					t.Fatalf("column prefix of %x has length %d", c.key, n)
				}
			}
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	f.Add(AppendCellKey(nil, []byte("r"), 1, []byte("q"), 5, 6, KindSet))
	f.Add(AppendDeleteRowKey(nil, []byte("r\x00"), 6))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := DecodeKey(b)
		RowPrefixLen(b)
		ColumnPrefixLen(b)
		if err != nil {
			return
		}
		var again []byte
		switch k.Kind {
		case KindDeleteRow:
			again = AppendDeleteRowKey(nil, k.Row, k.Seq)
		case KindDeleteFamily:
			again = AppendDeleteFamilyKey(nil, k.Row, k.Family, k.Seq)
		case KindDeleteColumn:
			again = AppendDeleteColumnKey(nil, k.Row, k.Family, k.Qualifier, k.Seq)
		default:
			again = AppendCellKey(nil, k.Row, k.Family, k.Qualifier, k.Timestamp, k.Seq, k.Kind)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("key %x decodes to %+v, which encodes to %x", b, k, again)
		}
	})
}

func TestFileNumberRoundTrip(t *testing.T) {
	f := FileNumber{Creator: Incarnation{Generation: 3, Index: 42}, Number: 7}
	got, err := ParseFileNumber(f.String())
	if err != nil || got != f {
		t.Fatalf("ParseFileNumber(%q) = %v, %v", f, got, err)
	}
	for _, bad := range []string{"", "1", "1-2", "x-1-2", "1-2-x", "1-2-"} {
		if _, err := ParseFileNumber(bad); err == nil {
			t.Errorf("ParseFileNumber(%q) succeeded", bad)
		}
	}
}
