package schema

import (
	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Table returns rec as the admin API shows it in a view. The views that tell of
// replication and encryption get what SCHEMA_VIEW has in FULL; the states of
// clusters are added by the gateway, which knows the clusters. The result
// shares nothing with rec.
func Table(rec *metapb.TableRecord, view adminpb.Table_View) *adminpb.Table {
	switch view {
	case adminpb.Table_NAME_ONLY, adminpb.Table_REPLICATION_VIEW, adminpb.Table_ENCRYPTION_VIEW:
		return &adminpb.Table{Name: rec.GetName()}
	}
	t := proto.CloneOf(rec.GetSpec())
	if t == nil {
		t = &adminpb.Table{}
	}
	t.Name = rec.GetName()
	t.Granularity = Granularity(rec)
	t.ColumnFamilies = make(map[string]*adminpb.ColumnFamily, len(rec.GetFamilies()))
	for _, f := range rec.GetFamilies() {
		t.ColumnFamilies[f.Name] = columnFamily(f)
	}
	return t
}

func columnFamily(f *metapb.Family) *adminpb.ColumnFamily {
	return &adminpb.ColumnFamily{GcRule: proto.CloneOf(f.GcRule), ValueType: proto.CloneOf(f.ValueType)}
}

// Granularity returns the unit of the table's timestamps, never unspecified.
func Granularity(rec *metapb.TableRecord) adminpb.Table_TimestampGranularity {
	if g := rec.GetSpec().GetGranularity(); g != adminpb.Table_TIMESTAMP_GRANULARITY_UNSPECIFIED {
		return g
	}
	return adminpb.Table_MILLIS
}

// Family returns the family of that name, or nil.
func Family(rec *metapb.TableRecord, name string) *metapb.Family {
	for _, f := range rec.GetFamilies() {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// CheckDelete returns an error that wraps base.ErrPrecondition where the table
// is protected from being deleted.
func CheckDelete(rec *metapb.TableRecord) error {
	if rec.GetSpec().GetDeletionProtection() {
		return protected(rec)
	}
	return nil
}

func protected(rec *metapb.TableRecord) error {
	return base.Textf(base.ErrPrecondition, "table %q is protected from deletion", rec.GetName())
}
