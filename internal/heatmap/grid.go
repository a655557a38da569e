package heatmap

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Range is a tablet of the table that is drawn, as it is now.
type Range struct {
	Tablet     base.TabletID
	Start, End []byte // empty: no end
}

// Query says what Build shows.
type Query struct {
	Table    base.TableID
	Tablets  []Range // of the table, in order of their rows; may be empty
	From, To time.Time
	Slot     time.Duration // length of a slot of the recorders
	// Rows is about how many there are, at most half as many more; 64. Cols is
	// how many there are at most; 72.
	Rows, Cols int
}

// Row is one range of rows of a Grid.
type Row struct {
	Start, End []byte // empty: no end
	// Tablets are the indexes in Query.Tablets of the tablets that overlap the
	// row: [First, Last]; Last < First: none.
	First, Last int
}

// Grid is the number of requests per second by range of rows and time. The
// ranges are no equal parts of the key space, which nobody could name, but whole
// tablets, or parts of busy ones: each tablet gets some of the height, and the
// more it does the more it gets.
type Grid struct {
	Query Query
	Times []time.Time // bounds of the columns: one more than there are
	Rows  []Row
	// Cells are requests per second, by kind, row and column.
	Cells [kinds][][]float64
	// Max is the largest cell, Total the sum of a column over all rows.
	Max   [kinds]float64
	Total [kinds][]float64
	// Mean is the mean over time of each row.
	Mean [kinds][]float64
}

// Build puts together what the recorders of several servers have counted.
func Build(q Query, slots []Slot) *Grid {
	if q.Rows <= 0 {
		q.Rows = 64
	}
	if q.Cols <= 0 {
		q.Cols = 72
	}
	if q.Slot <= 0 {
		q.Slot = time.Minute
	}
	g := &Grid{Query: q, Times: columns(q)}
	var mine []Slot
	for _, s := range slots {
		if s.Length > 0 && s.Start.Before(q.To) && s.Start.Add(s.Length).After(q.From) {
			mine = append(mine, s)
		}
	}
	g.Rows = rows(q, mine)
	for k := range g.Cells {
		g.Cells[k] = make([][]float64, len(g.Rows))
		for i := range g.Cells[k] {
			g.Cells[k][i] = make([]float64, len(g.Times)-1)
		}
	}
	for _, s := range mine {
		g.add(s)
	}
	g.sum()
	return g
}

// columns cuts the time into equal columns, each a number of slots, the last of
// which may be cut short.
func columns(q Query) []time.Time {
	per := time.Duration(math.Ceil(float64(q.To.Sub(q.From)) / float64(q.Slot) / float64(q.Cols)))
	width := max(per, 1) * q.Slot
	times := []time.Time{q.From.Truncate(width)}
	for times[len(times)-1].Before(q.To) && len(times) <= q.Cols+1 {
		times = append(times, times[len(times)-1].Add(width))
	}
	times[len(times)-1] = q.To
	if len(times) == 1 {
		times = append(times, q.To)
	}
	return times
}

// ofLoad is which part of the height is shared out by load, not by tablets.
const ofLoad = 0.25

// rows chooses the ranges of rows: idle tablets are put together, busy ones cut.
func rows(q Query, slots []Slot) []Row {
	tablets := q.Tablets
	if len(tablets) == 0 {
		tablets = []Range{{}}
	}
	loads := make([]map[string]float64, len(tablets)) // by where buckets begin
	mass := make([]float64, len(tablets))
	var all float64
	for _, s := range slots {
		for _, b := range s.Buckets {
			if b.Table != q.Table {
				continue
			}
			i := max(sort.Search(len(tablets), func(i int) bool { return bytes.Compare(tablets[i].Start, b.Start) > 0 })-1, 0)
			if loads[i] == nil {
				loads[i] = map[string]float64{}
			}
			n := b.Count[Read] + b.Count[Write]
			loads[i][string(b.Start)] += n
			mass[i] += n
			all += n
		}
	}
	var starts [][]byte
	unit, gathered := 1/float64(q.Rows), math.Inf(1)
	for i, t := range tablets {
		m := (1 - ofLoad) / float64(len(tablets))
		if all > 0 {
			m += ofLoad * mass[i] / all
		} else {
			m /= 1 - ofLoad
		}
		if m >= 2*unit {
			starts = append(starts, divide(t, loads[i], mass[i], int(m/unit))...)
			gathered = math.Inf(1)
			continue
		}
		if gathered >= unit {
			starts, gathered = append(starts, t.Start), 0
		}
		gathered += m
	}
	starts[0] = nil // whatever there is above
	out := make([]Row, len(starts))
	for i := range out {
		out[i].Start = starts[i]
		if i+1 < len(starts) {
			out[i].End = starts[i+1]
		}
		out[i].First, out[i].Last = overlap(q.Tablets, out[i])
	}
	return out
}

// divide returns where about n parts of a tablet begin that have the same load.
func divide(t Range, loads map[string]float64, all float64, n int) [][]byte {
	starts := [][]byte{t.Start}
	var before float64
	for _, k := range slices.Sorted(maps.Keys(loads)) {
		part := all / float64(n)
		if k > string(t.Start) && len(starts) < n && (before >= part*float64(len(starts)) || loads[k] >= part) {
			starts = append(starts, []byte(k))
		}
		before += loads[k]
	}
	return starts
}

// overlap returns the indexes of the first and the last tablet that share rows
// with r.
func overlap(tablets []Range, r Row) (first, last int) {
	first = sort.Search(len(tablets), func(i int) bool { return len(tablets[i].End) == 0 || bytes.Compare(tablets[i].End, r.Start) > 0 })
	last = sort.Search(len(tablets), func(i int) bool { return len(r.End) > 0 && bytes.Compare(tablets[i].Start, r.End) >= 0 }) - 1
	return first, last
}

// add shares a slot's requests out among the cells that it covers.
func (g *Grid) add(s Slot) {
	cols := g.shares(s)
	for _, b := range s.Buckets {
		if b.Table != g.Query.Table {
			continue
		}
		first, weights := g.weights(b)
		for i, w := range weights {
			for k := range b.Count {
				for c, share := range cols {
					g.Cells[k][first+i][c] += b.Count[k] * w * share
				}
			}
		}
	}
}

// shares returns which part of a slot lies in each column.
func (g *Grid) shares(s Slot) map[int]float64 {
	end := s.Start.Add(s.Length)
	shares := map[int]float64{}
	for c := range len(g.Times) - 1 {
		from, to := g.Times[c], g.Times[c+1]
		if s.Start.After(from) {
			from = s.Start
		}
		if end.Before(to) {
			to = end
		}
		if to.After(from) {
			shares[c] = float64(to.Sub(from)) / float64(s.Length)
		}
	}
	return shares
}

// weights returns which part of a bucket lies in which rows, from the first on.
// Nobody knows how requests lie within a bucket: the rows that it covers get
// equal parts, the one that it covers in part half of that.
func (g *Grid) weights(b Bucket) (first int, weights []float64) {
	first = sort.Search(len(g.Rows), func(i int) bool { return bytes.Compare(g.Rows[i].Start, b.Start) > 0 }) - 1
	first = max(first, 0)
	var sum float64
	for i := first; i < len(g.Rows); i++ {
		r := g.Rows[i]
		if i > first && len(b.End) > 0 && bytes.Compare(r.Start, b.End) >= 0 {
			break
		}
		w := 1.0
		if i == first && !bytes.Equal(r.Start, b.Start) || len(b.End) > 0 && (len(r.End) == 0 || bytes.Compare(b.End, r.End) < 0) {
			w = 0.5
		}
		weights = append(weights, w)
		sum += w
	}
	for i := range weights {
		weights[i] /= sum
	}
	return first, weights
}

// sum turns counts into rates and adds them up.
func (g *Grid) sum() {
	span := g.Times[len(g.Times)-1].Sub(g.Times[0]).Seconds()
	for k := range g.Cells {
		g.Total[k] = make([]float64, len(g.Times)-1)
		g.Mean[k] = make([]float64, len(g.Rows))
		for i, row := range g.Cells[k] {
			for c := range row {
				seconds := g.Times[c+1].Sub(g.Times[c]).Seconds()
				if span > 0 {
					g.Mean[k][i] += row[c] / span
				}
				if seconds > 0 {
					row[c] /= seconds
				}
				g.Max[k] = max(g.Max[k], row[c])
				g.Total[k][c] += row[c]
			}
		}
	}
}
