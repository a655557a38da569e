package tablet

import (
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// columns seeks to the columns that a filter can pass.
type columns struct {
	families []familyColumns // those of which it can pass any, by id
	seeks    bool            // the first is not where rows begin
}

type familyColumns struct {
	id  base.FamilyID
	set rowset.Set // of qualifiers
}

func (c *columns) init(p *rowfilter.Program, s *schema.Schema) {
	*c = columns{families: c.families[:0]}
	for i := range s.Families {
		f := &s.Families[i]
		set := p.Columns(f.Name)
		if set.IsEmpty() {
			continue
		}
		if len(c.families) == 0 {
			c.seeks = i > 0 || len(set.Ranges()[0].Start) > 0
		}
		c.families = append(c.families, familyColumns{f.ID, set})
	}
}

// startRow seeks to the first column.
func (c *columns) startRow(rd *cells.Reader) {
	if c.seeks && len(c.families) > 0 {
		rd.SeekColumn(c.families[0].id, c.families[0].set.Ranges()[0].Start)
	}
}

// next leaves the column of the cell, of which the filter wants no more, for the
// next one that it can pass; what lies between, which may be much, is not read.
func (c *columns) next(rd *cells.Reader, x *rowfilter.Cell) {
	i := slices.IndexFunc(c.families, func(f familyColumns) bool { return f.id == x.FamilyID })
	if i < 0 {
		rd.SkipColumn()
		return
	}
	set := c.families[i].set
	if set.Contains(x.Qualifier) {
		rd.SkipColumn()
		return
	}
	q, ok := set.Next(x.Qualifier)
	if !ok {
		rd.SkipFamily()
		return
	}
	rd.SeekColumn(x.FamilyID, q)
}
