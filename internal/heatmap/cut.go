package heatmap

import (
	"bytes"
	"cmp"
	"slices"
)

// load is what one tablet did in a slot.
type load struct {
	Source
	samples *samples // nil: none
	count   [kinds]float64
}

func (l *load) total() float64 { return l.count[Read] + l.count[Write] }

// maxCut is into how many buckets one tablet is cut at most.
const maxCut = 32

// cut returns at most about n buckets for the tablets, which all got requests:
// busy tablets are cut, and idle ones put together where there are too many.
func cut(tablets []load, n int) []Bucket {
	slices.SortFunc(tablets, func(a, b load) int {
		return cmp.Or(cmp.Compare(a.Table(), b.Table()), bytes.Compare(a.Start(), b.Start()), cmp.Compare(a.ID(), b.ID()))
	})
	var all float64
	for i := range tablets {
		all += tablets[i].total()
	}
	if len(tablets) >= n {
		return gather(tablets, all/float64(n))
	}
	var out []Bucket
	extra := float64(n - len(tablets))
	for i := range tablets {
		t := &tablets[i]
		out = t.cut(out, min(1+int(extra*t.total()/all), maxCut))
	}
	return out
}

// gather puts neighbours together until they have a load of least, which a busy
// tablet has alone.
func gather(tablets []load, least float64) []Bucket {
	var out []Bucket
	open := false // the last bucket takes more
	for i := range tablets {
		t := &tablets[i]
		if n := len(out) - 1; open && out[n].Table == t.Table() && t.total() < least {
			b := &out[n]
			b.Tablet, b.End = 0, t.End()
			for k := range b.Count {
				b.Count[k] += t.count[k]
			}
			open = b.Count[Read]+b.Count[Write] < least
			continue
		}
		out = append(out, Bucket{Table: t.Table(), Tablet: t.ID(), Start: t.Start(), End: t.End(), Count: t.count})
		open = t.total() < least
	}
	return out
}

// cut appends up to n buckets for the tablet, which have about the same load. A
// row that alone has that load gets a bucket of its own.
func (l *load) cut(out []Bucket, n int) []Bucket {
	starts := [][]byte{l.Start()}
	if l.samples != nil && n > 1 {
		slices.SortFunc(l.samples.list, func(a, b sample) int { return bytes.Compare(a.row, b.row) })
		starts = l.starts(l.samples.list, n)
	}
	first := len(out)
	for i, s := range starts {
		b := Bucket{Table: l.Table(), Tablet: l.ID(), Start: s, End: l.End()}
		if i+1 < len(starts) {
			b.End = starts[i+1]
		}
		out = append(out, b)
	}
	l.spread(out[first:])
	return out
}

// fewest is how many samples a bucket has at least: fewer tell nothing.
const fewest = 4

// starts returns where the buckets of the tablet begin.
func (l *load) starts(list []sample, n int) [][]byte {
	starts := [][]byte{l.Start()}
	add := func(row []byte) {
		if bytes.Compare(row, starts[len(starts)-1]) > 0 && (len(l.End()) == 0 || bytes.Compare(row, l.End()) < 0) {
			starts = append(starts, bytes.Clone(row))
		}
	}
	heavy := max((len(list)+n-1)/n, fewest)
	since := 0 // samples since the last start
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && bytes.Equal(list[j].row, list[i].row) {
			j++
		}
		switch {
		case j-i >= heavy:
			add(list[i].row)
			add(append(bytes.Clone(list[i].row), 0)) // the next row there can be
			since = 0
		case since+j-i > heavy:
			add(list[i].row)
			since = j - i
		default:
			since += j - i
		}
		i = j
	}
	return starts
}

// spread shares the tablet's requests out among its buckets.
func (l *load) spread(buckets []Bucket) {
	var seen [kinds]float64
	hits := make([][kinds]float64, len(buckets))
	if l.samples != nil {
		for _, s := range l.samples.list {
			i, found := slices.BinarySearchFunc(buckets, s.row, func(b Bucket, row []byte) int { return bytes.Compare(b.Start, row) })
			if !found {
				i = max(i-1, 0)
			}
			hits[i][s.kind]++
			seen[s.kind]++
		}
	}
	for k := range l.count {
		for i := range buckets {
			if seen[k] > 0 {
				buckets[i].Count[k] = l.count[k] * hits[i][k] / seen[k]
			} else {
				buckets[i].Count[k] = l.count[k] / float64(len(buckets))
			}
		}
	}
}
