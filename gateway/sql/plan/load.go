package plan

import (
	"bytes"
	"slices"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/chunk"
)

// load makes the columns of a row. They share the bytes of row unless the plan
// holds on to rows.
func (r *runner) load(row *chunk.Row) error {
	keep := !r.p.Resumable()
	own := func(b []byte) []byte {
		if keep || b == nil {
			return append([]byte{}, b...)
		}
		return b
	}
	cols := r.env.Columns
	cols[0] = own(row.Key)
	for i := range cols[1:] {
		cols[i+1] = value.Dict{}
	}
	for i := 0; i < len(row.Cells); {
		c := &row.Cells[i]
		end := i + 1
		for end < len(row.Cells) && row.Cells[end].Family == c.Family && bytes.Equal(row.Cells[end].Qualifier, c.Qualifier) {
			end++
		}
		f := slices.IndexFunc(r.p.table.Families, func(f Family) bool { return f.Name == c.Family })
		if f < 0 || !r.p.needs[f].all && len(r.p.needs[f].qualifiers) == 0 {
			i = end
			continue
		}
		v, ok, err := r.column(&r.p.table.Families[f], row.Cells[i:end], own)
		if err != nil {
			return err
		}
		if ok {
			cols[f+1] = append(cols[f+1].(value.Dict), value.Entry{Key: own(c.Qualifier), Value: v})
		}
		i = end
	}
	for i := range cols[1:] { // cells come sorted, but the API does not promise it
		d := cols[i+1].(value.Dict)
		less := func(a, b value.Entry) int { return value.Compare(a.Key, b.Key) }
		if !slices.IsSortedFunc(d, less) {
			slices.SortStableFunc(d, less)
		}
	}
	return nil
}

// column returns the value of the cells of one column, the newest first;
// false: none of them counts.
func (r *runner) column(f *Family, cells []chunk.Cell, own func([]byte) []byte) (value.Value, bool, error) {
	var history value.List
	for i := range cells {
		if slices.Contains(cells[i].Labels, existsLabel) {
			continue
		}
		v, err := f.decode(own(cells[i].Value))
		if err != nil {
			return nil, false, err
		}
		if !r.p.time.history {
			return v, true, nil
		}
		history = append(history, value.List{value.CellTime(cells[i].Timestamp), v})
	}
	return history, len(history) > 0, nil
}
