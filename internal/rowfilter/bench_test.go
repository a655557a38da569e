package rowfilter

import (
	"fmt"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
)

// BenchmarkFilters evaluates rows of 2 families, 5 columns and 3 versions,
// 30 cells in all; the time is per cell.
func BenchmarkFilters(b *testing.B) {
	var cells []Cell
	for f := range 2 {
		for q := range 5 {
			for ts := int64(3); ts > 0; ts-- {
				cells = append(cells, Cell{Family: fmt.Sprint("family", f), Qualifier: fmt.Appendf(nil, "qualifier%d", q), Timestamp: ts * 1000, Value: make([]byte, 100)})
			}
		}
	}
	for _, c := range []struct {
		name string
		f    *bigtablepb.RowFilter
	}{
		{"pass", pass()},
		{"block", block()},
		{"family", family("family0")},
		{"familyRegexp", family("fam[a-z]+0")},
		{"qualifier", qualifier("qualifier3")},
		{"qualifierPrefix", qualifier("qual.*")},
		{"qualifierRegexp", qualifier("qualifier[0-9]")},
		{"columnRange", columns("family0", "[", "qualifier1", ")", "qualifier4")},
		{"timestamps", times(1000, 3000)},
		{"value", valueRegex("abc")},
		{"valueRange", values("[", "a", "", "")},
		{"mask", mask("\x01")},
		{"rowKey", rowRegex("row.*")},
		{"sample", sample(0.999999)},
		{"offset", offset(5)},
		{"rowLimit", rowLimit(5)},
		{"columnLimit", columnLimit(1)},
		{"strip", strip()},
		{"label", label("l")},
		{"chain", chain(family("family1"), qualifier("qual.*"), columnLimit(1))},
		{"interleave", interleave(family("family1"), columnLimit(1))},
		{"conditionEarly", when(qualifier("qualifier0"), columnLimit(1), nil)},
		{"conditionLate", when(qualifier("nope"), nil, pass())},
		{"conditionInInterleave", interleave(when(qualifier("nope"), nil, pass()), columnLimit(1))},
		{"sink", chain(interleave(pass(), sink()), strip())},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := compiled(b, c.f)
			ev := p.NewEval()
			out := func(*Cell) {}
			key := []byte("row000000001")
			b.ReportAllocs()
			for b.Loop() {
				if !ev.Row(key) {
					continue
				}
				for i := range cells {
					ev.Push(&cells[i], out)
				}
				ev.End(out)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(cells)), "ns/cell")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	f := chain(family("family1"), qualifier("qual.*"), columnLimit(1))
	b.ReportAllocs()
	for b.Loop() {
		p := compiled(b, f)
		p.NewEval()
	}
}
