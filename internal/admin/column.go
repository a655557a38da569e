package admin

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// column names a column, or, without hasQualifier, a family.
type column struct {
	family       string
	qualifier    string
	hasQualifier bool
}

// String returns the form that parseColumn reads.
func (c column) String() string {
	if !c.hasQualifier {
		return c.family
	}
	return c.family + ":" + output.Bytes(c.qualifier).String()
}

// parseColumn reads family or family:qualifier.
func parseColumn(s string) (column, error) {
	family, q, ok := strings.Cut(s, ":")
	if err := schema.CheckFamilyName(family); err != nil {
		return column{}, usagef("column %q: %w; want family or family:qualifier", s, err)
	}
	qualifier, err := output.Parse(q)
	return column{family, string(qualifier), ok}, err
}

// filter returns what passes the column's cells.
func (c column) filter() client.Filter {
	if !c.hasQualifier {
		return client.FamilyFilter(regexp.QuoteMeta(c.family))
	}
	return client.ColumnRangeFilter(c.family, c.qualifier, c.qualifier+"\x00")
}

// columnFilters returns what passes the cells of any of the columns: a filter,
// or none where there are no columns.
func columnFilters(columns []column) []client.Filter {
	var each []client.Filter
	for _, c := range columns {
		each = append(each, c.filter())
	}
	if len(each) > 1 {
		each = []client.Filter{client.InterleaveFilters(each...)}
	}
	return each
}

// splitList splits values of a flag at commas that are not within double
// quotes.
func splitList(values []string) []string {
	var out []string
	for _, v := range values {
		start, quoted := 0, false
		for i := 0; i < len(v); i++ {
			switch {
			case v[i] == '\\' && quoted:
				i++
			case v[i] == '"':
				quoted = !quoted
			case v[i] == ',' && !quoted:
				out = append(out, v[start:i])
				start = i + 1
			}
		}
		out = append(out, v[start:])
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// parseColumns reads the values of a flag that names columns.
func parseColumns(values []string) ([]column, error) {
	var list []column
	for _, s := range splitList(values) {
		c, err := parseColumn(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list, nil
}
