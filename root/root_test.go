package root_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/root"
)

func open(t *testing.T) lockservice.Client {
	s := mem.New(mem.Options{})
	c := s.Client()
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c
}

func load(t *testing.T, c lockservice.Client) []root.Range {
	t.Helper()
	ranges, err := root.Load(t.Context(), c, lockservice.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

func lasts(ranges []root.Range) (list []string) {
	for _, r := range ranges {
		list = append(list, r.Last)
	}
	return list
}

// TestSplit: ranges always tile the whole key space, and each key is in the one
// that Find says.
func TestSplit(t *testing.T) {
	c := open(t)
	whole := load(t, c)
	if len(whole) != 1 || whole[0].After != "" || whole[0].Last != root.End || whole[0].Cell != root.RootCell {
		t.Fatalf("a new cluster has ranges %+v", whole)
	}
	want := []string{root.End}
	for _, at := range []string{"meta/m", "meta/c", "meta/x", "meta/d", "meta/b"} {
		ranges := load(t, c)
		record(t, c, at)
		if err := root.Split(t.Context(), c, ranges[root.Find(ranges, at)], at, 3, 4); err != nil {
			t.Fatal(err)
		}
		want = append(want, at)
		slices.Sort(want)
		ranges = load(t, c)
		if got := lasts(ranges); !slices.Equal(got, want) {
			t.Fatalf("ranges end at %q, want %q", got, want)
		}
		after := ""
		for _, r := range ranges {
			if r.After != after {
				t.Errorf("range %+v does not begin where the one before it ends (%q)", r, after)
			}
			after = r.Last
		}
	}
	ranges := load(t, c)
	for _, key := range []string{"", "meta/", "meta/b", "meta/b\x00", "meta/bz", "meta/c", "meta/cc", "meta/d", "meta/z", "meta0"} {
		if r := ranges[root.Find(ranges, key)]; key != "" && !r.Contains(key) {
			t.Errorf("Find(%q) = (%q, %q]", key, r.After, r.Last)
		}
	}
	if r := ranges[root.Find(ranges, "meta1")]; r.Last != root.End {
		t.Errorf("a key beyond the end is in (%q, %q]", r.After, r.Last)
	}
	if r := ranges[root.Find(ranges, "meta/b")]; r.Records != 3 {
		t.Errorf("the left half has %d records, want 3", r.Records)
	}
}

// record stores a key of the meta space.
func record(t *testing.T, c lockservice.Client, key string) {
	t.Helper()
	if _, err := c.Txn(t.Context(), lockservice.Txn{Then: []lockservice.Op{lockservice.Put(key, nil)}}); err != nil {
		t.Fatal(err)
	}
}

// TestMoveEnd: a range that ends at a record that goes ends at the next one
// afterwards, and swallows the next range where that ends there too.
func TestMoveEnd(t *testing.T) {
	c := open(t)
	for _, at := range []string{"meta/b", "meta/d", "meta/f"} {
		record(t, c, at)
	}
	move := func(from, to string, want ...string) {
		t.Helper()
		x, err := root.MoveEnd(t.Context(), c, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := c.Txn(t.Context(), x); err != nil || !res.Succeeded {
			t.Fatalf("%+v, %v", res, err)
		}
		if got := lasts(load(t, c)); !slices.Equal(got, want) {
			t.Errorf("ranges end at %q, want %q", got, want)
		}
	}
	stale, err := root.MoveEnd(t.Context(), c, "meta/b", "meta/c")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"meta/b", "meta/d"} {
		ranges := load(t, c)
		if err := root.Split(t.Context(), c, ranges[root.Find(ranges, at)], at, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := c.Txn(t.Context(), stale); err != nil || res.Succeeded {
		t.Errorf("a range came to end there meanwhile: %+v, %v", res, err)
	}
	move("meta/c", "meta/d", "meta/b", "meta/d", root.End) // no end is there
	move("meta/b", "meta/c", "meta/c", "meta/d", root.End)
	move("meta/c", "meta/d", "meta/d", root.End)
	move("meta/d", "meta/f", "meta/f", root.End)
}

func TestSplitRefusals(t *testing.T) {
	c := open(t)
	whole := load(t, c)[0]
	if err := root.Split(t.Context(), c, whole, root.End, 1, 1); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("split at the end: %v", err)
	}
	if err := root.Split(t.Context(), c, whole, "meta/m", 1, 1); !errors.Is(err, base.ErrAborted) {
		t.Errorf("split at a record that is not there: %v", err)
	}
	record(t, c, "meta/m")
	record(t, c, "meta/x")
	if err := root.Split(t.Context(), c, whole, "meta/m", 1, 1); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"meta/m", "meta/x"} { // by the range as it was
		if err := root.Split(t.Context(), c, whole, at, 1, 1); !errors.Is(err, base.ErrAborted) {
			t.Errorf("split of a range that changed, at %q: %v", at, err)
		}
	}
	left := load(t, c)[0]
	if err := root.Split(t.Context(), c, left, "meta/z", 1, 1); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("split outside of the range: %v", err)
	}
}

func TestDamagedIndex(t *testing.T) {
	for name, key := range map[string]string{"no end": root.Prefix + "meta/m", "not a record": root.Prefix + root.End} {
		c := open(t)
		value := []byte{}
		if name == "not a record" {
			value = []byte{0xff}
		}
		if _, err := c.Txn(t.Context(), lockservice.Txn{Then: []lockservice.Op{lockservice.Put(key, value)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := root.Load(t.Context(), c, lockservice.ReadOptions{}); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("%s: %v, want corruption", name, err)
		}
	}
}

func ExampleFind() {
	ranges := []root.Range{{After: "", Last: "meta/m"}, {After: "meta/m", Last: root.End}}
	fmt.Println(root.Find(ranges, "meta/a"), root.Find(ranges, "meta/m"), root.Find(ranges, "meta/n"))
	// Output: 0 0 1
}
