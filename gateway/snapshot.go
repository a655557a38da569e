package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// A backup is taken in three steps: the owners flush the tablets, the records
// are read, and one transaction stores the backup and compares that these
// records still are what they were and that their owners are those that
// flushed (R10). So no file of it can have been deleted, and everything that
// was acknowledged before the first step is in a manifest of it. Where a
// record changed in between, it is done again.

const (
	// backupDeadline is for calls whose context has no deadline.
	backupDeadline = 10 * time.Minute
	backupPause    = 100 * time.Millisecond
)

// onServer calls the control service of a tablet server.
func (g *Gateway) onServer(ctx context.Context, addr string, f func(context.Context, controlpb.TabletServerClient) error) error {
	cc, err := rpc.Dial(g.network, addr)
	if err != nil {
		return fmt.Errorf("dial tablet server %s: %w", addr, err)
	}
	defer cc.Close()
	return rpc.FromStatus(f(ctx, controlpb.NewTabletServerClient(router.Conn(cc))))
}

// holder is who serves a tablet, and under which epoch.
type holder struct {
	owner base.Incarnation
	epoch base.Epoch
}

// flush has all tablets written out by their owners and returns who they were.
// An error may pass; only that of ctx is final.
func (g *Gateway) flush(ctx context.Context, tablets []meta.Tablet) (map[base.TabletID]holder, error) {
	holders := map[base.TabletID]holder{}
	byAddr := map[string][]uint64{}
	for _, t := range tablets {
		if t.State != meta.Serving {
			return nil, fmt.Errorf("%w: tablet %d is %v", base.ErrNotServing, t.ID, t.State)
		}
		holders[t.ID] = holder{t.Owner, t.Epoch}
		byAddr[t.OwnerAddress] = append(byAddr[t.OwnerAddress], uint64(t.ID))
	}
	for addr, ids := range byAddr {
		err := g.onServer(ctx, addr, func(ctx context.Context, c controlpb.TabletServerClient) error {
			resp, err := c.Flush(ctx, &controlpb.FlushRequest{Tablets: ids})
			if err == nil && int(resp.Tablets) != len(ids) {
				err = fmt.Errorf("%w: %s flushed %d of %d tablets", base.ErrNotServing, addr, resp.Tablets, len(ids))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("flush tablets at %s: %w", addr, err)
		}
	}
	return holders, nil
}

// size returns about how many bytes the files of tablets have.
func (g *Gateway) size(ctx context.Context, tablets []meta.Tablet) (int64, error) {
	byAddr := map[string]map[uint64]bool{}
	for _, t := range tablets {
		if byAddr[t.OwnerAddress] == nil {
			byAddr[t.OwnerAddress] = map[uint64]bool{}
		}
		byAddr[t.OwnerAddress][uint64(t.ID)] = true
	}
	total := int64(0)
	for addr, ids := range byAddr {
		err := g.onServer(ctx, addr, func(ctx context.Context, c controlpb.TabletServerClient) error {
			s, err := c.Status(ctx, &controlpb.StatusRequest{})
			for _, t := range s.GetTablets() {
				if ids[t.Tablet] {
					total += int64(t.FileBytes)
				}
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}

// snapshot takes and stores a backup of b.SourceTable.
func (a *tableAdmin) snapshot(ctx context.Context, name string, b *adminpb.Backup) (adminstore.Item[*adminstorepb.Backup], error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, backupDeadline)
		defer cancel()
	}
	for {
		it, err := a.trySnapshot(ctx, name, b)
		switch {
		case err == nil:
			return it, nil
		case errors.Is(err, base.ErrNotServing), errors.Is(err, base.ErrAborted), errors.Is(err, base.ErrUnavailable), errors.Is(err, base.ErrFenced):
		default: // what was asked for is wrong, or nobody knows what became of it
			return it, err
		}
		select {
		case <-time.After(backupPause):
		case <-ctx.Done():
			return it, fmt.Errorf("%w: the backup could not be taken in time: %w", base.ErrUnavailable, err)
		}
	}
}

func (a *tableAdmin) trySnapshot(ctx context.Context, name string, b *adminpb.Backup) (adminstore.Item[*adminstorepb.Backup], error) {
	none := adminstore.Item[*adminstorepb.Backup]{}
	t, err := a.table(ctx, b.SourceTable)
	if err != nil {
		return none, err
	}
	tablets, err := a.meta.Tablets(ctx, t.ID, lockservice.ReadOptions{})
	if err != nil {
		return none, err
	}
	holders, err := a.g.flush(ctx, tablets)
	if err != nil {
		return none, err
	}
	if tablets, err = a.meta.Tablets(ctx, t.ID, lockservice.ReadOptions{}); err != nil {
		return none, err
	}
	stored, cond, err := capture(t, tablets, holders)
	if err != nil {
		return none, err
	}
	b = proto.CloneOf(b)
	if b.SizeBytes, err = a.g.size(ctx, tablets); err != nil {
		return none, err
	}
	b.EndTime = timestamppb.Now()
	stored.Backup = b
	return a.putBackup(ctx, name, stored, cond...)
}

// capture returns the backup of tablets as their records are, and the
// conditions under which it is one.
func capture(t meta.Table, tablets []meta.Tablet, holders map[base.TabletID]holder) (*adminstorepb.Backup, []lockservice.Compare, error) {
	if wrong := meta.CheckTiling(tablets); len(wrong) > 0 { // the table is being deleted
		return nil, nil, fmt.Errorf("%w: tablets of table %s: %s", base.ErrNotServing, t.Name, wrong[0])
	}
	if len(tablets) > meta.MaxRestoreTablets/2 { // conditions and operations of the restore, too
		return nil, nil, base.Textf(base.ErrUnimplemented, "A table of %d tablets cannot be backed up; at most %d", len(tablets), meta.MaxRestoreTablets/2)
	}
	b := &adminstorepb.Backup{Table: proto.CloneOf(t.Record)}
	var cond []lockservice.Compare
	for _, r := range tablets {
		if h, ok := holders[r.ID]; !ok || h != (holder{r.Owner, r.Epoch}) || r.State != meta.Serving {
			return nil, nil, fmt.Errorf("%w: tablet %d moved while it was backed up", base.ErrNotServing, r.ID)
		}
		bt := &adminstorepb.BackupTablet{Start: r.Start, End: r.End, ManifestVersion: r.ManifestVersion, Flushed: uint64(r.Flushed), NextSeq: uint64(max(r.NextSeq, r.Flushed+1))}
		if !r.Manifest.IsZero() {
			bt.Manifest = &metapb.FileNumber{Creator: meta.IncarnationProto(r.Manifest.Creator), Number: r.Manifest.Number}
		}
		b.Tablets = append(b.Tablets, bt)
		cond = append(cond, lockservice.ModRevisionIs(r.Key(), r.Revision))
	}
	return b, cond, nil
}

// RestoreTable implements adminpb.BigtableTableAdminServer: the new table
// begins with the files of the backup, wherever that is.
func (a *tableAdmin) RestoreTable(ctx context.Context, req *adminpb.RestoreTableRequest) (*longrunningpb.Operation, error) {
	s := begin()
	parent, err := schema.ParseParent(req.Parent)
	if err != nil {
		return nil, err
	}
	if err := schema.CheckTableID(req.TableId); err != nil {
		return nil, err
	}
	if _, _, err := a.instance(ctx, req.Parent); err != nil {
		return nil, err
	}
	parent.Table = req.TableId
	name := parent.String()
	src, err := a.backup(ctx, req.GetBackup())
	if err != nil {
		return nil, err
	}
	tablets := make([]meta.Tablet, len(src.Value.Tablets))
	for i, t := range src.Value.Tablets {
		tablets[i] = meta.Tablet{
			Start: t.Start, End: t.End, Manifest: meta.FileNumber(t.Manifest), ManifestVersion: t.ManifestVersion,
			Flushed: base.Seq(t.Flushed), NextSeq: base.Seq(t.NextSeq),
		}
	}
	t, err := a.meta.RestoreTable(ctx, restored(src, name), tablets, s.began.AsTime(), lockservice.ModRevisionIs(adminstore.Backup.Key(src.Name), src.Revision))
	if errors.Is(err, base.ErrExists) {
		return nil, schema.Exists(name)
	}
	if err != nil {
		return nil, err
	}
	if _, err := a.g.router.SampleRowKeys(ctx, []byte(name)); err != nil { // returns when all tablets are served
		return nil, fmt.Errorf("table %s was restored, but is not served yet: %w", name, err)
	}
	shown, err := a.show(ctx, t.Record, adminpb.Table_SCHEMA_VIEW)
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

// restored returns the record of the new table: that of the old one, without
// what does not come back with a backup.
func restored(src adminstore.Item[*adminstorepb.Backup], name string) *metapb.TableRecord {
	rec := proto.CloneOf(src.Value.Table)
	rec.Name = name
	if rec.Spec == nil {
		rec.Spec = &adminpb.Table{}
	}
	rec.Spec.DeletionProtection, rec.Spec.ChangeStreamConfig, rec.Spec.AutomatedBackupConfig = false, nil, nil
	rec.Spec.RestoreInfo = &adminpb.RestoreInfo{
		SourceType: adminpb.RestoreSourceType_BACKUP, SourceInfo: &adminpb.RestoreInfo_BackupInfo{BackupInfo: backupInfo(src)},
	}
	return rec
}
