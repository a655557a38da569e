// Package rowset holds sets of row keys as sorted, disjoint ranges: what a
// ReadRows request asks for, what of it lies in a tablet, and what of it is
// left after a row. It is pure; sets are immutable and may be used
// concurrently.
package rowset

import (
	"bytes"
	"iter"
	"slices"
	"sort"
)

// Range is the row keys in [Start, End), in the order of bytes.Compare. An
// empty Start is the least key; an empty End is above every key.
type Range struct{ Start, End []byte }

// Contains reports whether key lies in r.
func (r Range) Contains(key []byte) bool {
	return bytes.Compare(key, r.Start) >= 0 && (len(r.End) == 0 || bytes.Compare(key, r.End) < 0)
}

// IsPoint reports whether r holds exactly one possible key, which is Start.
func (r Range) IsPoint() bool {
	n := len(r.Start)
	return n > 0 && len(r.End) == n+1 && r.End[n] == 0 && bytes.Equal(r.End[:n], r.Start)
}

// IsEmpty reports whether no key lies in r.
func (r Range) IsEmpty() bool { return len(r.End) > 0 && bytes.Compare(r.Start, r.End) >= 0 }

// Intersect returns the keys in both r and o; the result may be empty.
func (r Range) Intersect(o Range) Range {
	if bytes.Compare(o.Start, r.Start) > 0 {
		r.Start = o.Start
	}
	r.End = minEnd(r.End, o.End)
	return r
}

// Point returns the range of exactly key.
func Point(key []byte) Range {
	end := make([]byte, len(key)+1)
	copy(end, key)
	return Range{Start: end[:len(key):len(key)], End: end}
}

// Prefix returns the range of the keys that begin with prefix.
func Prefix(prefix []byte) Range { return Range{Start: prefix, End: PrefixEnd(prefix)} }

// PrefixEnd returns the least key above all that begin with prefix; nil where
// there is none.
func PrefixEnd(prefix []byte) []byte {
	n := len(prefix)
	for n > 0 && prefix[n-1] == 0xff {
		n--
	}
	if n == 0 {
		return nil
	}
	end := bytes.Clone(prefix[:n])
	end[n-1]++
	return end
}

// Set is a set of row keys. The zero Set is empty.
type Set struct{ ranges []Range }

// All returns the set of all keys.
func All() Set { return Set{ranges: []Range{{}}} }

// Of returns the union of ranges; empty ones are allowed. It keeps the slices
// of the keys.
func Of(ranges ...Range) Set { return normalise(slices.Clone(ranges)) }

// normalise sorts ranges and joins those that touch, in place.
func normalise(ranges []Range) Set {
	ranges = slices.DeleteFunc(ranges, Range.IsEmpty)
	byStart := func(a, b Range) int { return bytes.Compare(a.Start, b.Start) }
	if !slices.IsSortedFunc(ranges, byStart) {
		slices.SortFunc(ranges, byStart)
	}
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out); n > 0 && (len(out[n-1].End) == 0 || bytes.Compare(r.Start, out[n-1].End) <= 0) {
			out[n-1].End = maxEnd(out[n-1].End, r.End)
			continue
		}
		out = append(out, r)
	}
	return Set{ranges: out}
}

func minEnd(a, b []byte) []byte {
	if len(a) == 0 || len(b) > 0 && bytes.Compare(b, a) < 0 {
		return b
	}
	return a
}

func maxEnd(a, b []byte) []byte {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

// Ranges returns the ranges of s: sorted, disjoint, not touching, not empty.
// The caller must not change them.
func (s Set) Ranges() []Range { return s.ranges }

// Backward yields the ranges of s from the last to the first, for reversed
// scans.
func (s Set) Backward() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for _, r := range slices.Backward(s.ranges) {
			if !yield(r) {
				return
			}
		}
	}
}

// IsEmpty reports whether s holds no key.
func (s Set) IsEmpty() bool { return len(s.ranges) == 0 }

// IsAll reports whether s holds all keys.
func (s Set) IsAll() bool {
	return len(s.ranges) == 1 && len(s.ranges[0].Start) == 0 && len(s.ranges[0].End) == 0
}

// find returns the index of the first range that ends above key.
func (s Set) find(key []byte) int {
	return sort.Search(len(s.ranges), func(i int) bool {
		return len(s.ranges[i].End) == 0 || bytes.Compare(s.ranges[i].End, key) > 0
	})
}

// Contains reports whether key lies in s.
func (s Set) Contains(key []byte) bool {
	i := s.find(key)
	return i < len(s.ranges) && s.ranges[i].Contains(key)
}

// Next returns the least key at or above key that lies in s, to seek to; false:
// there is none.
func (s Set) Next(key []byte) ([]byte, bool) {
	i := s.find(key)
	if i == len(s.ranges) {
		return nil, false
	}
	if bytes.Compare(key, s.ranges[i].Start) < 0 {
		key = s.ranges[i].Start
	}
	return key, true
}

// Intersect returns the keys of s that lie in r, such as the bounds of a
// tablet. It does not copy the ranges where r cuts none.
func (s Set) Intersect(r Range) Set {
	if r.IsEmpty() {
		return Set{}
	}
	from := s.find(r.Start)
	to := len(s.ranges)
	if len(r.End) > 0 {
		to = sort.Search(len(s.ranges), func(i int) bool { return bytes.Compare(s.ranges[i].Start, r.End) >= 0 })
	}
	if from >= to {
		return Set{}
	}
	part := s.ranges[from:to:to]
	first, last := part[0].Intersect(r), part[len(part)-1].Intersect(r)
	if sameBounds(first, part[0]) && sameBounds(last, part[len(part)-1]) {
		return Set{ranges: part}
	}
	part = slices.Clone(part)
	part[0] = first
	part[len(part)-1] = part[len(part)-1].Intersect(r)
	return Set{ranges: part}
}

func sameBounds(a, b Range) bool {
	return bytes.Equal(a.Start, b.Start) && bytes.Equal(a.End, b.End)
}

// IntersectSet returns the keys that lie in both s and o.
func (s Set) IntersectSet(o Set) Set {
	var out []Range
	for i, j := 0, 0; i < len(s.ranges) && j < len(o.ranges); {
		a, b := s.ranges[i], o.ranges[j]
		if x := a.Intersect(b); !x.IsEmpty() {
			out = append(out, x)
		}
		if len(a.End) > 0 && (len(b.End) == 0 || bytes.Compare(a.End, b.End) <= 0) {
			i++
		} else {
			j++
		}
	}
	return Set{ranges: out}
}

// After returns the keys of s above key: what a scan that was cut off after
// the row key still has to read.
func (s Set) After(key []byte) Set { return s.Intersect(Range{Start: successor(key)}) }

// Before returns the keys of s below key: what a reversed scan that was cut
// off after the row key still has to read.
func (s Set) Before(key []byte) Set {
	if len(key) == 0 {
		return Set{}
	}
	return s.Intersect(Range{End: key})
}
