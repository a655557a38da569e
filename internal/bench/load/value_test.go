package load

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestValueIsAFunctionOfRowAndVersion(t *testing.T) {
	for _, size := range []int{8, 9, 15, 16, 17, 100, 1000} {
		a, b := make([]byte, size), make([]byte, size)
		FillValue(a, 7, 99)
		FillValue(b, 7, 99)
		if !bytes.Equal(a, b) {
			t.Errorf("size %d: two values of one row and version differ", size)
		}
		if v, err := CheckValue(a, 7, size); err != nil || v != 99 {
			t.Errorf("size %d: CheckValue = %d, %v; want 99", size, v, err)
		}
		if size >= 16 {
			if _, err := CheckValue(a, 8, size); !errors.Is(err, ErrWrong) {
				t.Errorf("size %d: the value of row 7 passes for row 8: %v", size, err)
			}
		}
		if _, err := CheckValue(a[:size-1], 7, size); !errors.Is(err, ErrWrong) {
			t.Errorf("size %d: a shortened value passes: %v", size, err)
		}
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, size := range []int{16, 29} {
		v := make([]byte, size)
		FillValue(v, 123456, 1_700_000_000_000)
		for bit := range size * 8 {
			v[bit/8] ^= 1 << (bit % 8)
			if _, err := CheckValue(v, 123456, size); !errors.Is(err, ErrWrong) {
				t.Fatalf("size %d: flipped bit %d passes: %v", size, bit, err)
			}
			v[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestKeysAndNumbers(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 0))
	for _, k := range []Keys{{}, {Hashed: true}} {
		for range 1000 {
			n := r.Int64N(MaxRows)
			if got, ok := k.Number(k.Key(n)); !ok || got != n {
				t.Fatalf("seed %d: %+v: Number(%q) = %d, %v; want %d", seed, k, k.Key(n), got, ok, n)
			}
		}
		for _, bad := range []string{"", "row", "user", "row00000000000x", "user000000000000000g", "row+00000000001", "other"} {
			if n, ok := k.Number(bad); ok {
				t.Errorf("%+v: Number(%q) = %d", k, bad, n)
			}
		}
	}
	if a, b := (Keys{}).Key(9), (Keys{}).Key(10); a >= b {
		t.Errorf("keys are not ordered: %q, %q", a, b)
	}
}

func TestSplitsCutEvenly(t *testing.T) {
	const tablets, rows = 7, 70_000
	for _, k := range []Keys{{}, {Hashed: true}} {
		splits := k.Splits(tablets, rows)
		if len(splits) != tablets-1 {
			t.Fatalf("%+v: %d splits; want %d", k, len(splits), tablets-1)
		}
		in := make([]int, tablets)
		for n := range int64(rows) {
			i, key := 0, k.Key(n)
			for i < len(splits) && key >= splits[i] {
				i++
			}
			in[i]++
		}
		for i, n := range in {
			if n < 9_500 || n > 10_500 {
				t.Errorf("%+v: tablet %d has %d of %d rows", k, i, n, rows)
			}
		}
	}
	if s := (Keys{}).Splits(1, rows); len(s) != 0 {
		t.Errorf("one tablet has splits %q", s)
	}
	if s := (Keys{}).Splits(10, 3); len(s) > 3 {
		t.Errorf("three rows are cut at %q", s)
	}
}

func TestOrderMeetsEachRowOnce(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 10, 97, 1000, 65536, 99_999} {
		for _, sequential := range []bool{false, true} {
			o := newOrder(n, sequential)
			seen := make([]bool, n)
			for range n {
				i := o.at(o.take(1))
				if seen[i] {
					t.Fatalf("%d rows, sequential %v: row %d comes twice", n, sequential, i)
				}
				seen[i] = true
			}
		}
	}
}

func TestVersions(t *testing.T) {
	var v Versions
	const row = chunkRows + 5
	a, b := v.Next(row), v.Next(row)
	if b <= a {
		t.Errorf("versions %d, %d do not ascend", a, b)
	}
	if v.Floor(row) != 0 {
		t.Errorf("floor %d without an acknowledgement", v.Floor(row))
	}
	v.Ack(row, b)
	v.Ack(row, a)
	if v.Floor(row) != b {
		t.Errorf("floor = %d; want %d", v.Floor(row), b)
	}
	if err := v.Check(row, b, a); !errors.Is(err, ErrWrong) {
		t.Errorf("a stale read passes: %v", err)
	}
	if err := v.Check(row, a, b); err != nil {
		t.Error(err)
	}
}

// TestUnverifiedRowsAreNotRemembered guards against a table of versions that
// grows with the rows that there may be: writes in random order to a large
// table once took all memory.
func TestUnverifiedRowsAreNotRemembered(t *testing.T) {
	d, err := NewData(MaxRows, 8, false, false)
	if err != nil || d.versions != nil {
		t.Errorf("versions %p, %v; want none", d.versions, err)
	}
	if _, err := NewData(MaxVerified+1, 8, false, true); err == nil {
		t.Error("more rows are verified than can be")
	}
	if _, err := NewData(MaxRows+1, 8, false, false); err == nil {
		t.Error("there are more rows than can be")
	}
}
