package merging

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

type entry struct {
	key   []byte
	child int
}

// sliceIter iterates over keys; the value is the number of the child.
type sliceIter struct {
	keys   [][]byte
	value  []byte
	at     int
	failAt int // moves left before it fails; negative: never
	err    error
	closed int
}

var errTest = errors.New("test failure")

func (s *sliceIter) move(at int) bool {
	if s.err != nil {
		return false
	}
	if s.failAt--; s.failAt == -1 {
		s.err = errTest
		return false
	}
	s.at = at
	return at >= 0 && at < len(s.keys)
}

func (s *sliceIter) search(key []byte) int {
	return sort.Search(len(s.keys), func(i int) bool { return bytes.Compare(s.keys[i], key) >= 0 })
}

func (s *sliceIter) SeekGE(key []byte) bool { return s.move(s.search(key)) }
func (s *sliceIter) SeekLT(key []byte) bool { return s.move(s.search(key) - 1) }
func (s *sliceIter) Next() bool             { return s.move(s.at + 1) }
func (s *sliceIter) Key() []byte            { return s.keys[s.at] }
func (s *sliceIter) Value() []byte          { return s.value }
func (s *sliceIter) Err() error             { return s.err }
func (s *sliceIter) Close() error           { s.closed++; return s.err }

// randomChildren returns n iterators, some keys being in several of them, and
// the entries that their merge must show.
func randomChildren(rng *rand.Rand, n int) ([]base.Iterator, []entry) {
	var all []entry
	children := make([]base.Iterator, n)
	for c := range n {
		seen := map[string]bool{}
		for range rng.IntN(60) {
			seen[fmt.Sprintf("%03d", rng.IntN(200))] = true
		}
		var keys [][]byte
		for k := range seen {
			keys = append(keys, []byte(k))
			all = append(all, entry{[]byte(k), c})
		}
		slices.SortFunc(keys, bytes.Compare)
		children[c] = &sliceIter{keys: keys, value: []byte{byte(c)}, at: -1, failAt: -1}
	}
	slices.SortFunc(all, func(a, b entry) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return a.child - b.child
	})
	all = slices.CompactFunc(all, func(a, b entry) bool { return bytes.Equal(a.key, b.key) })
	return children, all
}

func TestAgainstSortedSlice(t *testing.T) {
	rng := seedtest.New(t)
	for range 300 {
		children, want := randomChildren(rng, rng.IntN(8))
		it := New(children...)
		for range 30 {
			key := fmt.Appendf(nil, "%03d", rng.IntN(201))
			at := sort.Search(len(want), func(i int) bool { return bytes.Compare(want[i].key, key) >= 0 })
			var ok bool
			if rng.IntN(2) == 0 {
				ok = it.SeekGE(key)
			} else {
				at--
				ok = it.SeekLT(key)
			}
			for steps := rng.IntN(100); ; steps-- {
				if ok != (at >= 0 && at < len(want)) {
					t.Fatalf("after a seek to %s: %v at %d of %d", key, ok, at, len(want))
				}
				if !ok || steps == 0 {
					break
				}
				if !bytes.Equal(it.Key(), want[at].key) || int(it.Value()[0]) != want[at].child {
					t.Fatalf("after a seek to %s: %s of child %d, want %+v", key, it.Key(), it.Value()[0], want[at])
				}
				at++
				ok = it.Next()
			}
		}
		if it.Err() != nil || it.Close() != nil {
			t.Fatal(it.Err())
		}
		for _, c := range children {
			if c.(*sliceIter).closed != 1 {
				t.Fatal("a child was not closed once")
			}
		}
	}
}

func TestErrorsStop(t *testing.T) {
	rng := seedtest.New(t)
	for range 300 {
		children, want := randomChildren(rng, 2+rng.IntN(4))
		children[0].(*sliceIter).failAt = rng.IntN(20)
		it := New(children...)
		n := 0
		ok := it.SeekGE(nil)
		if rng.IntN(2) == 0 {
			ok = it.SeekLT([]byte("999"))
		}
		for ; ok; ok = it.Next() {
			n++
		}
		if it.Err() == nil {
			continue // ended before
		}
		if !errors.Is(it.Err(), errTest) || it.Next() || it.SeekGE(nil) || it.SeekLT([]byte("9")) {
			t.Fatalf("moves after the error %v", it.Err())
		}
		if n > len(want) || !errors.Is(it.Close(), errTest) {
			t.Fatalf("saw %d entries of %d", n, len(want))
		}
	}
}

func TestOneChildIsPassedThrough(t *testing.T) {
	c := &sliceIter{}
	if New(c) != base.Iterator(c) {
		t.Error("New wraps a single child")
	}
	it := New()
	if it.SeekGE(nil) || it.SeekLT([]byte("x")) || it.Next() || it.Close() != nil {
		t.Error("no children have entries")
	}
}

func BenchmarkNext(b *testing.B) {
	for _, n := range []int{2, 4, 16} {
		for _, run := range []int{1, 100} {
			b.Run(fmt.Sprintf("children=%d/run=%d", n, run), func(b *testing.B) {
				children := make([]base.Iterator, n)
				for c := range n {
					s := &sliceIter{failAt: -1}
					for i := range 10_000 {
						s.keys = append(s.keys, fmt.Appendf(nil, "user%016d%016d", (i/run*n+c)*run+i%run, 0))
					}
					children[c] = s
				}
				it := New(children...)
				ok := false
				b.ReportAllocs()
				for b.Loop() {
					if !ok {
						for _, c := range children {
							c.(*sliceIter).failAt = -1
						}
						ok = it.SeekGE(nil)
					}
					ok = it.Next()
				}
			})
		}
	}
}

// skippable is a list of keys that can leave out a prefix.
type skippable struct {
	base.Iterator
	seq base.Seq // of all entries
}

func (s skippable) SkipPrefix(prefix []byte, seq base.Seq) (moved, ok bool) {
	if s.seq > seq || !bytes.HasPrefix(s.Key(), prefix) {
		return false, true
	}
	behind := bytes.Clone(prefix)
	behind[len(behind)-1]++
	return true, s.SeekGE(behind)
}

// TestSkipPrefix: children that are old enough leave the prefix out, the others
// and the current one do not.
func TestSkipPrefix(t *testing.T) {
	m := New(
		skippable{list("a0", "a3", "b1"), 9},
		skippable{list("a1", "a2", "b0"), 5},
		skippable{list("a4", "a5"), 5},
		skippable{list("a6", "c"), 7},
	).(*Iter)
	if !m.SeekGE([]byte("a")) {
		t.Fatal(m.Err())
	}
	if moved, ok := m.SkipPrefix([]byte("a"), 6); !moved || !ok {
		t.Fatal("nobody moved")
	}
	var got []string
	for ok := true; ok; ok = m.Next() {
		got = append(got, string(m.Key()))
	}
	if want := []string{"a0", "a3", "a6", "b0", "b1", "c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func list(keys ...string) base.Iterator {
	s := &sliceIter{failAt: -1}
	for _, k := range keys {
		s.keys = append(s.keys, []byte(k))
	}
	return s
}
