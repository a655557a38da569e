package csvload_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/internal/admin/csvload"
	"github.com/tabletdb/tabletdb/internal/base"
)

// read returns what a file holds: rows and bad lines, one text each.
func read(t *testing.T, file string, o csvload.Options) []string {
	t.Helper()
	r, err := csvload.NewReader(strings.NewReader(file), o)
	if err != nil {
		return []string{"header: " + err.Error()}
	}
	var out []string
	for {
		row, err := r.Next()
		var bad *csvload.LineError
		switch {
		case errors.Is(err, io.EOF):
			return out
		case errors.As(err, &bad):
			out = append(out, err.Error())
			continue
		case err != nil:
			t.Fatal(err)
		}
		s := fmt.Sprintf("%d %q", row.Line, row.Key)
		for _, c := range row.Cells {
			s += fmt.Sprintf(" %s:%s=%q", c.Family, c.Qualifier, c.Value)
			if c.Timestamp >= 0 {
				s += fmt.Sprintf("@%d", c.Timestamp)
			}
		}
		out = append(out, s)
	}
}

func TestReader(t *testing.T) {
	for _, c := range []struct {
		name, file string
		o          csvload.Options
		want       []string
	}{
		{"template", "A,B C\nx,1\ny,\n", csvload.Options{Key: "{B C:3}#{{{A}}}#{line}", Family: "f"},
			[]string{`2 "001#{x}#2" f:A="x" f:B C="1"`, `3 "000#{y}#3" f:A="y" f:B C=""`}},
		{"skip empty", "A,B\nx,\n,\n", csvload.Options{Key: "{line}", Family: "f", SkipEmpty: true},
			[]string{`2 "2" f:A="x"`, `line 3: all its fields are empty`}},
		{"mapping", "A,g:B,C,D\n1,2,3,4\n", csvload.Options{Key: "{A}", Family: "f", Map: map[string]string{"C": "h:c:d", "A": ""}},
			[]string{`2 "1" g:B="2" h:c:d="3" f:D="4"`}},
		{"exported", "_key,f:q\nr,v\n", csvload.Options{}, []string{`2 "r" f:q="v"`}},
		{"byte order mark", "\ufeff_key,f:q\r\nr,v\r\n", csvload.Options{}, []string{`2 "r" f:q="v"`}},
		{"bad lines", "_key,f:q\na,1\nb\n,2\nc,\"3\"4\nd,5\n\"e\ne\",6\nf,7,8\n" + strings.Repeat("k", 4097) + ",9\n", csvload.Options{}, []string{
			`2 "a" f:q="1"`, "line 3: 1 fields, want 2", "line 4: its key is empty", `line 5: extraneous or missing " in quoted-field`,
			`6 "d" f:q="5"`, `7 "e\ne" f:q="6"`, "line 9: 3 fields, want 2", "line 10: its key has 4097 bytes; at most 4096"}},
		{"lazy quotes", "_key;f:q\na;b\"c\n", csvload.Options{LazyQuotes: true, Comma: ';'}, []string{`2 "a" f:q="b\"c"`}},
		{"base64", "_key,f:q\nYQA=,/w==\nx,y\n", csvload.Options{Base64: true}, []string{`2 "a\x00" f:q="\xff"`, `line 3: column "_key" is not in base64`}},
		{"cells", "row,family,qualifier,timestamp,value\nr,f,q,5,v\nr,f:,q,5,v\nr,f,q,-5,v\n", csvload.Options{Cells: true},
			[]string{`2 "r" f:q="v"@5`, `line 3: Invalid column family id "f:". Should match [-_.a-zA-Z0-9]+ and have at most 64 characters`, `line 4: timestamp "-5" is no number of microseconds`}},
		{"empty", "", csvload.Options{}, []string{"header: invalid argument: the file is empty; want a line with the names of the columns"}},
		{"no key", "A\n1\n", csvload.Options{Family: "f"}, []string{"header: invalid argument: how is a row's key made? Give a template such as --key '{A}#{line}'"}},
		{"no family", "_key,A\n", csvload.Options{}, []string{`header: invalid argument: to which family does column "A" go? Give --family, or --map 'A=family:qualifier'`}},
		{"twice", "A,A\n", csvload.Options{}, []string{`header: invalid argument: two columns are called "A"`}},
		{"constant", "A\n", csvload.Options{Key: "x", Family: "f"}, []string{`header: invalid argument: key "x" names no column in braces: all rows would be one`}},
		{"brace", "A\n", csvload.Options{Key: "{A}}", Family: "f"}, []string{`header: invalid argument: key "{A}}": a brace stands alone; write {{ or }} for a brace`}},
		{"unknown", "A\n", csvload.Options{Key: "{B:3}", Family: "f"}, []string{`header: invalid argument: key "{B:3}": there is no column "B"; there are "A"`}},
		{"map unknown", "A\n", csvload.Options{Key: "{A}", Family: "f", Map: map[string]string{"B": "f:b"}}, []string{`header: invalid argument: there is no column "B" to map; there are "A"`}},
		{"map nowhere", "A\n", csvload.Options{Key: "{A}", Family: "f", Map: map[string]string{"A": "f"}}, []string{`header: invalid argument: column "A" goes to "f"; want family:qualifier`}},
		{"cell header", "a,b\n", csvload.Options{Cells: true}, []string{"header: invalid argument: the first line of a file of cells is row,family,qualifier,timestamp,value"}},
	} {
		if got := read(t, c.file, c.o); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// FuzzRoundTrip writes a row in each form and reads it back.
func FuzzRoundTrip(f *testing.F) {
	f.Add("row", "qualifier", "value", true)
	f.Add("r\r\n", "a:b,\"", "\xff\x00\n", true)
	f.Add("\ufeffr", "q\"", "", false)
	f.Fuzz(func(t *testing.T, key, qualifier, value string, in64 bool) {
		if key == "" || len(key) > 4096 {
			return
		}
		row := csvload.Row{Key: key, Cells: []csvload.Cell{{Family: "cf", Qualifier: qualifier, Timestamp: 7, Value: value}}}
		for _, cells := range []bool{false, true} {
			var b bytes.Buffer
			var w *csvload.Writer
			var err error
			if cells {
				w, err = csvload.NewCellWriter(&b, in64)
			} else {
				w, err = csvload.NewWriter(&b, []csvload.Column{{Family: "cf", Qualifier: qualifier}}, in64)
			}
			if err == nil {
				err = errors.Join(w.Write(row), w.Flush())
			}
			if err != nil {
				if !errors.Is(err, base.ErrInvalid) || !strings.Contains(key+qualifier+value, "\r") {
					t.Fatalf("write: %v", err)
				}
				continue
			}
			r, err := csvload.NewReader(&b, csvload.Options{Cells: cells, Base64: in64})
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			got, err := r.Next()
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			want := row.Cells[0]
			if !cells {
				want.Timestamp = -1
			}
			if got.Key != key || len(got.Cells) != 1 || got.Cells[0] != want {
				t.Errorf("%+v came back as %+v", row, got)
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the row: %v", err)
			}
		}
	})
}

// FuzzTemplate: a template that compiles makes keys without failing.
func FuzzTemplate(f *testing.F) {
	f.Add("{a}#{b:08}#{line}{{}}")
	f.Fuzz(func(t *testing.T, s string) {
		x, err := csvload.ParseTemplate(s, []string{"a", "b", "line:3"})
		if err != nil {
			if !errors.Is(err, base.ErrInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		x.Key([]string{"1", "", "3"}, 4)
	})
}
