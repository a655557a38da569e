package schema

import (
	"slices"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Modify returns the record after all modifications, in order, or an error and
// no change at all. rec is left as it is.
func Modify(rec *metapb.TableRecord, mods []*adminpb.ModifyColumnFamiliesRequest_Modification) (*metapb.TableRecord, error) {
	rec = proto.CloneOf(rec)
	for i, m := range mods {
		if err := modifyOne(rec, m); err != nil {
			if len(mods) > 1 {
				err = base.Textf(err, "Error in Modification list : Error in element #%d : %s", i, err)
			}
			return nil, err
		}
	}
	return rec, nil
}

func modifyOne(rec *metapb.TableRecord, m *adminpb.ModifyColumnFamiliesRequest_Modification) error {
	switch k := m.GetMod().(type) {
	case *adminpb.ModifyColumnFamiliesRequest_Modification_Create:
		return addFamily(rec, m.Id, k.Create)
	case *adminpb.ModifyColumnFamiliesRequest_Modification_Update:
		return updateFamily(rec, m.Id, k.Update, m.GetUpdateMask().GetPaths())
	case *adminpb.ModifyColumnFamiliesRequest_Modification_Drop:
		return dropFamily(rec, m.Id, k.Drop)
	}
	return base.Invalidf("Modification of column family %q must set create, update or drop", m.GetId())
}

// dropFamily removes a family; its id is never used again, so that a family of
// the same name does not show its cells.
func dropFamily(rec *metapb.TableRecord, name string, drop bool) error {
	if !drop {
		return base.Invalidf("Modification of column family %q : drop must be true", name)
	}
	if err := CheckDelete(rec); err != nil {
		return err
	}
	i := slices.IndexFunc(rec.Families, func(f *metapb.Family) bool { return f.Name == name })
	if i < 0 {
		return familyNotFound(rec.Name, name)
	}
	rec.Families = slices.Delete(rec.Families, i, i+1)
	return nil
}

// immutableType is the text that clients look for.
const immutableType = "Immutable fields 'value_type.aggregate_type.*' cannot be updated"

func updateFamily(rec *metapb.TableRecord, name string, cf *adminpb.ColumnFamily, paths []string) error {
	f := Family(rec, name)
	if f == nil {
		return familyNotFound(rec.Name, name)
	}
	if len(paths) == 0 {
		paths = []string{"gc_rule"}
	}
	for _, p := range paths {
		switch p {
		case "gc_rule":
			if err := checkGCRule(name, cf.GetGcRule()); err != nil {
				return err
			}
			f.GcRule = proto.CloneOf(cf.GetGcRule())
		case "value_type":
			if err := updateValueType(f, cf.GetValueType()); err != nil {
				return err
			}
		default:
			return base.Invalidf("Error in field 'update_mask' : column family has no field %q that can be updated", p)
		}
	}
	return nil
}

// updateValueType changes the type of an ordinary family. An aggregation is set
// when the family is created and stays.
func updateValueType(f *metapb.Family, t *adminpb.Type) error {
	if err := checkValueType(f.Name, t); err != nil {
		return err
	}
	t = completeType(t)
	if (f.ValueType.GetAggregateType() != nil || t.GetAggregateType() != nil) && !proto.Equal(f.ValueType, t) {
		return base.Invalidf("%s", immutableType)
	}
	f.ValueType = t
	return nil
}
