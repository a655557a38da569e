package heatmap

import (
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Levels is how many colours there are; a cell of level 0 is not drawn.
const Levels = 10

// Level returns the colour of a cell: that of its square root, so that what is
// a tenth of the maximum can still be told from nothing.
func Level(v, most float64) int {
	if v <= 0 || most <= 0 {
		return 0
	}
	return min(max(int(math.Ceil(math.Sqrt(v/most)*Levels)), 1), Levels)
}

// Floor returns the least value that has a level.
func Floor(level int, most float64) float64 {
	x := float64(level-1) / Levels
	return x * x * most
}

// The drawing, in units of its view box.
const (
	width     = 1000
	left      = 190 // for the keys
	right     = 70  // for the means
	top       = 46  // for the totals
	bottom    = 24  // for the times
	rowHeight = 7
)

// Key returns a row key as people read it: as it is where it can be printed,
// else in quotes as a Go string.
func Key(k []byte) string {
	s := string(k)
	if !utf8.ValidString(s) || strings.HasPrefix(s, `"`) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// Short is Key in at most n characters.
func Short(k []byte, n int) string {
	s := []rune(Key(k))
	if len(s) <= n {
		return string(s)
	}
	return string(s[:n-1]) + "…"
}

// Rate returns a number of requests per second for people.
func Rate(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.095:
		return "under 0.1"
	case v < 9.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Drawing says how SVG draws.
type Drawing struct {
	Kind Kind
	// Tablet returns where the page of a tablet is; nil: there is none.
	Tablet func(Range) string
}

// SVG writes the grid as an <svg> element, to be put into a page. Its colours
// are those that the page's style sheet gives to the classes h1 to h10 (Levels),
// axis, tick, edge, total and mean. Each cell has a <title>, which browsers show
// as a tooltip. Times are UTC.
func (g *Grid) SVG(w io.Writer, d Drawing) error {
	p := &pen{g: g, d: d, verb: [...]string{"reads", "writes"}[d.Kind]}
	p.scaleX = float64(width-left-right) / max(g.Times[len(g.Times)-1].Sub(g.Times[0]).Seconds(), 1e-3)
	p.height = float64(max(len(g.Rows), 1)) * p.rowHeight()
	h := top + p.height + bottom
	p.f(`<svg xmlns="http://www.w3.org/2000/svg" class="heat" viewBox="0 0 %d %s" role="img" aria-label="%s per second by row and time">`, width, num(h), p.verb)
	p.totals()
	p.f(`<rect class="field" x="%d" y="%d" width="%d" height="%s"/>`, left, top, width-left-right, num(p.height))
	for i := range g.Rows {
		p.row(i)
	}
	p.keys()
	p.times()
	p.f(`</svg>`)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// pen draws one grid.
type pen struct {
	b      strings.Builder
	g      *Grid
	d      Drawing
	verb   string
	scaleX float64 // units per second
	height float64 // of all rows
}

func (p *pen) f(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

// num writes a coordinate.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }

func text(s string) string { return html.EscapeString(clean(s)) }

// clean replaces what XML cannot hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < 0x20 && r != '\t' && r != '\n' || r == 0xfffe || r == 0xffff {
			return '\ufffd'
		}
		return r
	}, s)
}

// rowHeight is larger where there are few rows.
func (p *pen) rowHeight() float64 {
	return min(max(float64(rowHeight), 280/float64(max(len(p.g.Rows), 1))), 40)
}

func (p *pen) x(t time.Time) float64 { return left + t.Sub(p.g.Times[0]).Seconds()*p.scaleX }
func (p *pen) y(row int) float64     { return top + float64(row)*p.rowHeight() }

// row draws the cells of one row, and its mean at the right.
func (p *pen) row(i int) {
	g, k := p.g, p.d.Kind
	r := g.Rows[i]
	what := p.what(r)
	link := ""
	if p.d.Tablet != nil && r.First == r.Last && r.First >= 0 {
		link = p.d.Tablet(g.Query.Tablets[r.First])
	}
	if link != "" {
		p.f(`<a href="%s">`, text(link))
	}
	for c, v := range g.Cells[k][i] {
		level := Level(v, g.Max[k])
		if level == 0 {
			continue
		}
		x, next := p.x(g.Times[c]), p.x(g.Times[c+1])
		p.f(`<rect class="h%d" x="%s" y="%s" width="%s" height="%s"><title>%s %s/s, %s to %s UTC
%s</title></rect>`, level, num(x), num(p.y(i)), num(max(next-x, 0.5)), num(p.rowHeight()),
			Rate(v), p.verb, g.Times[c].UTC().Format("15:04:05"), g.Times[c+1].UTC().Format("15:04:05"), what)
	}
	if most := maxOf(g.Mean[k]); g.Mean[k][i] > 0 && most > 0 {
		p.f(`<rect class="mean" x="%d" y="%s" width="%s" height="%s"><title>%s %s/s on average
%s</title></rect>`, width-right+4, num(p.y(i)+0.5), num(g.Mean[k][i]/most*(right-8)), num(p.rowHeight()-1), Rate(g.Mean[k][i]), p.verb, what)
	}
	if link != "" {
		p.f(`</a>`)
	}
}

// what describes a row: its keys and its tablets.
func (p *pen) what(r Row) string {
	end := "the end"
	if len(r.End) > 0 {
		end = Short(r.End, 60)
	}
	start := "the beginning"
	if len(r.Start) > 0 {
		start = Short(r.Start, 60)
	}
	s := "rows from " + start + " to " + end
	switch n := r.Last - r.First + 1; {
	case n == 1:
		s += fmt.Sprintf("\ntablet %d", p.g.Query.Tablets[r.First].Tablet)
	case n > 1:
		s += fmt.Sprintf("\n%s tablets", Rate(float64(n)))
	}
	return text(s)
}

func maxOf(list []float64) float64 {
	var m float64
	for _, v := range list {
		m = max(m, v)
	}
	return m
}

// totals draws the sum of all rows over time above the cells.
func (p *pen) totals() {
	g, k := p.g, p.d.Kind
	most := maxOf(g.Total[k])
	if most == 0 {
		return
	}
	const room = top - 8
	p.f(`<path class="total" d="M%d %d`, left, top-4)
	for c, v := range g.Total[k] {
		y := num(top - 4 - v/most*room)
		p.f("L%s %sL%s %s", num(p.x(g.Times[c])), y, num(p.x(g.Times[c+1])), y)
	}
	p.f(`L%s %dZ"><title>all rows together: at most %s %s/s</title></path>`, num(p.x(g.Times[len(g.Times)-1])), top-4, Rate(most), p.verb)
	p.f(`<text class="axis end" x="%d" y="14">%s/s</text>`, left-8, Rate(most))
}

// keys labels the rows: where a tablet begins, and evenly where that leaves
// gaps.
func (p *pen) keys() {
	const apart = 15.0 // least distance of two labels
	last := -apart
	for i, r := range p.g.Rows {
		y := p.y(i)
		edge := p.begins(r)
		if edge && i > 0 && p.rowHeight() > 2 {
			p.f(`<line class="edge" x1="%d" y1="%s" x2="%d" y2="%s"/>`, left-5, num(y), left, num(y))
		}
		if y-last < apart || !edge && y-last < 3*apart {
			continue
		}
		last = y
		label := "(first row)"
		if len(r.Start) > 0 {
			label = Short(r.Start, 24)
		}
		p.f(`<text class="axis end" x="%d" y="%s">%s</text>`, left-8, num(y+9), text(label))
	}
}

// begins reports whether a tablet begins with the row.
func (p *pen) begins(r Row) bool {
	for i := r.First; i >= 0 && i <= r.Last; i++ {
		if string(p.g.Query.Tablets[i].Start) == string(r.Start) {
			return true
		}
	}
	return false
}

// times labels the columns.
func (p *pen) times() {
	from, to := p.g.Times[0], p.g.Times[len(p.g.Times)-1]
	step := time.Second
	for _, s := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
		5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		if step = s; to.Sub(from)/s <= 9 {
			break
		}
	}
	format := "15:04"
	if step < time.Minute {
		format = "15:04:05"
	}
	base := top + p.height
	for t, n := from.Truncate(step).Add(step), 0; !t.After(to) && n < 100; t, n = t.Add(step), n+1 {
		p.f(`<line class="tick" x1="%s" y1="%s" x2="%s" y2="%s"/><text class="axis mid" x="%s" y="%s">%s</text>`,
			num(p.x(t)), num(base), num(p.x(t)), num(base+4), num(min(p.x(t), width-24)), num(base+17), t.UTC().Format(format))
	}
}
