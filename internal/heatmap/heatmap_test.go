package heatmap

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

// fake is a tablet that counts.
type fake struct {
	id            base.TabletID
	start, end    string
	reads, writes atomic.Int64
}

func (f *fake) ID() base.TabletID        { return f.id }
func (f *fake) Table() base.TableID      { return 1 }
func (f *fake) Start() []byte            { return []byte(f.start) }
func (f *fake) End() []byte              { return []byte(f.end) }
func (f *fake) Requests() (int64, int64) { return f.reads.Load(), f.writes.Load() }

var epoch = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// tablets returns n tablets with the starts k000, k010, ...
func tablets(n int) (list []*fake, sources []Source, ranges []Range) {
	for i := range n {
		f := &fake{id: base.TabletID(i + 1)}
		if i > 0 {
			f.start = fmt.Sprintf("k%03d", i*10)
		}
		if i < n-1 {
			f.end = fmt.Sprintf("k%03d", i*10+10)
		}
		list, sources = append(list, f), append(sources, f)
		ranges = append(ranges, Range{f.id, f.Start(), f.End()})
	}
	return list, sources, ranges
}

func (f *fake) do(r *Recorder, k Kind, row string, n int) {
	for range n {
		if k == Read {
			f.reads.Add(1)
		} else {
			f.writes.Add(1)
		}
		r.Note(f, k, []byte(row))
	}
}

func sums(s Slot) (sum [kinds]float64) {
	for _, b := range s.Buckets {
		for k := range sum {
			sum[k] += b.Count[k]
		}
	}
	return sum
}

// TestCountsAreExact: whatever is sampled, each tablet's requests are all there.
func TestCountsAreExact(t *testing.T) {
	list, sources, _ := tablets(10)
	r := NewRecorder(Options{Keep: 3}, epoch)
	rng := seedtest.New(t)
	for minute := range 5 {
		want := map[base.TabletID][kinds]float64{}
		for _, f := range list {
			var c [kinds]float64
			for k := range kinds {
				n := rng.IntN(300)
				f.do(r, Kind(k), fmt.Sprintf("k%03d", (int(f.id)-1)*10+rng.IntN(10)), n)
				c[k] = float64(n)
			}
			want[f.id] = c
		}
		now := epoch.Add(time.Duration(minute+1) * time.Minute)
		r.Roll(now, sources)
		slots := r.Slots(time.Time{}, now, sources)
		got := map[base.TabletID][kinds]float64{}
		for _, b := range slots[len(slots)-1].Buckets {
			c := got[b.Tablet]
			for k := range c {
				c[k] += b.Count[k]
			}
			got[b.Tablet] = c
		}
		for id, w := range want {
			for k := range w {
				if math.Abs(got[id][k]-w[k]) > 1e-6 {
					t.Errorf("minute %d, tablet %d: %v, want %v", minute, id, got[id], w)
				}
			}
		}
		if len(slots) > 3 {
			t.Errorf("%d slots are kept, want 3", len(slots))
		}
	}
}

// TestVanishedTablet: what a tablet did that has gone before the slot ended is
// counted all the same, once.
func TestVanishedTablet(t *testing.T) {
	list, sources, _ := tablets(2)
	r := NewRecorder(Options{SampleEvery: 1}, epoch)
	list[0].do(r, Write, "k001", 50)
	r.Roll(epoch.Add(time.Minute), sources[1:])
	r.Roll(epoch.Add(2*time.Minute), sources[1:])
	slots := r.Slots(time.Time{}, epoch.Add(2*time.Minute), nil)
	if len(slots) != 1 || sums(slots[0])[Write] != 50 {
		t.Errorf("slots: %+v", slots)
	}
}

// TestHotRow: a row that gets most requests has a bucket of its own.
func TestHotRow(t *testing.T) {
	list, sources, _ := tablets(3)
	r := NewRecorder(Options{SampleEvery: 1}, epoch)
	list[1].do(r, Read, "k013", 60)
	for i := range 6 {
		list[1].do(r, Read, fmt.Sprintf("k01%d", i), 1)
	}
	r.Roll(epoch.Add(time.Minute), sources)
	for _, b := range r.Slots(time.Time{}, epoch.Add(time.Minute), sources)[0].Buckets {
		if string(b.Start) == "k013" {
			if string(b.End) != "k013\x00" || b.Count[Read] < 55 {
				t.Errorf("bucket of the hot row: %q to %q, %v", b.Start, b.End, b.Count)
			}
			return
		}
	}
	t.Error("the hot row has no bucket")
}

// TestBounded: many tablets take no more than the buckets there are, and lose
// no request; many rows no more than the samples.
func TestBounded(t *testing.T) {
	list, sources, _ := tablets(900)
	r := NewRecorder(Options{SampleEvery: 1, Buckets: 40}, epoch)
	for i, f := range list {
		f.do(r, Write, strings.Repeat("x", 4096), 1+i%3)
	}
	list[450].do(r, Write, "k4505", 5000)
	r.mu.Lock()
	if r.mu.total > maxSamples {
		t.Errorf("%d samples", r.mu.total)
	}
	for _, s := range r.mu.samples {
		for _, x := range s.list {
			if len(x.row) > maxRow {
				t.Fatalf("a row of %d bytes is kept", len(x.row))
			}
		}
	}
	r.mu.Unlock()
	r.Roll(epoch.Add(time.Minute), sources)
	s := r.Slots(time.Time{}, epoch.Add(time.Minute), sources)[0]
	if n := len(s.Buckets); n > 80 {
		t.Errorf("%d buckets, want about 40", n)
	}
	if sum := sums(s); sum[Write] != 900+900+5000 {
		t.Errorf("sum %v", sum)
	}
	for _, b := range s.Buckets {
		if b.Tablet == 451 && b.Count[Write] >= 5000 {
			return
		}
	}
	t.Error("the hot tablet has no bucket of its own")
}

// TestGrid: the cells add up to what was counted, and the hot tablet is where
// the map is brightest.
func TestGrid(t *testing.T) {
	list, sources, ranges := tablets(100)
	r := NewRecorder(Options{}, epoch)
	var requests float64
	for minute := range 30 {
		for _, f := range list {
			f.do(r, Read, string(f.Start())+"5", 20)
			requests += 20
		}
		if minute >= 10 {
			list[41].do(r, Write, "k411", 3000)
			list[41].do(r, Write, "k417", 1500)
		}
		r.Roll(epoch.Add(time.Duration(minute+1)*time.Minute), sources)
	}
	to := epoch.Add(30 * time.Minute)
	g := Build(Query{Table: 1, Tablets: ranges, From: epoch, To: to}, r.Slots(epoch, to, sources))
	if len(g.Rows) > 96 || len(g.Times) > 73 {
		t.Errorf("%d rows, %d times", len(g.Rows), len(g.Times))
	}
	var sum [kinds]float64
	hottest := -1
	for k := range kinds {
		for i, row := range g.Cells[k] {
			for c, v := range row {
				sum[k] += v * g.Times[c+1].Sub(g.Times[c]).Seconds()
				if k == int(Write) && v == g.Max[Write] {
					hottest = i
				}
			}
		}
	}
	if math.Abs(sum[Read]-requests) > 1 || math.Abs(sum[Write]-20*4500) > 1 {
		t.Errorf("sums %v, want %v and %v", sum, requests, 20*4500)
	}
	if hottest < 0 {
		t.Fatal("no maximum")
	}
	if row := g.Rows[hottest]; ranges[row.First].Tablet != 42 || row.First != row.Last {
		t.Errorf("the hottest row %q to %q lies in tablets %d to %d", row.Start, row.End, row.First, row.Last)
	}
	if quiet := g.Cells[Write][hottest][3]; quiet > 0 {
		t.Errorf("%v writes/s before they began", quiet)
	}
	if busy := g.Cells[Write][hottest][20]; busy < 30 {
		t.Errorf("%v writes/s in the hot row", busy)
	}
	for i, row := range g.Rows {
		if i > 0 && string(row.Start) != string(g.Rows[i-1].End) {
			t.Errorf("rows %d and %d do not meet", i-1, i)
		}
	}
}

// TestEmptyGrid: nothing to draw is drawn.
func TestEmptyGrid(t *testing.T) {
	for _, q := range []Query{{}, {From: epoch, To: epoch}, {From: epoch, To: epoch.Add(time.Hour)}, {From: epoch.Add(time.Hour), To: epoch}} {
		wellFormed(t, Build(q, nil))
	}
}

// wellFormed draws g and parses what is drawn.
func wellFormed(t *testing.T, g *Grid) string {
	t.Helper()
	var b strings.Builder
	for k := range kinds {
		err := g.SVG(&b, Drawing{Kind: Kind(k), Tablet: func(r Range) string { return fmt.Sprintf("/tablet?id=%d&x=y", r.Tablet) }})
		if err != nil {
			t.Fatal(err)
		}
	}
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, b.String())
		}
	}
}

// FuzzSVG: whatever the rows are, the drawing is well-formed XML, and the cells
// add up.
func FuzzSVG(f *testing.F) {
	f.Add([]byte("a"), []byte("<b onload=\"x\">"), []byte{0, 0xff, 0xfe, '&'}, uint16(100))
	f.Add([]byte("]]>"), []byte("\u202eabc"), []byte("\ufffe\x00\x1b"), uint16(7))
	f.Fuzz(func(t *testing.T, a, b, c []byte, n uint16) {
		r := NewRecorder(Options{SampleEvery: 1}, epoch)
		f := &fake{id: 1, start: string(a)}
		for i := range int(n)%200 + 1 {
			f.do(r, Kind(i%2), string([][]byte{a, b, c}[i%3]), 1)
		}
		f.reads.Add(int64(n))
		now := epoch.Add(time.Minute)
		r.Roll(now, []Source{f})
		g := Build(Query{Table: 1, Tablets: []Range{{1, a, nil}}, From: epoch, To: now}, r.Slots(epoch, now, nil))
		out := wellFormed(t, g)
		if strings.Contains(out, "onload=\"") {
			t.Errorf("a key got out of its text: %s", out)
		}
		var sum float64
		for _, row := range g.Cells[Read] {
			for _, v := range row {
				sum += v * 60
			}
		}
		if want := float64(f.reads.Load()); math.Abs(sum-want) > 1e-6*want+1e-6 {
			t.Errorf("%v reads, want %v", sum, want)
		}
	})
}

func TestKey(t *testing.T) {
	for in, want := range map[string]string{
		"plain key/1#2": "plain key/1#2", "": "", "\x00\xff": `"\x00\xff"`, "grün": "grün", `"q`: `"\"q"`,
		"a\u202eb": `"a\u202eb"`, "tab\t": `"tab\t"`,
	} {
		if got := Key([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := Short([]byte("0123456789"), 5); got != "0123…" {
		t.Error(got)
	}
	for v, want := range map[float64]string{0: "0", 0.01: "under 0.1", 0.1: "0.1", 9.94: "9.9", 12.3: "12", 999.6: "1,000", 1234567: "1,234,567"} {
		if got := Rate(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestLevel(t *testing.T) {
	for l := 1; l <= Levels; l++ {
		at := Floor(l, 500)
		if got := Level(at+1e-6, 500); got != l {
			t.Errorf("just above %v: level %d, want %d", at, got, l)
		}
	}
	if Level(0, 1) != 0 || Level(500, 500) != Levels || Level(1, 0) != 0 {
		t.Error("bounds")
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	list, sources, _ := tablets(4)
	r := NewRecorder(Options{SampleEvery: 2}, epoch)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { list[i].do(r, Write, fmt.Sprintf("k%d", i), 5000) })
	}
	wg.Go(func() {
		for i := range 50 {
			now := epoch.Add(time.Duration(i+1) * time.Second)
			r.Slots(time.Time{}, now, sources)
			r.Roll(now, sources)
		}
	})
	wg.Wait()
	end := epoch.Add(time.Minute)
	r.Roll(end, sources)
	var sum float64
	for _, s := range r.Slots(time.Time{}, end, sources) {
		sum += sums(s)[Write]
	}
	if math.Abs(sum-20000) > 1e-3 {
		t.Errorf("%v writes, want 20000", sum)
	}
}

func BenchmarkNote(b *testing.B) {
	list, _, _ := tablets(100)
	r := NewRecorder(Options{}, epoch)
	row := []byte("user000000000000012345")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			r.Note(list[i%len(list)], Read, row)
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	list, sources, ranges := tablets(900)
	r := NewRecorder(Options{SampleEvery: 1}, epoch)
	for m := range 240 {
		for _, f := range list {
			f.do(r, Write, string(f.Start())+"3", 3)
		}
		r.Roll(epoch.Add(time.Duration(m+1)*time.Minute), sources)
	}
	to := epoch.Add(240 * time.Minute)
	slots := r.Slots(epoch, to, nil)
	for b.Loop() {
		g := Build(Query{Table: 1, Tablets: ranges, From: epoch, To: to}, slots)
		g.SVG(io.Discard, Drawing{Kind: Write})
	}
}
