package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
)

const (
	minBackupLife = 6 * time.Hour
	maxBackupLife = 90 * day
	minHot        = day
	// clockSlack is by how much a client's clock may differ from ours.
	clockSlack = time.Minute
	// maxBackupID is the longest id of a backup.
	maxBackupID = 50
)

// clusterOfBackup checks projects/P/instances/I/clusters/C/backups/B and
// returns the instance and the cluster.
func clusterOfBackup(name string) (instance, cluster string, err error) {
	cluster, id, ok := strings.Cut(name, "/backups/")
	instance, _, err = child(cluster, "clusters")
	if err != nil || !ok || id == "" || strings.Contains(id, "/") {
		return "", "", base.Invalidf("Invalid backup name %q. Should be of the form projects/<project>/instances/<instance>/clusters/<cluster>/backups/<backup>", name)
	}
	return instance, cluster, nil
}

func expired(b *adminstorepb.Backup, now time.Time) bool {
	return !now.Before(b.Backup.ExpireTime.AsTime())
}

// backup reads a backup. One that expired does not exist.
func (c *catalog) backup(ctx context.Context, name string) (adminstore.Item[*adminstorepb.Backup], error) {
	none := adminstore.Item[*adminstorepb.Backup]{}
	if _, _, err := clusterOfBackup(name); err != nil {
		return none, err
	}
	it, err := c.backups.Get(ctx, name)
	if err != nil {
		return none, err
	}
	if expired(it.Value, time.Now()) {
		return none, c.backups.NotFound(name)
	}
	return it, nil
}

// shownBackup returns a backup as the API has it. A hot backup whose time has
// come is a standard one; they are stored alike.
func shownBackup(it adminstore.Item[*adminstorepb.Backup]) *adminpb.Backup {
	b := proto.CloneOf(it.Value.Backup)
	b.Name = it.Name
	if t := b.HotToStandardTime; t != nil && !time.Now().Before(t.AsTime()) {
		b.BackupType, b.HotToStandardTime = adminpb.Backup_STANDARD, nil
	}
	return b
}

// checkTimes checks when a backup that was begun at start expires and cools.
func checkTimes(b *adminpb.Backup, start time.Time) error {
	if b.ExpireTime == nil || b.ExpireTime.CheckValid() != nil {
		return base.Invalidf("Error in field 'expire_time' : must be set")
	}
	life := b.ExpireTime.AsTime().Sub(start)
	if life < minBackupLife-clockSlack || life > maxBackupLife+clockSlack {
		return base.Invalidf("Error in field 'expire_time' : must be 6 hours to 90 days after the backup was begun, but is %v", life.Round(time.Second))
	}
	if t := b.HotToStandardTime; t != nil {
		if b.BackupType != adminpb.Backup_HOT {
			return base.Invalidf("Error in field 'hot_to_standard_time' : only a HOT backup has it")
		}
		if hot := t.AsTime().Sub(start); hot < minHot-clockSlack {
			return base.Invalidf("Error in field 'hot_to_standard_time' : must be at least 24 hours after the backup was begun, but is %v", hot.Round(time.Second))
		}
	}
	return nil
}

// newBackup checks a request for a new backup in a cluster and returns its
// name and what it is going to say.
func (a *tableAdmin) newBackup(ctx context.Context, parent, id string, b *adminpb.Backup, began *timestamppb.Timestamp) (string, *adminpb.Backup, error) {
	cl, err := a.cluster(ctx, parent)
	if err != nil {
		return "", nil, err
	}
	if err := schema.CheckID("backup", id, maxBackupID); err != nil {
		return "", nil, err
	}
	name := parent + "/backups/" + id
	switch _, err := a.backup(ctx, name); {
	case err == nil:
		return "", nil, a.backups.Exists(name)
	case !errors.Is(err, base.ErrNotFound):
		return "", nil, err
	}
	out := &adminpb.Backup{
		ExpireTime: b.GetExpireTime(), HotToStandardTime: b.GetHotToStandardTime(), BackupType: b.GetBackupType(),
		StartTime: began, State: adminpb.Backup_READY, EncryptionInfo: encryption(cl, 2),
	}
	if out.BackupType == adminpb.Backup_BACKUP_TYPE_UNSPECIFIED {
		out.BackupType = adminpb.Backup_STANDARD
	}
	return name, out, checkTimes(out, began.AsTime())
}

// putBackup stores a new backup in the place of an expired one of that name.
// The conditions keep what it names from going away at this very moment.
func (a *tableAdmin) putBackup(ctx context.Context, name string, b *adminstorepb.Backup, cond ...lockservice.Compare) (adminstore.Item[*adminstorepb.Backup], error) {
	it, err := a.backups.Get(ctx, name)
	if err == nil && !expired(it.Value, time.Now()) {
		return it, a.backups.Exists(name)
	}
	if err != nil && !errors.Is(err, base.ErrNotFound) {
		return it, err
	}
	w, err := a.backups.Put(adminstore.Item[*adminstorepb.Backup]{Name: name, Revision: it.Revision}, b, time.Now())
	if err != nil {
		return it, err
	}
	if _, err := adminstore.Commit(ctx, a.ls, []adminstore.Write{w}, cond...); err != nil {
		return it, err
	}
	return a.backups.Get(ctx, name)
}

// CreateBackup implements adminpb.BigtableTableAdminServer. What was written
// before the call is in the backup; of what is written during it, some is.
func (a *tableAdmin) CreateBackup(ctx context.Context, req *adminpb.CreateBackupRequest) (*longrunningpb.Operation, error) {
	s := begin()
	name, b, err := a.newBackup(ctx, req.Parent, req.BackupId, req.Backup, s.began)
	if err != nil {
		return nil, err
	}
	instance, _, err := child(req.Parent, "clusters")
	if err != nil {
		return nil, err
	}
	b.SourceTable = req.GetBackup().GetSourceTable()
	if !strings.HasPrefix(b.SourceTable, instance+"/tables/") {
		return nil, base.Invalidf("Error in field 'source_table' : %q is not a table of %s", b.SourceTable, instance)
	}
	var it adminstore.Item[*adminstorepb.Backup]
	err = a.images.Take(ctx, b.SourceTable, time.Time{}, func(ctx context.Context, img snapshot.Image, cond []lockservice.Compare) (err error) {
		b.SizeBytes, b.EndTime = img.Bytes, timestamppb.Now()
		it, err = a.putBackup(ctx, name, &adminstorepb.Backup{Backup: b, Table: img.Table, Tablets: img.Tablets}, cond...)
		return err
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.CreateBackupMetadata{Name: name, SourceTable: b.SourceTable, StartTime: s.began, EndTime: s.ended}, shownBackup(it))
}

// GetBackup implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GetBackup(ctx context.Context, req *adminpb.GetBackupRequest) (*adminpb.Backup, error) {
	it, err := a.backup(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return shownBackup(it), nil
}

// ListBackups implements adminpb.BigtableTableAdminServer, by name, or by
// start time where order_by says so. The cluster "-" stands for all of the
// instance. Backups that expired are deleted by the way.
func (a *tableAdmin) ListBackups(ctx context.Context, req *adminpb.ListBackupsRequest) (*adminpb.ListBackupsResponse, error) {
	instance, id, err := child(req.Parent, "clusters")
	if err != nil {
		return nil, err
	}
	if req.Filter != "" {
		return nil, base.Textf(base.ErrUnimplemented, "ListBackups: filters are not offered; leave filter empty")
	}
	if req.OrderBy != "" && req.OrderBy != "name" {
		return nil, base.Textf(base.ErrUnimplemented, "ListBackups: only the order by name is offered; leave order_by empty")
	}
	prefix := req.Parent + "/backups/"
	if id == "-" {
		prefix = instance + "/clusters/"
	} else if _, err := a.cluster(ctx, req.Parent); err != nil {
		return nil, err
	}
	items, err := a.backups.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	items = a.dropExpired(ctx, items)
	items, next, err := page(items, func(i adminstore.Item[*adminstorepb.Backup]) string { return i.Name }, req.PageSize, req.PageToken)
	resp := &adminpb.ListBackupsResponse{NextPageToken: next}
	for _, it := range items {
		resp.Backups = append(resp.Backups, shownBackup(it))
	}
	return resp, err
}

// dropExpired deletes those of items that have expired, and returns the others.
func (a *tableAdmin) dropExpired(ctx context.Context, items []adminstore.Item[*adminstorepb.Backup]) []adminstore.Item[*adminstorepb.Backup] {
	return slices.DeleteFunc(items, func(it adminstore.Item[*adminstorepb.Backup]) bool {
		if !expired(it.Value, time.Now()) {
			return false
		}
		_, err := adminstore.Commit(ctx, a.ls, []adminstore.Write{a.backups.Remove(it)})
		if err != nil && !errors.Is(err, base.ErrAborted) {
			a.g.log.WarnContext(ctx, "an expired backup stays behind", "backup", it.Name, "err", err)
		}
		return true
	})
}

// UpdateBackup implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) UpdateBackup(ctx context.Context, req *adminpb.UpdateBackupRequest) (*adminpb.Backup, error) {
	name := req.GetBackup().GetName()
	if _, err := a.backup(ctx, name); err != nil {
		return nil, err
	}
	it, err := a.backups.Update(ctx, name, func(_ adminstore.Item[*adminstorepb.Backup], b *adminstorepb.Backup) error {
		if err := adminstore.ApplyMask(b.Backup, req.Backup, req.GetUpdateMask().GetPaths(), "expire_time", "hot_to_standard_time"); err != nil {
			return err
		}
		return checkTimes(b.Backup, b.Backup.StartTime.AsTime())
	})
	if err != nil {
		return nil, err
	}
	return shownBackup(it), nil
}

// DeleteBackup implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) DeleteBackup(ctx context.Context, req *adminpb.DeleteBackupRequest) (*emptypb.Empty, error) {
	if _, err := a.backup(ctx, req.Name); err != nil {
		return nil, err
	}
	if err := a.backups.Delete(ctx, req.Name, nil); err != nil {
		return nil, err
	}
	if err := a.policies.Delete(ctx, req.Name, nil); err != nil && !errors.Is(err, base.ErrNotFound) {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// CopyBackup implements adminpb.BigtableTableAdminServer: the copy names the
// same files, and holds them when the original is gone.
func (a *tableAdmin) CopyBackup(ctx context.Context, req *adminpb.CopyBackupRequest) (*longrunningpb.Operation, error) {
	s := begin()
	src, err := a.backup(ctx, req.SourceBackup)
	if err != nil {
		return nil, err
	}
	name, b, err := a.newBackup(ctx, req.Parent, req.BackupId, &adminpb.Backup{ExpireTime: req.ExpireTime}, s.began)
	if err != nil {
		return nil, err
	}
	copied := proto.CloneOf(src.Value)
	b.SourceTable, b.SourceBackup, b.SizeBytes, b.EndTime = src.Value.Backup.SourceTable, src.Name, src.Value.Backup.SizeBytes, timestamppb.Now()
	copied.Backup = b
	it, err := a.putBackup(ctx, name, copied, lockservice.ModRevisionIs(adminstore.Backup.Key(src.Name), src.Revision))
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.CopyBackupMetadata{
		Name: name, SourceBackupInfo: backupInfo(src),
		Progress: &adminpb.OperationProgress{ProgressPercent: 100, StartTime: s.began, EndTime: s.ended},
	}, shownBackup(it))
}

func backupInfo(it adminstore.Item[*adminstorepb.Backup]) *adminpb.BackupInfo {
	b := it.Value.Backup
	return &adminpb.BackupInfo{Backup: it.Name, StartTime: b.StartTime, EndTime: b.EndTime, SourceTable: b.SourceTable, SourceBackup: b.SourceBackup}
}
