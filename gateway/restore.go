package gateway

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// newTable checks the name of a table that is to be made in an instance and
// returns it in full.
func (a *tableAdmin) newTable(ctx context.Context, parent, id string) (string, error) {
	n, err := schema.ParseParent(parent)
	if err != nil {
		return "", err
	}
	if err := schema.CheckTableID(id); err != nil {
		return "", err
	}
	if _, _, err := a.instance(ctx, parent); err != nil {
		return "", err
	}
	n.Table = id
	return n.String(), nil
}

// awaitRestored returns the new table as the API has it, once all its tablets
// are served.
func (a *tableAdmin) awaitRestored(ctx context.Context, t meta.Table) (*adminpb.Table, error) {
	if _, err := a.g.router.SampleRowKeys(ctx, []byte(t.Name)); err != nil { // returns when all tablets are served
		return nil, fmt.Errorf("table %s was restored, but is not served yet: %w", t.Name, err)
	}
	return a.show(ctx, t.Record, adminpb.Table_SCHEMA_VIEW)
}

// RestoreTable implements adminpb.BigtableTableAdminServer: the new table
// begins with the files of the backup, wherever that is.
func (a *tableAdmin) RestoreTable(ctx context.Context, req *adminpb.RestoreTableRequest) (*longrunningpb.Operation, error) {
	s := begin()
	name, err := a.newTable(ctx, req.Parent, req.TableId)
	if err != nil {
		return nil, err
	}
	src, err := a.backup(ctx, req.GetBackup())
	if err != nil {
		return nil, err
	}
	rec := snapshot.Record(src.Value.Table, name)
	rec.Spec.RestoreInfo = &adminpb.RestoreInfo{
		SourceType: adminpb.RestoreSourceType_BACKUP, SourceInfo: &adminpb.RestoreInfo_BackupInfo{BackupInfo: backupInfo(src)},
	}
	t, err := a.meta.RestoreTable(ctx, rec, snapshot.Tablets(src.Value.Tablets), s.began.AsTime(), lockservice.ModRevisionIs(adminstore.Backup.Key(src.Name), src.Revision))
	if errors.Is(err, base.ErrExists) {
		return nil, schema.Exists(name)
	}
	if err != nil {
		return nil, err
	}
	shown, err := a.awaitRestored(ctx, t)
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.RestoreTableMetadata{
		Name: name, SourceType: adminpb.RestoreSourceType_BACKUP,
		SourceInfo: &adminpb.RestoreTableMetadata_BackupInfo{BackupInfo: backupInfo(src)},
		Progress:   &adminpb.OperationProgress{ProgressPercent: 100, StartTime: s.began, EndTime: s.ended},
	}, shown)
}
