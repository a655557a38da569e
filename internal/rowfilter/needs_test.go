package rowfilter

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/rowset"
)

func ranges(s rowset.Set) string {
	if s.IsAll() {
		return "all"
	}
	var out []string
	for _, r := range s.Ranges() {
		if r.IsPoint() {
			out = append(out, fmt.Sprintf("%q", r.Start))
		} else {
			out = append(out, fmt.Sprintf("%q-%q", r.Start, r.End))
		}
	}
	return strings.Join(out, " ")
}

func TestNeeds(t *testing.T) {
	for _, c := range []struct {
		f    *bigtablepb.RowFilter
		want string // rows; columns of family a; of b; times; cells per column; values ignored
	}{
		{nil, `all; all; all; 0-0; 0; false`},
		{block(), `; ; ; 0-0; 0; true`},
		{rowRegex("abc"), `"abc"; all; all; 0-0; 0; false`},
		{rowRegex(`a\.c\x00`), "\"a.c\\x00\"; all; all; 0-0; 0; false"},
		{rowRegex("a|c|b"), `"a" "b" "c"; all; all; 0-0; 0; false`},
		{rowRegex("abc.*"), `"abc"-"abd"; all; all; 0-0; 0; false`},
		{rowRegex("abc[0-9]+"), `"abc"-"abd"; all; all; 0-0; 0; false`},
		{rowRegex("(?i)abc"), `all; all; all; 0-0; 0; false`},
		{chain(offset(1), rowRegex("x")), `"x"; all; all; 0-0; 0; false`},
		{interleave(rowRegex("x"), rowRegex("y.*")), `"x" "y"-"z"; all; all; 0-0; 0; false`},
		{chain(interleave(pass(), sink()), rowRegex("x")), `all; all; all; 0-0; 0; false`},
		{when(rowRegex("x"), family("a"), nil), `"x"; all; all; 0-0; 0; false`},
		{when(family("a"), family("a"), nil), `all; all; ; 0-0; 0; false`},
		{family("a"), `all; all; ; 0-0; 0; false`},
		{chain(family("a"), qualifier("x")), `all; "x"; ; 0-0; 0; false`},
		{chain(columns("a", "[", "k", ")", "m"), columnLimit(3)), `all; "k"-"m"; ; 0-0; 3; false`},
		{interleave(columns("a", "", "", ")", "c"), chain(family("b"), qualifier("z.*"))), `all; ""-"c"; "z"-"{"; 0-0; 0; false`},
		{chain(rowLimit(1), family("a")), `all; all; all; 0-0; 1; false`},
		{chain(columnLimit(1), family("a"), times(3, 9)), `all; all; ; 3-0; 1; false`},
		{chain(times(3, 9), columnLimit(1)), `all; all; all; 3-9; 1; false`},
		{interleave(times(3, 9), times(5, 12)), `all; all; all; 3-12; 0; false`},
		{interleave(times(3, 0), times(5, 12)), `all; all; all; 3-0; 0; false`},
		{interleave(columnLimit(1), columnLimit(4)), `all; all; all; 0-0; 4; false`},
		{interleave(chain(times(0, 5), columnLimit(1)), chain(times(5, 9), columnLimit(1))), `all; all; all; 0-9; 0; false`},
		{chain(valueRegex("x"), columnLimit(1)), `all; all; all; 0-0; 0; false`},
		{chain(columnLimit(1), strip()), `all; all; all; 0-0; 1; true`},
		{chain(valueRegex("x"), strip()), `all; all; all; 0-0; 0; false`},
		{interleave(strip(), pass()), `all; all; all; 0-0; 0; false`},
		{when(qualifier("q"), strip(), chain(strip(), label("l"))), `all; all; all; 0-0; 0; true`},
	} {
		p := compiled(t, c.f)
		start, end := p.TimeRange()
		got := fmt.Sprintf("%s; %s; %s; %d-%d; %d; %v", ranges(p.Rows()), ranges(p.Columns("a")), ranges(p.Columns("b")), start, end, p.CellsPerColumn(), p.IgnoresValues())
		if got != c.want {
			t.Errorf("%v\n got %s\nwant %s", c.f, got, c.want)
		}
	}
}

func TestFamilies(t *testing.T) {
	p := compiled(t, chain(interleave(family("b"), family("a.*"), columns("c", "", "", "", "")), when(family("b"), family("z"), nil)))
	if got := fmt.Sprint(p.Families()); got != "[b c z]" {
		t.Fatal(got)
	}
}

func TestPrefix(t *testing.T) {
	for _, c := range []struct {
		f    *bigtablepb.RowFilter
		want string
	}{{nil, ""}, {rowRegex("abc.*"), "abc"}, {rowRegex("abc|abd"), "ab"}, {rowRegex("abc|x"), ""}, {block(), ""}, {rowRegex("abc"), "abc"}} {
		if got := string(compiled(t, c.f).Prefix()); got != c.want {
			t.Errorf("%v: prefix %q, want %q", c.f, got, c.want)
		}
	}
}
