package tablet

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	storemem "github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// TestOverriding walks a file that was bulk loaded, by seeks in both directions
// to keys with any sequence, and compares with a sorted list of what it shows.
func TestOverriding(t *testing.T) {
	const seq = 500
	rng := seedtest.New(t)
	number := base.FileNumber{Creator: base.Incarnation{Generation: 1, Index: 2}, Number: 3}
	w := sstable.NewWriter(sstable.WriterOptions{File: number, BlockSize: sstable.MinBlockSize})
	var stored, shown [][]byte
	random := func(seq base.Seq) []byte {
		row := fmt.Appendf(nil, "r%02d", rng.IntN(40))
		if rng.IntN(10) == 0 {
			row = append(row, 0)
		}
		return base.AppendCellKey(nil, row, base.FamilyID(1+rng.IntN(2)), fmt.Appendf(nil, "q%d", rng.IntN(3)), int64(rng.IntN(3)), seq, base.KindSet)
	}
	for range 600 {
		stored = append(stored, random(0))
	}
	slices.SortFunc(stored, bytes.Compare)
	stored = slices.CompactFunc(stored, bytes.Equal)
	for _, k := range stored {
		if err := w.Add(k, append(k, make([]byte, 50)...)); err != nil {
			t.Fatal(err)
		}
		k = bytes.Clone(k)
		manifest.PutSeq(k, seq)
		shown = append(shown, k)
	}
	table, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	store := storemem.New()
	if err := store.Put(t.Context(), "f", table.Data); err != nil {
		t.Fatal(err)
	}
	r, err := sstable.Open(t.Context(), sstable.NewObjectSource(store, "f"), table.Meta, sstable.ReaderOptions{File: number})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ref := manifest.Describe(number, &table)
	ref.Loaded = true
	ref = ref.At(seq)
	if !bytes.Equal(ref.Smallest, shown[0]) || !bytes.Equal(ref.Largest, shown[len(shown)-1]) {
		t.Errorf("the reference begins at %x and ends at %x", ref.Smallest, ref.Largest)
	}
	var it overriding
	r.InitIter(t.Context(), &it.Iter, sstable.IterOptions{})
	it.of(&ref)
	defer it.Close()
	want := func(what string, at int, ok bool) {
		t.Helper()
		switch in := at >= 0 && at < len(shown); {
		case in != ok:
			t.Fatalf("%s: %v, want %v", what, ok, in)
		case ok && (!bytes.Equal(it.Key(), shown[at]) || !bytes.HasPrefix(it.Value(), stored[at])):
			t.Fatalf("%s: stands on %x, want %x", what, it.Key(), shown[at])
		}
	}
	for range 5000 {
		key := random([]base.Seq{0, 1, seq - 1, seq, seq + 1, base.MaxSeq}[rng.IntN(6)])
		if rng.IntN(3) == 0 {
			key = key[:rng.IntN(len(key))]
		}
		at, _ := slices.BinarySearchFunc(shown, key, bytes.Compare)
		if rng.IntN(2) == 0 {
			want("SeekLT", at-1, it.SeekLT(key))
			at--
		} else {
			want("SeekGE", at, it.SeekGE(key))
		}
		for n := rng.IntN(4); n > 0 && at >= 0 && at < len(shown); n-- {
			at++
			want("Next", at, it.Next())
		}
	}
	if err := it.Err(); err != nil {
		t.Error(err)
	}
}
