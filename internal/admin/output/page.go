package output

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
)

// Page collects text for people: lines, and tables whose columns are aligned.
type Page struct {
	b     bytes.Buffer
	table *tabwriter.Writer // not nil within a table
}

// Line ends the table before it, if any, and adds a line.
func (p *Page) Line(format string, args ...any) {
	p.endTable()
	fmt.Fprintf(&p.b, format+"\n", args...)
}

// Header begins a table.
func (p *Page) Header(names ...string) {
	p.endTable()
	p.table = newTable(&p.b)
	p.Row(anys(names)...)
}

// Row adds a row to the table, or begins one without a header. An empty cell
// is shown as "-", so that columns can be cut out by blanks.
func (p *Page) Row(cells ...any) {
	if p.table == nil {
		p.table = newTable(&p.b)
	}
	text := make([]string, len(cells))
	for i, c := range cells {
		if text[i] = oneLine(fmt.Sprint(c)); text[i] == "" {
			text[i] = "-"
		}
	}
	fmt.Fprintln(p.table, strings.Join(text, "\t"))
}

func newTable(b *bytes.Buffer) *tabwriter.Writer {
	const gap = 2
	return tabwriter.NewWriter(b, 0, 8, gap, ' ', 0)
}

func (p *Page) endTable() {
	if p.table != nil {
		p.table.Flush() // to memory: cannot fail
		p.table = nil
	}
}

func (p *Page) bytes() []byte {
	p.endTable()
	return p.b.Bytes()
}

// oneLine keeps a cell from breaking the table.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\t\n\v\f\r") {
		return s
	}
	return strings.NewReplacer("\t", `\t`, "\n", `\n`, "\v", `\v`, "\f", `\f`, "\r", `\r`).Replace(s)
}

func anys(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}
