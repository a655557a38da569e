package gateway_test

import (
	"context"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
)

// TestBackupsAge: a hot backup cools, any backup expires, and its key, which
// keeps files alive, goes when somebody looks.
func TestBackupsAge(t *testing.T) {
	inBubble(t, func(_ context.Context, x *fixture) {
		ctx := context.Background() // for days
		kept := adminstore.Of[*adminstorepb.Backup](x.LS, adminstore.Backup, "Backup")
		at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(d)) }
		cluster := parent + "/clusters/main-c1"
		for id, b := range map[string]*adminpb.Backup{
			"hot":  {StartTime: at(0), ExpireTime: at(72 * time.Hour), BackupType: adminpb.Backup_HOT, HotToStandardTime: at(48 * time.Hour)},
			"soon": {StartTime: at(0), ExpireTime: at(8 * time.Hour), BackupType: adminpb.Backup_STANDARD},
		} {
			if _, err := kept.Create(ctx, cluster+"/backups/"+id, 0, &adminstorepb.Backup{Backup: b}); err != nil {
				t.Fatal(err)
			}
		}
		get := func(id string, want codes.Code) *adminpb.Backup {
			t.Helper()
			b, err := x.tables.GetBackup(ctx, &adminpb.GetBackupRequest{Name: cluster + "/backups/" + id})
			x.code(id, err, want)
			return b
		}
		if b := get("hot", codes.OK); b.BackupType != adminpb.Backup_HOT || b.HotToStandardTime == nil {
			t.Errorf("%v", b)
		}
		get("soon", codes.OK)
		time.Sleep(9 * time.Hour)
		get("soon", codes.NotFound)
		list, err := x.tables.ListBackups(ctx, &adminpb.ListBackupsRequest{Parent: parent + "/clusters/-"})
		if err != nil || len(list.Backups) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		if names, err := kept.Names(ctx, ""); err != nil || len(names) != 1 {
			t.Errorf("stored: %q, %v", names, err)
		}
		time.Sleep(48 * time.Hour)
		if b := get("hot", codes.OK); b.BackupType != adminpb.Backup_STANDARD || b.HotToStandardTime != nil {
			t.Errorf("%v", b)
		}
		_, err = x.inst.DeleteInstance(ctx, &adminpb.DeleteInstanceRequest{Name: parent})
		x.code("an instance with backups", err, codes.FailedPrecondition)
		time.Sleep(24 * time.Hour)
		get("hot", codes.NotFound)
	})
}
