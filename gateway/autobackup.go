package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// Automated backups need no one in charge: time is cut into slots of a policy's
// frequency, the backup of a table in a slot has one name, and of all gateways
// that find it missing one creates it. A slot begins at another time of the day
// for each table, so that not all are backed up at once. Backups go when they
// expire, like any other.

const (
	// autoPause is about how long a gateway waits between two looks for tables
	// whose backup is due.
	autoPause     = 5 * time.Minute
	autoFrequency = day
	// autoRetention is how long a backup is kept if the policy does not say.
	autoRetention = 3 * day
	// autoCleared is how often expired backups and snapshots are deleted.
	autoCleared = time.Hour
)

// automate creates backups that are due until ctx ends.
func (g *Gateway) automate(ctx context.Context) {
	var cleared time.Time
	for {
		select {
		case <-time.After(autoPause/2 + rand.N(autoPause)):
		case <-ctx.Done():
			return
		}
		err := g.backupAll(ctx, time.Now())
		if time.Since(cleared) > autoCleared {
			cleared = time.Now()
			err = errors.Join(err, g.clearExpired(ctx))
		}
		if err != nil && ctx.Err() == nil {
			g.log.WarnContext(ctx, "automated backups are late", "err", err)
		}
	}
}

// backupAll creates the backups that are due now. One that fails does not keep
// the others from being made.
func (g *Gateway) backupAll(ctx context.Context, now time.Time) error {
	tables, _, err := g.meta.ListTables(ctx, "", lockservice.ReadOptions{Stale: true})
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tables {
		p := t.Record.GetSpec().GetAutomatedBackupPolicy()
		if p == nil || p.Disabled {
			continue
		}
		if err := g.backupTable(ctx, t, p, now); err != nil {
			errs = append(errs, fmt.Errorf("back up %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

// backupTable creates the backup of the present slot in each cluster of the
// table's instance, unless it exists.
func (g *Gateway) backupTable(ctx context.Context, t meta.Table, p *adminpb.Table_AutomatedBackupPolicy, now time.Time) error {
	instance, _, _ := strings.Cut(t.Name, "/tables/")
	clusters, err := g.tables.clustersOf(ctx, instance)
	if err != nil {
		return err
	}
	keep := autoRetention
	if p.RetentionPeriod.AsDuration() > 0 {
		keep = p.RetentionPeriod.AsDuration()
	}
	b := &adminpb.Backup{SourceTable: t.Name, ExpireTime: timestamppb.New(now.Add(keep))}
	if hot := p.KeepHotDuration.AsDuration(); hot > 0 {
		b.BackupType, b.HotToStandardTime = adminpb.Backup_HOT, timestamppb.New(now.Add(hot))
	}
	for _, c := range clusters {
		if len(p.Locations) > 0 && !slices.Contains(p.Locations, c.Location) {
			continue
		}
		id := autoBackupID(t, p, now)
		if _, err := g.tables.backup(ctx, c.Name+"/backups/"+id); err == nil {
			continue
		} else if !errors.Is(err, base.ErrNotFound) {
			return err
		}
		_, err := g.tables.CreateBackup(ctx, &adminpb.CreateBackupRequest{Parent: c.Name, BackupId: id, Backup: b})
		if err != nil && !errors.Is(err, base.ErrExists) { // another gateway was faster
			return err
		}
	}
	return nil
}

// autoBackupID names the backup of a table in the slot of time that now is in:
// the table's id, cut where it is long, and when the slot begins.
func autoBackupID(t meta.Table, p *adminpb.Table_AutomatedBackupPolicy, now time.Time) string {
	every := autoFrequency
	if f := p.Frequency.AsDuration(); f > 0 {
		every = f
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%d", t.ID)
	offset := time.Duration(h.Sum32()) % every.Truncate(time.Minute)
	slot := now.UTC().Add(-offset).Truncate(every).Add(offset).Truncate(time.Minute)
	id := lastSegment(t.Name)
	const stamp = "20060102-1504"
	suffix := fmt.Sprintf("-%d-%s", t.ID, slot.Format(stamp))
	return "auto-" + id[:min(len(id), maxBackupID-len("auto-")-len(suffix))] + suffix
}

// clearExpired deletes backups and snapshots that have expired, so that their
// files can go.
func (g *Gateway) clearExpired(ctx context.Context) error {
	items, err := g.tables.backups.List(ctx, "")
	if err != nil {
		return err
	}
	g.tables.dropExpired(ctx, items)
	_, err = g.tables.snapshots.List(ctx, "")
	return err
}
