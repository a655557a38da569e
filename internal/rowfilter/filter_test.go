package rowfilter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

// cellsOf parses "family:qualifier@timestamp=value" words.
func cellsOf(s string) []Cell {
	var out []Cell
	for _, w := range strings.Fields(s) {
		fam, rest, _ := strings.Cut(w, ":")
		q, rest, _ := strings.Cut(rest, "@")
		ts, v, _ := strings.Cut(rest, "=")
		c := Cell{Family: fam, Qualifier: []byte(q), Value: []byte(v)}
		fmt.Sscan(ts, &c.Timestamp)
		out = append(out, c)
	}
	return out
}

func wordsOf(cells []Cell) string {
	var out []string
	for _, c := range cells {
		w := fmt.Sprintf("%s:%s@%d=%s", c.Family, c.Qualifier, c.Timestamp, c.Value)
		if len(c.Labels) > 0 {
			w += "/" + strings.Join(c.Labels, ",")
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

func compiled(t testing.TB, f *bigtablepb.RowFilter) *Program {
	t.Helper()
	p, err := Compile(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFilters says by example what each kind of filter does.
func TestFilters(t *testing.T) {
	const row = "a:p@3=x a:p@2=y a:p@1=xyz a:q@2=x b:p@5= b:r@1=\x0f"
	for _, c := range []struct {
		name string
		f    *bigtablepb.RowFilter
		want string
	}{
		{"nil", nil, row},
		{"unset", &bigtablepb.RowFilter{}, row},
		{"pass", pass(), row},
		{"block", block(), ""},
		{"chain", chain(family("a"), qualifier("p"), columnLimit(1)), "a:p@3=x"},
		{"interleave", interleave(qualifier("q"), family("a"), block()), "a:p@3=x a:p@2=y a:p@1=xyz a:q@2=x a:q@2=x"},
		{"interleave with labels", interleave(chain(qualifier("q"), label("one")), chain(family("a"), columnLimit(1), label("two"))), "a:p@3=x/two a:q@2=x/one a:q@2=x/two"},
		{"condition true", when(valueRegex("xyz"), chain(family("a"), columnLimit(1)), pass()), "a:p@3=x a:q@2=x"},
		{"condition false", when(valueRegex("nope"), pass(), family("b")), "b:p@5= b:r@1=\x0f"},
		{"condition without true", when(pass(), nil, pass()), ""},
		{"condition without false", when(block(), pass(), nil), ""},
		{"condition whose predicate only trims", when(chain(qualifier("p"), offset(4)), pass(), strip()), "a:p@3= a:p@2= a:p@1= a:q@2= b:p@5= b:r@1="},
		{"condition late, in an interleave", interleave(when(qualifier("r"), family("b"), nil), chain(qualifier("p"), label("l"))),
			"a:p@3=x/l a:p@2=y/l a:p@1=xyz/l b:p@5= b:p@5=/l b:r@1=\x0f"},
		{"condition late, in front of a limit", chain(interleave(when(qualifier("r"), family("a"), nil), qualifier("q")), rowLimit(5)),
			"a:p@3=x a:p@2=y a:p@1=xyz a:q@2=x a:q@2=x"},
		{"sink", chain(family("a"), interleave(pass(), chain(label("foo"), sink())), qualifier("q")),
			"a:p@3=x/foo a:p@2=y/foo a:p@1=xyz/foo a:q@2=x a:q@2=x/foo"},
		{"sink before a condition", chain(interleave(pass(), sink()), when(qualifier("r"), columnLimit(1), nil)),
			"a:p@3=x a:p@3=x a:p@2=y a:p@1=xyz a:q@2=x a:q@2=x b:p@5= b:p@5= b:r@1=\x0f b:r@1=\x0f"},
		{"sink at the end", chain(columnLimit(1), sink()), "a:p@3=x a:q@2=x b:p@5= b:r@1=\x0f"},
		{"row key", rowRegex("r.w"), row},
		{"row key, not the whole", rowRegex("ro"), ""},
		{"family", family("b"), "b:p@5= b:r@1=\x0f"},
		{"qualifier", qualifier("[^p]"), "a:q@2=x b:r@1=\x0f"},
		{"column range", columns("a", "(", "p", "", ""), "a:q@2=x"},
		{"column range, closed", columns("a", "[", "p", "]", "p"), "a:p@3=x a:p@2=y a:p@1=xyz"},
		{"column range, empty", columns("a", "", "", ")", ""), ""},
		{"timestamps", times(2, 5), "a:p@3=x a:p@2=y a:q@2=x"},
		{"timestamps without end", times(3, 0), "a:p@3=x b:p@5="},
		{"no timestamps", times(3, 3), ""},
		{"value", valueRegex("x.*"), "a:p@3=x a:p@1=xyz a:q@2=x"},
		{"value range", values("(", "x", ")", "y"), "a:p@1=xyz"},
		{"offset", offset(4), "b:p@5= b:r@1=\x0f"},
		{"offset behind the row", offset(100), ""},
		{"row limit", rowLimit(4), "a:p@3=x a:p@2=y a:p@1=xyz a:q@2=x"},
		{"row limit counts copies", chain(interleave(pass(), pass()), rowLimit(3)), "a:p@3=x a:p@3=x a:p@2=y"},
		{"column limit", columnLimit(2), "a:p@3=x a:p@2=y a:q@2=x b:p@5= b:r@1=\x0f"},
		{"column limit counts copies", chain(interleave(pass(), family("b")), columnLimit(1)), "a:p@3=x a:q@2=x b:p@5= b:r@1=\x0f"},
		{"strip", chain(family("a"), strip()), "a:p@3= a:p@2= a:p@1= a:q@2="},
		{"label", chain(qualifier("q"), label("x-1")), "a:q@2=x/x-1"},
		{"mask", mask("\x05"), "b:r@1=\x0f"},
		{"mask of other length", mask("\x01\x01"), ""},
		{"empty mask", mask(""), "b:p@5="},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compiled(t, c.f)
			cells := cellsOf(row)
			for _, obey := range []bool{false, true} {
				if got := wordsOf(run(p.NewEval(), "row", cells, obey)); got != c.want {
					t.Errorf("obeying %v: %q; want %q", obey, got, c.want)
				}
			}
			if got := wordsOf(refFilter(c.f, "row", cells)); got != c.want {
				t.Errorf("the reference says %q", got)
			}
		})
	}
}

func nested(depth int) *bigtablepb.RowFilter {
	f := pass()
	for range depth - 1 {
		f = chain(f, pass())
	}
	return f
}

func TestErrors(t *testing.T) {
	var wide []*bigtablepb.RowFilter
	for range 17 {
		wide = append(wide, interleave(pass(), strip()))
	}
	unknown := &bigtablepb.RowFilter{}
	unknown.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	for _, c := range []struct {
		f    *bigtablepb.RowFilter
		text string
	}{
		{chain(pass()), "Chain must contain at least two RowFilters"},
		{interleave(pass()), "Interleave must contain at least two RowFilters"},
		{when(nil, pass(), pass()), "must have a predicate_filter"},
		{when(sink(), pass(), pass()), "sink cannot be used within a condition"},
		{when(pass(), chain(pass(), sink()), pass()), "sink cannot be used within a condition"},
		{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Sink{}}, "sink must be true if set"},
		{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_PassAllFilter{}}, "pass_all_filter must be true if set"},
		{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_BlockAllFilter{}}, "block_all_filter must be true if set"},
		{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_StripValueTransformer{}}, "strip_value_transformer must be true if set"},
		{rowRegex(""), "Error in field 'row_key_regex_filter' : argument must not be empty"},
		{rowRegex("a("), "Error in field 'row_key_regex_filter' : invalid regular expression"},
		{rowRegex("a)(b"), "invalid regular expression"},
		{qualifier("*"), "Error in field 'column_qualifier_regex_filter'"},
		{valueRegex("((a{100}){100}){100}"), "Error in field 'value_regex_filter'"},
		{valueRegex(strings.Repeat("(a{1000})", 1000)), "too large"},
		{family("a:b"), "must not contain ':'"},
		{family("["), "Error in field 'family_name_regex_filter'"},
		{columns("", "", "", "", ""), "family_name must match"},
		{columns("a b", "", "", "", ""), "family_name must match"},
		{columns("a", "[", "b", ")", "a"), "start_qualifier_closed must be less than end_qualifier_open"},
		{columns("a", "(", "b", "]", "a"), "start_qualifier_open must be less than end_qualifier_closed"},
		{values("[", "b", "]", "a"), "Error in field 'value_range_filter' : start_value_closed must be less than end_value_closed"},
		{times(5, 4), "start_timestamp_micros must be less than end_timestamp_micros"},
		{times(-1, 4), "must not be negative"},
		{offset(-1), "must not be negative"},
		{rowLimit(0), "Error in field 'cells_per_row_limit_filter' : argument must be > 0"},
		{columnLimit(-3), "Error in field 'cells_per_column_limit_filter' : argument must be > 0"},
		{sample(0), "between 0.0 and 1.0"},
		{sample(1), "between 0.0 and 1.0"},
		{label(""), "apply_label_transformer"},
		{label("abcdefghijklmnop"), "at most 15 characters"},
		{label("Upper"), "must match [a-z0-9\\-]+"},
		{chain(label("a"), label("b")), "at most one sub-filter"},
		{chain(label("a"), interleave(pass(), label("b"))), "at most one sub-filter"},
		{&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueBitmaskFilter{}}, "mask is required"},
		{qualifier(strings.Repeat("a", MaxSize)), "Row filter exceeds maximum size of 20480 bytes"},
		{nested(MaxDepth + 1), "exceeds maximum nesting depth of 20"},
		{chain(wide...), "makes more than 65536 copies"},
		{unknown, "a kind that this server does not know"},
	} {
		_, err := Compile(c.f, Options{})
		if !errors.Is(err, base.ErrInvalid) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("want %q: %v", c.text, err)
		}
	}
	for _, f := range []*bigtablepb.RowFilter{
		nested(MaxDepth), chain(label("a"), pass()), interleave(label("a"), label("b")), label("abcdefghijklmno"),
		chain(interleave(label("a"), label("b")), pass()), chain(wide[:16]...), qualifier(""), offset(0),
	} {
		if _, err := Compile(f, Options{}); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
}

func TestCompileBytes(t *testing.T) {
	raw, err := proto.Marshal(family("a"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := CompileBytes(raw, Options{})
	if err != nil || wordsOf(run(p.NewEval(), "r", cellsOf("a:q@1= b:q@1="), true)) != "a:q@1=" {
		t.Fatal(err)
	}
	if _, err := CompileBytes(raw[:2], Options{}); !errors.Is(err, base.ErrInvalid) {
		t.Fatal(err)
	}
	if _, err := CompileBytes(make([]byte, MaxSize+1), Options{}); !errors.Is(err, base.ErrInvalid) {
		t.Fatal(err)
	}
	if p, err := CompileBytes(nil, Options{}); err != nil || !p.PassAll() {
		t.Fatal(p, err)
	}
}

func TestRowSample(t *testing.T) {
	count := func(f *bigtablepb.RowFilter, seed uint64) (n int) {
		p, err := Compile(f, Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		a, b := p.NewEval(), p.NewEval()
		for i := range 10000 {
			key := fmt.Appendf(nil, "row%d", i)
			in := a.Row(key)
			if in != b.Row(key) {
				t.Fatalf("two evaluations of row %q disagree", key)
			}
			if in {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		f    *bigtablepb.RowFilter
		want float64
	}{{sample(0.1), 0.1}, {sample(0.75), 0.75}, {chain(sample(0.5), sample(0.5)), 0.25}, {interleave(sample(0.5), sample(0.5)), 0.75}} {
		for seed := range uint64(5) {
			if got := float64(count(c.f, seed)) / 10000; got < c.want-0.03 || got > c.want+0.03 {
				t.Errorf("%v, seed %d: %v of the rows", c.f, seed, got)
			}
		}
	}
}

func TestRowsAreSkipped(t *testing.T) {
	for _, c := range []struct {
		f    *bigtablepb.RowFilter
		want bool
	}{
		{block(), false},
		{rowRegex("other"), false},
		{chain(family("a"), rowRegex("other")), false},
		{interleave(rowRegex("other"), block()), false},
		{interleave(rowRegex("other"), rowRegex("row")), true},
		{when(rowRegex("other"), pass(), nil), false},
		{when(rowRegex("other"), pass(), block()), false},
		{when(rowRegex("other"), nil, pass()), true},
		{when(rowRegex("row"), block(), pass()), true}, // unless the row is empty
		{chain(interleave(sink(), pass()), block()), true},
	} {
		if got := compiled(t, c.f).NewEval().Row([]byte("row")); got != c.want {
			t.Errorf("%v: %v", c.f, got)
		}
	}
}

// TestHints checks that the hints are as sharp as they should be.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		name string
		f    *bigtablepb.RowFilter
		want string // hints after b:m@5 b:m@4 b:m@3
	}{
		{"pass", pass(), "More More More"},
		{"other family", family("a"), "SkipFamily SkipFamily SkipFamily"},
		{"other column", qualifier("z"), "SkipColumn SkipColumn SkipColumn"},
		{"columns before", qualifier("c|d"), "SkipFamily SkipFamily SkipFamily"},
		{"columns before, by prefix", qualifier("a.*"), "SkipFamily SkipFamily SkipFamily"},
		{"past the range", columns("b", "", "", ")", "m"), "SkipFamily SkipFamily SkipFamily"},
		{"before the range", columns("b", "(", "m", "", ""), "SkipColumn SkipColumn SkipColumn"},
		{"too old", times(5, 0), "More SkipColumn SkipColumn"},
		{"too new", times(0, 4), "More More More"},
		{"column limit", columnLimit(2), "More SkipColumn SkipColumn"},
		{"row limit", rowLimit(2), "More SkipRow SkipRow"},
		{"chain", chain(family("b"), columnLimit(1)), "SkipColumn SkipColumn SkipColumn"},
		{"interleave", interleave(columnLimit(1), columnLimit(2)), "More SkipColumn SkipColumn"},
		{"condition decided", when(pass(), columnLimit(1), nil), "SkipColumn SkipColumn SkipColumn"},
		{"condition undecided", when(chain(qualifier("z"), rowLimit(1)), columnLimit(1), family("a")), "SkipColumn SkipColumn SkipColumn"},
		{"condition without a branch", when(pass(), nil, pass()), "SkipRow SkipRow SkipRow"},
		{"predicate that gave up", when(chain(rowLimit(1), qualifier("z")), nil, columnLimit(1)), "SkipColumn SkipColumn SkipColumn"},
		{"row limit in front of a rejection", chain(rowLimit(2), qualifier("z")), "More SkipRow SkipRow"},
		{"offset in front of a rejection", chain(offset(1), family("a")), "More SkipFamily SkipFamily"},
	} {
		ev := compiled(t, c.f).NewEval()
		ev.Row([]byte("row"))
		var got []string
		for ts := int64(5); ts >= 3; ts-- {
			got = append(got, ev.Push(&Cell{Family: "b", Qualifier: []byte("m"), Timestamp: ts}, func(*Cell) {}).String())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s; want %s", c.name, s, c.want)
		}
	}
}
