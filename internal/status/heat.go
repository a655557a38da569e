package status

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/heatmap"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// heatBody is the page of the heat map of one table.
type heatBody struct {
	Table   string          `json:"table"`
	TableID uint64          `json:"table_id"`
	From    output.Time     `json:"from"`
	To      output.Time     `json:"to"`
	Slot    output.Duration `json:"slot_seconds"`
	Times   []output.Time   `json:"times"` // bounds of the columns
	Rows    []heatRow       `json:"rows"`
	Hot     []hotRange      `json:"-"`
	Missing []string        `json:"missing,omitempty"` // servers that did not answer
	Maps    []heatDrawing   `json:"-"`
	Tables  []choice        `json:"-"`
	Spans   []choice        `json:"-"`
	MostOps Rate            `json:"-"`
	Top     *hotRange       `json:"-"` // a tablet that gets much more than its share; nil: none does
}

// heatRow is one range of rows over time.
type heatRow struct {
	Start   output.Bytes `json:"start"`
	End     output.Bytes `json:"end"`
	Tablets []uint64     `json:"tablets"`
	Reads   []float64    `json:"reads"` // per second, by column
	Writes  []float64    `json:"writes"`
}

// hotRange is a range that gets many requests, on average over the time.
type hotRange struct {
	Start, End    output.Bytes
	Reads, Writes Rate
	Share         string // of all requests
	Tablet        uint64 // 0: several
	Tablets       int
	Server        string
	ServerID      string
}

// Ops is the sum of reads and writes.
func (h hotRange) Ops() Rate { return h.Reads + h.Writes }

// heatDrawing is one of the two maps.
type heatDrawing struct {
	Name   string
	Verb   string
	SVG    template.HTML
	Legend []legendStep
	Most   Rate
	Empty  bool
}

type legendStep struct {
	Class string
	From  Rate
}

// spans are the times that can be shown.
var spans = [...]time.Duration{10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}

func heatPage(q *request) (any, error) {
	minutes, err := q.number("minutes")
	if err != nil {
		return nil, err
	}
	span := time.Duration(cmp.Or(min(minutes, 24*60), 60)) * time.Minute
	b := &heatBody{}
	if err := b.choose(q, span); err != nil {
		return nil, err
	}
	to := time.Now()
	answers, errs := view.Heat(q.Context(), q.parts.Source.Network, q.view.Servers, base.TableID(b.TableID), to.Add(-span).UnixMicro())
	for _, err := range errs {
		b.Missing = append(b.Missing, err.Error())
	}
	slices.Sort(b.Missing)
	slots, slot := slotsOf(answers)
	hq := heatmap.Query{Table: base.TableID(b.TableID), From: since(slots, slot, to.Add(-span), to), To: to, Slot: slot}
	for i := range q.view.Tablets {
		if t := &q.view.Tablets[i]; t.Table == hq.Table {
			hq.Tablets = append(hq.Tablets, heatmap.Range{Tablet: t.ID, Start: t.Start, End: t.End})
		}
	}
	g := heatmap.Build(hq, slots)
	b.From, b.To, b.Slot = at(hq.From), at(to), output.Duration(slot)
	b.fill(g)
	b.hot(q.view, g)
	return b, b.draw(g)
}

// since returns from when on there is something to draw, from on, but leaves
// room for ten slots.
func since(slots []heatmap.Slot, slot time.Duration, from, to time.Time) time.Time {
	first := to.Add(-10 * max(slot, time.Second))
	for _, s := range slots {
		if s.Start.Before(first) {
			first = s.Start
		}
	}
	if first.After(from) {
		return first
	}
	return from
}

// choose finds the table: the one that is asked for, or the busiest.
func (b *heatBody) choose(q *request, span time.Duration) error {
	var o overviewBody
	o.count(q.view)
	want := q.query.Get("table")
	for _, t := range o.Tables {
		if want == strconv.FormatUint(t.ID, 10) || want == t.Name || want == "" && b.Table == "" {
			b.Table, b.TableID = t.Name, t.ID
		}
	}
	if b.Table == "" && want != "" {
		return fmt.Errorf("table %q: %w", want, base.ErrNotFound)
	}
	for _, t := range o.Tables {
		b.Tables = append(b.Tables, choice{strconv.FormatUint(t.ID, 10), t.Name, "", t.ID == b.TableID})
	}
	for _, s := range spans {
		n := strconv.Itoa(int(s.Minutes()))
		name := n + " min"
		if s >= time.Hour {
			name = strconv.Itoa(int(s.Hours())) + " h"
		}
		b.Spans = append(b.Spans, choice{n, name, q.with("minutes", n), s == span})
	}
	return nil
}

// slotsOf converts what servers answered; slot is the longest of their slots.
func slotsOf(answers []*controlpb.HeatResponse) (slots []heatmap.Slot, slot time.Duration) {
	for _, a := range answers {
		slot = max(slot, time.Duration(a.GetSlotUs())*time.Microsecond)
		for _, p := range a.GetSlots() {
			s := heatmap.Slot{Start: time.UnixMicro(p.StartUs), Length: time.Duration(p.LengthUs) * time.Microsecond}
			for _, x := range p.GetBuckets() {
				s.Buckets = append(s.Buckets, heatmap.Bucket{
					Table: base.TableID(x.Table), Tablet: base.TabletID(x.Tablet), Start: x.Start, End: x.End,
					Count: [2]float64{heatmap.Read: x.Reads, heatmap.Write: x.Writes},
				})
			}
			slots = append(slots, s)
		}
	}
	return slots, slot
}

// hotShare is how many times its share of the requests a tablet gets that is
// said to be hot.
const hotShare = 3

// fill takes over the numbers.
func (b *heatBody) fill(g *heatmap.Grid) {
	for _, t := range g.Times {
		b.Times = append(b.Times, at(t))
	}
	for i, r := range g.Rows {
		x := heatRow{Start: r.Start, End: r.End, Tablets: []uint64{}, Reads: g.Cells[heatmap.Read][i], Writes: g.Cells[heatmap.Write][i]}
		for k := r.First; k >= 0 && k <= r.Last; k++ {
			x.Tablets = append(x.Tablets, uint64(g.Query.Tablets[k].Tablet))
		}
		b.Rows = append(b.Rows, x)
	}
}

// hot lists the tablets, or ranges of several, with most requests.
func (b *heatBody) hot(v *view.View, g *heatmap.Grid) {
	var all Rate
	for i, r := range g.Rows {
		h := hotRange{Start: r.Start, End: r.End, Reads: Rate(g.Mean[heatmap.Read][i]), Writes: Rate(g.Mean[heatmap.Write][i]), Tablets: r.Last - r.First + 1}
		all += h.Reads + h.Writes
		if h.Tablets == 1 {
			h.Tablet = uint64(g.Query.Tablets[r.First].Tablet)
		}
		if n := len(b.Hot) - 1; n >= 0 && h.Tablet != 0 && b.Hot[n].Tablet == h.Tablet { // another part of the same tablet
			b.Hot[n].End, b.Hot[n].Reads, b.Hot[n].Writes = h.End, b.Hot[n].Reads+h.Reads, b.Hot[n].Writes+h.Writes
			continue
		}
		b.Hot = append(b.Hot, h)
	}
	slices.SortStableFunc(b.Hot, func(x, y hotRange) int { return int(sign(y.Reads + y.Writes - x.Reads - x.Writes)) })
	b.Hot = b.Hot[:min(busiest, len(b.Hot))]
	b.Hot = slices.DeleteFunc(b.Hot, func(h hotRange) bool { return h.Reads+h.Writes <= 0 })
	for i := range b.Hot {
		h := &b.Hot[i]
		part := float64(h.Ops() / all)
		h.Share = fmt.Sprintf("%.0f %%", 100*part)
		if i == 0 && h.Tablet != 0 && part > 0.1 && part > hotShare/float64(len(g.Query.Tablets)) {
			b.Top = h
		}
		b.MostOps = max(b.MostOps, h.Reads+h.Writes)
		for k := range v.Tablets {
			if t := &v.Tablets[k]; uint64(t.ID) == h.Tablet {
				r := newTabletRow(v, t)
				h.Server, h.ServerID, h.Start, h.End = r.Server, r.ServerID, r.Start, r.End
			}
		}
	}
}

// draw draws both maps.
func (b *heatBody) draw(g *heatmap.Grid) error {
	for k, name := range [...]string{heatmap.Read: "Reads", heatmap.Write: "Writes"} {
		d := heatDrawing{Name: name, Verb: strings.ToLower(name), Most: Rate(g.Max[k]), Empty: g.Max[k] == 0}
		var s strings.Builder
		err := g.SVG(&s, heatmap.Drawing{Kind: heatmap.Kind(k), Tablet: func(r heatmap.Range) string { return fmt.Sprintf("/tablet?id=%d", r.Tablet) }})
		if err != nil {
			return err
		}
		d.SVG = template.HTML(s.String()) // SVG escapes what it shows
		for l := 1; l <= heatmap.Levels; l++ {
			d.Legend = append(d.Legend, legendStep{fmt.Sprintf("h%d", l), Rate(heatmap.Floor(l, g.Max[k]))})
		}
		b.Maps = append(b.Maps, d)
	}
	return nil
}
