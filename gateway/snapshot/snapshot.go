// Package snapshot takes images of tables, and keeps them as snapshots.
//
// An image is taken in three steps: the owners flush the tablets, the records
// are read, and one transaction stores what the image is for and compares that
// the records, and the schema, still are what they were (R10). So no file of it
// can have been deleted, and everything that was acknowledged before the first
// step is in a manifest of it: what was flushed once stays so, whoever has the
// tablet by then, and however it was split and merged. Where a record changed
// in between, it is read again. Whoever dies in between leaves flushed tablets
// behind, and nothing else.
//
// Backups, snapshots and clones of tables are made of images. A snapshot is a
// key of the lock service that names manifests: while it stands, garbage
// collection keeps them and all files that they name. A table that is made of it
// names the same files, under its own records; nothing is copied, and neither
// needs the other afterwards.
package snapshot

import (
	"context"
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
)

const (
	// maxIDLen is the longest id of a snapshot.
	maxIDLen = 50
	// maxDescription is the longest description of a snapshot, in bytes.
	maxDescription = 4 << 10
)

// Item is a stored snapshot: Name is its full name.
type Item = adminstore.Item[*adminstorepb.Snapshot]

// Service makes, finds and deletes snapshots, and clones tables. Its methods may
// be called concurrently, and by several processes.
type Service struct {
	meta  *meta.Store
	taker *Taker
	kept  adminstore.Collection[*adminstorepb.Snapshot]
}

// New returns a Service over the records of m, which dials tablet servers by
// network.
func New(m *meta.Store, network rpc.Network) *Service {
	return &Service{
		meta: m, taker: NewTaker(m, network),
		kept: adminstore.Of[*adminstorepb.Snapshot](m.LockService(), adminstore.Snapshot, "Snapshot"),
	}
}

// Key returns the key of the snapshot of that name.
func (*Service) Key(name string) string { return adminstore.Snapshot.Key(name) }

// Cluster returns the name of the cluster of the snapshot called
// projects/P/instances/I/clusters/C/snapshots/S, and S.
func Cluster(name string) (cluster, id string, err error) {
	cluster, id, ok := strings.Cut(name, "/snapshots/")
	instance, c, isCluster := strings.Cut(cluster, "/clusters/")
	_, perr := schema.ParseParent(instance)
	if !ok || !isCluster || perr != nil || c == "" || id == "" || strings.Contains(c, "/") || strings.Contains(id, "/") {
		return "", "", base.Invalidf("Invalid snapshot name %q. Should be of the form projects/<project>/instances/<instance>/clusters/<cluster>/snapshots/<snapshot>", name)
	}
	return cluster, id, nil
}

// Expired reports whether the time of a snapshot is over. One that expired does
// not exist, and is deleted by whoever passes.
func Expired(s *adminstorepb.Snapshot, now time.Time) bool {
	t := s.GetSnapshot().GetDeleteTime()
	return t != nil && !now.Before(t.AsTime())
}

// Options are what a new snapshot has.
type Options struct {
	// TTL is how long it is kept; 0: until it is deleted.
	TTL         time.Duration
	Description string
	// At, if not zero, is the time as of which it is taken; see Taker.Take.
	At time.Time
}

// Create takes a snapshot of a table under a full name. It holds all that was
// acknowledged before the call. base.ErrExists: there is one of that name;
// base.ErrNotFound: there is no such table.
func (s *Service) Create(ctx context.Context, name, table string, o Options) (Item, error) {
	none := Item{}
	_, id, err := Cluster(name)
	if err == nil {
		err = schema.CheckID("snapshot", id, maxIDLen)
	}
	if err != nil {
		return none, err
	}
	if len(o.Description) > maxDescription {
		return none, base.Invalidf("Error in field 'description' : must have at most %d bytes, but has %d", maxDescription, len(o.Description))
	}
	switch _, err := s.Get(ctx, name); {
	case err == nil:
		return none, s.kept.Exists(name)
	case !errors.Is(err, base.ErrNotFound):
		return none, err
	}
	var it Item
	err = s.taker.Take(ctx, table, o.At, func(ctx context.Context, img Image, cond []lockservice.Compare) (err error) {
		now := time.Now()
		created := now
		if !img.AsOf.IsZero() {
			created = img.AsOf
		}
		v := &adminstorepb.Snapshot{Table: img.Table, Tablets: img.Tablets, Snapshot: &adminpb.Snapshot{
			DataSizeBytes: img.Bytes, CreateTime: timestamppb.New(created), State: adminpb.Snapshot_READY, Description: o.Description,
		}}
		if o.TTL > 0 {
			v.Snapshot.DeleteTime = timestamppb.New(now.Add(o.TTL))
		}
		it, err = s.put(ctx, name, v, now, cond)
		return err
	})
	return it, err
}

// put stores a new snapshot in the place of an expired one of that name.
func (s *Service) put(ctx context.Context, name string, v *adminstorepb.Snapshot, now time.Time, cond []lockservice.Compare) (Item, error) {
	it, err := s.kept.Get(ctx, name)
	if err == nil && !Expired(it.Value, now) {
		return it, s.kept.Exists(name)
	}
	if err != nil && !errors.Is(err, base.ErrNotFound) {
		return it, err
	}
	w, err := s.kept.Put(Item{Name: name, Revision: it.Revision}, v, now)
	if err != nil {
		return it, err
	}
	rev, err := adminstore.Commit(ctx, s.meta.LockService(), []adminstore.Write{w}, cond...)
	return Item{Name: name, Value: v, Revision: rev, Created: now, Updated: now}, err
}

// Get reads a snapshot. base.ErrNotFound: there is none of that name.
func (s *Service) Get(ctx context.Context, name string) (Item, error) {
	if _, _, err := Cluster(name); err != nil {
		return Item{}, err
	}
	it, err := s.kept.Get(ctx, name)
	if err == nil && Expired(it.Value, time.Now()) {
		err = s.kept.NotFound(name)
	}
	return it, err
}

// List reads the snapshots whose names start with prefix, by name, and deletes
// those of them that have expired.
func (s *Service) List(ctx context.Context, prefix string) ([]Item, error) {
	items, err := s.kept.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var live []Item
	for _, it := range items {
		if !Expired(it.Value, time.Now()) {
			live = append(live, it)
			continue
		}
		_, err := adminstore.Commit(ctx, s.meta.LockService(), []adminstore.Write{s.kept.Remove(it)})
		if err != nil && !errors.Is(err, base.ErrAborted) { // aborted: somebody else did, or there is a new one
			return nil, err
		}
	}
	return live, nil
}

// Delete deletes a snapshot: the files that only it names are garbage from then
// on. base.ErrNotFound: there is none of that name.
func (s *Service) Delete(ctx context.Context, name string) error {
	if _, err := s.Get(ctx, name); err != nil {
		return err
	}
	return s.kept.Delete(ctx, name, nil)
}

// Shown returns a snapshot as the admin API has it.
func Shown(it Item) *adminpb.Snapshot {
	out := &adminpb.Snapshot{}
	if v := it.Value.Snapshot; v != nil {
		out = &adminpb.Snapshot{DataSizeBytes: v.DataSizeBytes, CreateTime: v.CreateTime, DeleteTime: v.DeleteTime, State: v.State, Description: v.Description}
	}
	out.Name = it.Name
	out.SourceTable = schema.Table(it.Value.Table, adminpb.Table_SCHEMA_VIEW)
	return out
}

// DefaultCluster returns the name of the cluster where snapshots of the tables of
// an instance are kept if nobody says where: the first by name, or the one that
// an instance has that was never created.
func (s *Service) DefaultCluster(ctx context.Context, instance string) (string, error) {
	names, err := adminstore.Of[*adminpb.Cluster](s.meta.LockService(), adminstore.Cluster, "Cluster").Names(ctx, instance+"/clusters/")
	if err != nil || len(names) > 0 {
		return append(names, "")[0], err
	}
	return instance + "/clusters/" + DefaultClusterID(instance), nil
}

// DefaultClusterID is the id of the cluster of an instance that was never
// created.
func DefaultClusterID(instance string) string {
	return instance[strings.LastIndexByte(instance, '/')+1:] + "-c1"
}
