package manifest

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
)

// grouped is sample with files that say which families they matter to.
func grouped() *Manifest {
	m := sample()
	m.Runs[0][0].Families, m.Runs[0][0].Group = []base.FamilyID{1, 300}, "meta"
	m.Runs[1][0].Families = []base.FamilyID{2, base.SystemFamily}
	return m
}

// TestGoldenFamilies: families and groups raise no version, for a build that does
// not know them reads every file, which is right.
func TestGoldenFamilies(t *testing.T) {
	b, err := grouped().Encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/v1-families.manifest"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) || want[5] != Version {
		t.Fatal("the encoding changed: a new format needs a new version")
	}
	if got, err := Decode(want); err != nil || !reflect.DeepEqual(got, grouped()) {
		t.Fatalf("golden file decodes to %+v, %v", got, err)
	}
}

func TestOverlap(t *testing.T) {
	f := func(ids ...base.FamilyID) []base.FamilyID { return append([]base.FamilyID{}, ids...) }
	for _, c := range []struct {
		has, want []base.FamilyID
		overlap   bool
	}{
		{nil, nil, true},
		{nil, f(1), true},
		{nil, f(), false}, // nothing is wanted
		{f(1, 3), nil, true},
		{f(base.SystemFamily), nil, false},
		{f(base.SystemFamily), f(base.SystemFamily), true},
		{f(1, 3, 5), f(2, 4, 5), true},
		{f(1, 3, 5), f(2, 4, 6), false},
	} {
		if got := Overlap(c.has, c.want); got != c.overlap {
			t.Errorf("Overlap(%v, %v) = %v", c.has, c.want, got)
		}
	}
	if got := Families(Run{{Families: f(3, 7)}}, Run{{Families: f(1, 3)}, {Families: f(3, 7)}}); !slices.Equal(got, f(1, 3, 7)) {
		t.Errorf("Families = %v", got)
	}
	if got := Families(Run{{Families: f(3)}, {}}); got != nil {
		t.Errorf("Families with one that does not say = %v", got)
	}
}

// TestJoinPairsWhatIsAlike: runs of one group are paired, from the oldest on,
// and the orders of both tablets are kept.
func TestJoinPairsWhatIsAlike(t *testing.T) {
	run := func(number uint64, family base.FamilyID) Run {
		return Run{{Number: base.FileNumber{Number: number}, Families: []base.FamilyID{family}}}
	}
	alike := func(l, r Run) bool { return l[0].Families[0] == r[0].Families[0] }
	left := []Run{run(5, 1), run(4, 2), run(3, 1), run(2, 2), run(1, 1)}
	right := []Run{run(13, 2), run(12, 1), run(11, 1)}
	var got [][]uint64
	for _, r := range Join(left, right, alike) {
		var n []uint64
		for _, f := range r {
			n = append(n, f.Number.Number)
		}
		got = append(got, n)
	}
	want := [][]uint64{{5}, {4, 13}, {3, 12}, {2}, {1, 11}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("joined %v, want %v", got, want)
	}
	same := func(Run, Run) bool { return true }
	if n := len(Join(left, right, same)); n != len(left) {
		t.Errorf("%d runs of %d and %d that are all alike", n, len(left), len(right))
	}
	if n := len(Join(left, nil, same)); n != len(left) {
		t.Errorf("%d runs of %d and none", n, len(left))
	}
}
