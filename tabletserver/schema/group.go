package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// Group is a locality group: families that are stored in files of their own.
type Group struct {
	Name string
	// Families ascending. The default group, "", also has the hidden family
	// base.SystemFamily.
	Families []base.FamilyID
	// InMemory: its files are kept in memory.
	InMemory bool
	// Filters of its files: the most that one of its families asks for.
	Filters sstable.Filters
}

// GroupOf returns the index in Groups of the group of a family; -1: the family
// was dropped.
func (s *Schema) GroupOf(id base.FamilyID) int {
	if id == base.SystemFamily {
		return 0
	}
	if f := s.byID[id]; f != nil {
		return f.Group
	}
	return -1
}

// compileGroups sets Groups, and of Families how they are stored.
func (s *Schema) compileGroups(families []*metapb.Family) error {
	names := []string{""}
	for _, f := range families {
		names = append(names, f.GetStorage().GetLocalityGroup())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	s.Groups = make([]Group, len(names))
	for i, n := range names {
		s.Groups[i] = Group{Name: n, Filters: sstable.NoFilters}
	}
	for i, f := range families {
		c, has, err := compression(f.GetStorage().GetCompression())
		if err != nil {
			return fmt.Errorf("family %s of table %s: %w", f.Name, s.Name, err)
		}
		filters, err := filtersOf(f.GetStorage().GetBloom())
		if err != nil {
			return fmt.Errorf("family %s of table %s: %w", f.Name, s.Name, err)
		}
		at, _ := slices.BinarySearchFunc(s.Groups, f.GetStorage().GetLocalityGroup(), func(g Group, name string) int { return strings.Compare(g.Name, name) })
		s.Families[i].Group, s.Families[i].Compression, s.Families[i].HasCompression = at, c, has
		g := &s.Groups[at]
		g.Families = append(g.Families, base.FamilyID(f.Id))
		g.InMemory = g.InMemory || f.GetStorage().GetInMemory()
		g.Filters = min(g.Filters, filters)
	}
	g := &s.Groups[0]
	if len(g.Families) == 0 {
		g.Filters = sstable.RowAndColumnFilters
	}
	g.Families = append(g.Families, base.SystemFamily)
	for i := range s.Groups {
		slices.Sort(s.Groups[i].Families)
	}
	return nil
}

func compression(c metapb.Storage_Compression) (t compress.Type, set bool, err error) {
	switch c {
	case metapb.Storage_COMPRESSION_DEFAULT:
		return compress.None, false, nil
	case metapb.Storage_COMPRESSION_NONE:
		return compress.None, true, nil
	case metapb.Storage_COMPRESSION_SNAPPY:
		return compress.Snappy, true, nil
	case metapb.Storage_COMPRESSION_ZSTD:
		return compress.Zstd, true, nil
	}
	return 0, false, fmt.Errorf("%w: unknown compression %d", base.ErrCorrupt, c)
}

func filtersOf(b metapb.Storage_Bloom) (sstable.Filters, error) {
	switch b {
	case metapb.Storage_BLOOM_DEFAULT, metapb.Storage_BLOOM_ROW_COLUMN:
		return sstable.RowAndColumnFilters, nil
	case metapb.Storage_BLOOM_ROW:
		return sstable.RowFilter, nil
	case metapb.Storage_BLOOM_NONE:
		return sstable.NoFilters, nil
	}
	return 0, fmt.Errorf("%w: unknown Bloom filter %d", base.ErrCorrupt, b)
}
