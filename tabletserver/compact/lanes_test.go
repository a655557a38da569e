package compact

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/seedtest"
)

// of returns a run of that size that matters to the groups.
func of(size int64, groups ...int) Run { return Run{Size: size, Entries: 100, Groups: groups} }

func TestPickLanes(t *testing.T) {
	small, big := of(5, 0), of(5000, 1)
	deleted := of(5, 0)
	deleted.Tombstones = 50
	for _, c := range []struct {
		name string
		runs []Run
		want Plan
		ok   bool
	}{
		{"three of each", []Run{small, big, small, big, small, big}, Plan{}, false},
		{"a small group rewrites nothing of a big one", []Run{small, big, small, big, small, big, small}, Plan{[]int{0, 2, 4, 6}, false, "tier"}, true},
		{"the longest lane first", []Run{small, small, small, small, big, big, big, big, big}, Plan{[]int{4, 5, 6, 7, 8}, false, "tier"}, true},
		{"deletions go with their lane", []Run{deleted, big, small}, Plan{[]int{0, 2}, false, "many tombstones"}, true},
		{"what was written before the groups were parted", []Run{small, of(5, 1), small, small, of(5, 0, 1)}, Plan{[]int{0, 2, 3, 4}, false, "tier"}, true},
		{"a newer run of both takes along what lies between", []Run{of(5, 0, 1), of(5, 1), small, of(5, 2), small, small}, Plan{[]int{0, 1, 2, 4, 5}, false, "tier"}, true},
		{"dropped families", []Run{small, of(5)}, Plan{[]int{1}, false, "families that were dropped"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := Pick(c.runs, 0, Options{})
			if ok != c.ok || !reflect.DeepEqual(got, c.want) {
				t.Errorf("Pick = %+v, %v; want %+v, %v", got, ok, c.want, c.ok)
			}
			if ok && !Closed(c.runs, got.Runs) {
				t.Errorf("%+v is not closed", got)
			}
		})
	}
}

// history is a run, and which writes to which families it holds.
type history struct {
	run    Run
	writes map[int][]int // family -> times
}

// TestOrderOfAge flushes, changes which family is in which group, and compacts
// as Pick says: in the runs of each family, from the first to the last, writes
// grow older, and nothing is lost; and it comes to rest.
func TestOrderOfAge(t *testing.T) {
	rng := seedtest.New(t)
	for range 200 {
		const families = 5
		groupOf := make([]int, families)
		var list []history
		now := 0
		for range 60 {
			if rng.IntN(8) == 0 {
				groupOf[rng.IntN(families)] = rng.IntN(3)
			}
			var flushed [families][]int
			for f := range families {
				if rng.IntN(3) > 0 {
					now++
					flushed[f] = []int{now}
				}
			}
			list = append(lay(rng, groupOf, flushed[:]), list...)
			for steps := 0; ; steps++ {
				runs := make([]Run, len(list))
				for i := range list {
					runs[i] = list[i].run
					runs[i].Groups = groupsOf(list[i], groupOf)
				}
				p, ok := Pick(runs, 0, Options{MinMerge: 3, MaxRuns: 5})
				if !ok {
					break
				}
				if steps > 100 {
					t.Fatalf("it does not come to rest: %+v of %+v", p, runs)
				}
				list = merge(t, rng, list, p, groupOf)
				checkAges(t, list, families, now)
			}
		}
	}
}

func groupsOf(h history, groupOf []int) []int {
	var out []int
	for f := range h.writes {
		out = append(out, groupOf[f])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// lay makes a run for each group of what families have.
func lay(rng *rand.Rand, groupOf []int, writes [][]int) []history {
	by := map[int]*history{}
	var out []*history
	for f, w := range writes {
		if len(w) == 0 {
			continue
		}
		h := by[groupOf[f]]
		if h == nil {
			h = &history{writes: map[int][]int{}}
			by[groupOf[f]] = h
			out = append(out, h)
		}
		h.writes[f] = w
		h.run.Entries += uint64(len(w))
		h.run.Size += int64(len(w)) * (1 + rng.Int64N(3))
	}
	var list []history
	for _, h := range out {
		list = append(list, *h)
	}
	return list
}

func merge(t *testing.T, rng *rand.Rand, list []history, p Plan, groupOf []int) []history {
	writes := make([][]int, len(groupOf))
	var out []history
	for i, h := range list {
		if slices.Contains(p.Runs, i) {
			for f, w := range h.writes {
				writes[f] = append(writes[f], w...)
			}
		} else {
			out = append(out, h)
		}
		if i == p.Runs[len(p.Runs)-1] {
			out = append(out, lay(rng, groupOf, writes)...)
		}
	}
	return out
}

func checkAges(t *testing.T, list []history, families, now int) {
	seen := 0
	for f := range families {
		last := now + 1
		for _, h := range list {
			for _, w := range h.writes[f] {
				if w >= last {
					t.Fatalf("family %d: write %d comes after %d", f, w, last)
				}
				last = w
				seen++
			}
		}
	}
	if seen != now {
		t.Fatalf("%d writes are left of %d", seen, now)
	}
}
