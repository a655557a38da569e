package csvload

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
)

// lineField is the field that is the number of the line.
const lineField = "line"

// maxWidth bounds the padding of a field of a key.
const maxWidth = 100

// Template makes the key of a row from a record. It is immutable.
type Template struct {
	text  string
	parts []part
}

// part is a literal, or a field.
type part struct {
	literal string
	column  int // index of the field; lineColumn: the number of the line; literalPart
	width   int // padded with zeros to it
}

const (
	literalPart = -1
	lineColumn  = -2
)

// ParseTemplate compiles a template over the columns of a file. An error wraps
// base.ErrInvalid.
func ParseTemplate(text string, columns []string) (*Template, error) {
	t := &Template{text: text}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			t.parts = append(t.parts, part{literal: lit.String(), column: literalPart})
			lit.Reset()
		}
	}
	fields := 0
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			lit.WriteString(rest)
			break
		}
		lit.WriteString(rest[:i])
		if strings.HasPrefix(rest[i:], "{{") || strings.HasPrefix(rest[i:], "}}") {
			lit.WriteByte(rest[i])
			rest = rest[i+2:]
			continue
		}
		end := strings.IndexByte(rest[i:], '}')
		if rest[i] == '}' || end < 0 {
			return nil, fmt.Errorf("%w: key %q: a brace stands alone; write {{ or }} for a brace", base.ErrInvalid, text)
		}
		p, err := parseField(rest[i+1:i+end], columns)
		if err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", base.ErrInvalid, text, err)
		}
		flush()
		t.parts = append(t.parts, p)
		fields++
		rest = rest[i+end+1:]
	}
	flush()
	if fields == 0 {
		return nil, fmt.Errorf("%w: key %q names no column in braces: all rows would be one", base.ErrInvalid, text)
	}
	return t, nil
}

func parseField(s string, columns []string) (part, error) {
	if i := slices.Index(columns, s); i >= 0 {
		return part{column: i}, nil
	}
	if s == lineField {
		return part{column: lineColumn}, nil
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if w, err := strconv.Atoi(s[i+1:]); err == nil && w > 0 && w <= maxWidth {
			p, err := parseField(s[:i], columns)
			p.width = w
			return p, err
		}
	}
	return part{}, fmt.Errorf("there is no column %q; there are %s", s, quoted(columns))
}

func quoted(names []string) string {
	const most = 30
	more := ""
	if len(names) > most {
		names, more = names[:most], ", ..."
	}
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = strconv.Quote(n)
	}
	return strings.Join(q, ", ") + more
}

// Key returns the key of a record, which has as many fields as the template had
// columns.
func (t *Template) Key(record []string, line int) string {
	var b strings.Builder
	for _, p := range t.parts {
		s := p.literal
		switch p.column {
		case literalPart:
		case lineColumn:
			s = strconv.Itoa(line)
		default:
			s = record[p.column]
		}
		for i := len(s); i < p.width; i++ {
			b.WriteByte('0')
		}
		b.WriteString(s)
	}
	return b.String()
}
