package gateway

import (
	"context"
	"errors"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

const day = 24 * time.Hour

// between checks a duration that may be left out.
func between(field string, d *durationpb.Duration, least, most time.Duration) error {
	if d == nil {
		return nil
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() < least || d.AsDuration() > most {
		return base.Invalidf("Error in field '%s' : must be between %v and %v, but is %v", field, least, most, d.AsDuration())
	}
	return nil
}

// checkSpec checks what a user sets of a table, beyond its families.
func checkSpec(t *adminpb.Table, families map[string]*adminpb.ColumnFamily) error {
	if c := t.GetChangeStreamConfig(); c != nil {
		if c.RetentionPeriod == nil {
			return base.Invalidf("Error in field 'change_stream_config.retention_period' : must be set")
		}
		if err := between("change_stream_config.retention_period", c.RetentionPeriod, day, 7*day); err != nil {
			return err
		}
	}
	if err := checkBackupPolicy(t.GetAutomatedBackupPolicy()); err != nil {
		return err
	}
	if c := t.GetTieredStorageConfig(); c != nil {
		age := c.GetInfrequentAccess().GetIncludeIfOlderThan()
		if age == nil || age.AsDuration() < 30*day {
			return base.Invalidf("Error in field 'tiered_storage_config.infrequent_access.include_if_older_than' : must be at least 30 days")
		}
	}
	if s := t.GetRowKeySchema(); s != nil {
		return checkRowKeySchema(s, families)
	}
	return nil
}

// unset returns nil for a duration of zero, which clients send for none.
func unset(d *durationpb.Duration) *durationpb.Duration {
	if d.AsDuration() == 0 {
		return nil
	}
	return d
}

func checkBackupPolicy(p *adminpb.Table_AutomatedBackupPolicy) error {
	if p == nil || p.Disabled {
		return nil
	}
	return errors.Join(
		between("automated_backup_policy.retention_period", unset(p.RetentionPeriod), 3*day, 90*day),
		between("automated_backup_policy.frequency", unset(p.Frequency), day, day),
		between("automated_backup_policy.keep_hot_duration", unset(p.KeepHotDuration), day, 10*day),
	)
}

// checkRowKeySchema checks the invariants of Table.row_key_schema.
func checkRowKeySchema(s *adminpb.Type_Struct, families map[string]*adminpb.ColumnFamily) error {
	wrong := func(format string, args ...any) error {
		return base.Textf(base.ErrInvalid, "Error in field 'row_key_schema' : "+format, args...)
	}
	if len(s.Fields) == 0 {
		return wrong("needs at least one field")
	}
	switch e := s.GetEncoding().GetEncoding().(type) {
	case nil:
		return wrong("encoding must be set")
	case *adminpb.Type_Struct_Encoding_Singleton_:
		if len(s.Fields) != 1 {
			return wrong("the singleton encoding takes exactly one field, but there are %d", len(s.Fields))
		}
	case *adminpb.Type_Struct_Encoding_DelimitedBytes_:
		if len(e.DelimitedBytes.GetDelimiter()) == 0 {
			return wrong("delimiter must not be empty")
		}
	}
	seen := map[string]bool{"_key": true, "_timestamp": true}
	for i, f := range s.Fields {
		if f.FieldName == "" || seen[f.FieldName] {
			return wrong("field #%d : the name %q is empty, reserved or there twice", i, f.FieldName)
		}
		seen[f.FieldName] = true
		if _, ok := families[f.FieldName]; ok {
			return wrong("field #%d : %q is the name of a column family", i, f.FieldName)
		}
		if !encoded(f.Type) {
			return wrong("field %q : must be of a scalar type with an encoding", f.FieldName)
		}
	}
	return nil
}

// encoded reports whether t is a scalar type with an encoding.
func encoded(t *adminpb.Type) bool {
	switch k := t.GetKind().(type) {
	case *adminpb.Type_BytesType:
		return k.BytesType.GetEncoding().GetEncoding() != nil
	case *adminpb.Type_StringType:
		return k.StringType.GetEncoding().GetEncoding() != nil
	case *adminpb.Type_Int64Type:
		return k.Int64Type.GetEncoding().GetEncoding() != nil
	case *adminpb.Type_TimestampType:
		return k.TimestampType.GetEncoding().GetEncoding() != nil
	}
	return false
}

// show returns what a view shows of a table.
func (c *catalog) show(ctx context.Context, rec *metapb.TableRecord, view adminpb.Table_View) (*adminpb.Table, error) {
	t := schema.Table(rec, view)
	if t.GetAutomatedBackupPolicy() != nil {
		t.EffectiveAutomatedBackupPolicy = proto.CloneOf(t.GetAutomatedBackupPolicy())
	}
	switch view {
	case adminpb.Table_REPLICATION_VIEW, adminpb.Table_ENCRYPTION_VIEW, adminpb.Table_FULL:
	default:
		return t, nil
	}
	n, err := schema.ParseName(rec.GetName())
	if err != nil {
		return nil, err
	}
	clusters, err := c.clustersOf(ctx, n.Parent())
	if err != nil {
		return nil, err
	}
	t.ClusterStates = map[string]*adminpb.Table_ClusterState{}
	for _, cl := range clusters {
		s := &adminpb.Table_ClusterState{}
		if view != adminpb.Table_ENCRYPTION_VIEW {
			s.ReplicationState = adminpb.Table_ClusterState_READY
		}
		if view != adminpb.Table_REPLICATION_VIEW {
			s.EncryptionInfo = []*adminpb.EncryptionInfo{encryption(cl, 0)}
		}
		t.ClusterStates[lastSegment(cl.Name)] = s
	}
	return t, nil
}

// encryption says how the data of a cluster is encrypted. A key that somebody
// set is repeated, with the remark that nothing more is done with it.
func encryption(cl *adminpb.Cluster, code int32) *adminpb.EncryptionInfo {
	key := cl.GetEncryptionConfig().GetKmsKeyName()
	if key == "" {
		return &adminpb.EncryptionInfo{EncryptionType: adminpb.EncryptionInfo_GOOGLE_DEFAULT_ENCRYPTION}
	}
	return &adminpb.EncryptionInfo{
		EncryptionType:   adminpb.EncryptionInfo_CUSTOMER_MANAGED_ENCRYPTION,
		KmsKeyVersion:    key + "/cryptoKeyVersions/1",
		EncryptionStatus: &spb.Status{Code: code, Message: "emulated: the key is recorded and not used; what encrypts is the bucket"},
	}
}

// UpdateTable implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) UpdateTable(ctx context.Context, req *adminpb.UpdateTableRequest) (*longrunningpb.Operation, error) {
	s := begin()
	rec, err := a.update(ctx, req.GetTable().GetName(), func(rec *metapb.TableRecord) error { return updateSpec(rec, req) })
	if err != nil {
		return nil, err
	}
	t, err := a.show(ctx, rec, adminpb.Table_SCHEMA_VIEW)
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, rec.Name, &adminpb.UpdateTableMetadata{Name: rec.Name, StartTime: s.began, EndTime: s.ended}, t)
}

// updateSpec changes the record of a table as an UpdateTableRequest says.
func updateSpec(rec *metapb.TableRecord, req *adminpb.UpdateTableRequest) error {
	if rec.Spec == nil {
		rec.Spec = &adminpb.Table{}
	}
	had := proto.CloneOf(rec.Spec.RowKeySchema)
	err := adminstore.ApplyMask(rec.Spec, req.Table, req.GetUpdateMask().GetPaths(),
		"deletion_protection", "change_stream_config", "automated_backup_policy", "tiered_storage_config", "row_key_schema")
	if err != nil {
		return err
	}
	has := rec.Spec.RowKeySchema
	switch {
	case had == nil || proto.Equal(had, has):
	case has != nil:
		return base.Invalidf("Error in field 'row_key_schema' : the table has one; remove that first")
	case !req.IgnoreWarnings:
		return base.Invalidf("Error in field 'row_key_schema' : to remove it set ignore_warnings, for queries may depend on it")
	}
	return checkSpec(rec.Spec, schema.Table(rec, adminpb.Table_SCHEMA_VIEW).ColumnFamilies)
}

// update changes the record of a table until no other change comes between.
func (a *tableAdmin) update(ctx context.Context, name string, f func(*metapb.TableRecord) error) (*metapb.TableRecord, error) {
	for {
		t, err := a.table(ctx, name)
		if err != nil {
			return nil, err
		}
		rec := proto.CloneOf(t.Record)
		if err := f(rec); err != nil {
			return nil, err
		}
		t, err = a.meta.UpdateTable(ctx, t, rec)
		if !errors.Is(err, base.ErrAborted) || ctx.Err() != nil {
			return t.Record, err
		}
	}
}
