package schema

import (
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// MaxLocalityGroups is the most locality groups that a table may have: each
// flush writes a file for each.
const MaxLocalityGroups = 32

// SetStorage returns the record after all changes, in order, or an error and no
// change at all. rec is left as it is. The families of a group agree on whether
// it is kept in memory: a family that goes to a group takes over what holds
// there, unless the change says otherwise, which then holds for all of them.
func SetStorage(rec *metapb.TableRecord, changes []*controlpb.FamilyStorage) (*metapb.TableRecord, error) {
	if len(changes) == 0 {
		return nil, base.Invalidf("A change of storage must name at least one column family")
	}
	rec = proto.CloneOf(rec)
	for _, c := range changes {
		if err := setOne(rec, c); err != nil {
			return nil, err
		}
	}
	groups := map[string]bool{}
	for _, f := range rec.Families {
		groups[f.GetStorage().GetLocalityGroup()] = true
		if proto.Equal(f.Storage, &metapb.Storage{}) {
			f.Storage = nil
		}
	}
	if len(groups) > MaxLocalityGroups {
		return nil, base.Invalidf("Table %s would have %d locality groups, but may have %d", rec.Name, len(groups), MaxLocalityGroups)
	}
	return rec, nil
}

func setOne(rec *metapb.TableRecord, c *controlpb.FamilyStorage) error {
	f := Family(rec, c.GetFamily())
	if f == nil {
		return familyNotFound(rec.Name, c.GetFamily())
	}
	if f.Storage == nil {
		f.Storage = &metapb.Storage{}
	}
	s := f.Storage
	if c.LocalityGroup != nil && s.LocalityGroup != c.GetLocalityGroup() {
		g := c.GetLocalityGroup()
		if g != "" && CheckFamilyName(g) != nil {
			return base.Invalidf("Invalid locality group %q. Should match [-_.a-zA-Z0-9]* and have at most %d characters", g, MaxFamilyName)
		}
		s.LocalityGroup = ""
		for _, other := range rec.Families {
			if o := other.GetStorage(); other != f && o.GetLocalityGroup() == g {
				s.InMemory = o.GetInMemory()
				break
			}
		}
		s.LocalityGroup = g
	}
	if c.InMemory != nil {
		for _, other := range rec.Families {
			if other.GetStorage().GetLocalityGroup() == s.LocalityGroup {
				if other.Storage == nil {
					other.Storage = &metapb.Storage{}
				}
				other.Storage.InMemory = c.GetInMemory()
			}
		}
	}
	if c.Compression != nil {
		if _, ok := metapb.Storage_Compression_name[int32(c.GetCompression())]; !ok {
			return base.Invalidf("Column family %q : unknown compression %d", f.Name, c.GetCompression())
		}
		s.Compression = c.GetCompression()
	}
	if c.Bloom != nil {
		if _, ok := metapb.Storage_Bloom_name[int32(c.GetBloom())]; !ok {
			return base.Invalidf("Column family %q : unknown Bloom filter %d", f.Name, c.GetBloom())
		}
		s.Bloom = c.GetBloom()
	}
	return nil
}

// newStorage returns the storage of a family that is added: all families of the
// default group agree on whether it is kept in memory.
func newStorage(rec *metapb.TableRecord) *metapb.Storage {
	for _, f := range rec.Families {
		if s := f.GetStorage(); s.GetLocalityGroup() == "" && s.GetInMemory() {
			return &metapb.Storage{InMemory: true}
		}
	}
	return nil
}
