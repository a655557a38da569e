// Package schema holds the schemas of tables in the form that a tablet server
// works with, and a cache of them that follows the lock service.
package schema

import (
	"fmt"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/gcrule"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// Family is one column family as reads and compactions need it.
type Family struct {
	ID        base.FamilyID
	Name      string
	GC        *gcrule.Rule // nil: keep everything
	Aggregate aggregate.Type
	// Group is the index of the family's locality group in Schema.Groups.
	Group int
	// Compression of the family's cells; HasCompression: it is set.
	Compression    compress.Type
	HasCompression bool
}

// Schema is the schema of one table at one revision. It never changes.
type Schema struct {
	Table    base.TableID
	Name     string
	Revision lockservice.Revision
	// Deleted: the table is not served any more, though it may come back.
	Deleted bool
	// Families in the order of their ids, which is the order of cells in a row.
	Families []Family
	// Groups in the order of their names, the default group first, which is
	// always there.
	Groups []Group

	writes mutation.Families
	byID   map[base.FamilyID]*Family
	stored meta.Table
}

// Compile makes a Schema of a stored one. An error wraps base.ErrCorrupt: what
// was stored had been checked.
func Compile(t meta.Table) (*Schema, error) {
	s := &Schema{
		Table: t.ID, Name: t.Name, Revision: t.Revision, Deleted: t.Record.Deleted,
		Families: make([]Family, len(t.Record.Families)),
		byID:     make(map[base.FamilyID]*Family, len(t.Record.Families)),
		stored:   t,
		writes:   mutation.Families{ByName: make(map[string]mutation.FamilySpec, len(t.Record.Families)), Unit: mutation.UnitMillis},
	}
	if t.Record.GetSpec().GetGranularity() == adminpb.Table_MICROS {
		s.writes.Unit = mutation.UnitMicros
	}
	if err := s.compileGroups(t.Record.Families); err != nil {
		return nil, err
	}
	for i, f := range t.Record.Families {
		agg, err := aggregate.Of(f.ValueType)
		if err != nil {
			return nil, fmt.Errorf("%w: family %s of table %s: %w", base.ErrCorrupt, f.Name, t.Name, err)
		}
		rule, err := gcrule.Compile(f.GcRule)
		if err != nil {
			return nil, fmt.Errorf("%w: family %s of table %s: %w", base.ErrCorrupt, f.Name, t.Name, err)
		}
		fam := &s.Families[i]
		fam.ID, fam.Name, fam.GC, fam.Aggregate = base.FamilyID(f.Id), f.Name, rule, agg
		s.byID[fam.ID] = fam
		s.writes.ByName[f.Name] = mutation.FamilySpec{ID: fam.ID, Aggregate: agg}
	}
	return s, nil
}

// Writes returns the schema as writes see it.
func (s *Schema) Writes() *mutation.Families { return &s.writes }

// Unit returns the unit of timestamps in microseconds.
func (s *Schema) Unit() int64 { return s.writes.Unit }

// ByID returns the family with that id, or nil: it was dropped, and its cells
// are garbage.
func (s *Schema) ByID(id base.FamilyID) *Family { return s.byID[id] }

// Stored returns what the schema was made of; Compile makes the same of it
// anywhere. It must not be changed.
func (s *Schema) Stored() meta.Table { return s.stored }
