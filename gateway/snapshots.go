package gateway

import (
	"context"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	// snapshotTTL is how long a snapshot is kept if the request does not say.
	snapshotTTL = day
	// maxSnapshotTTL is how long one is kept at most that is made by the API.
	maxSnapshotTTL = 365 * day
)

// checkTTL returns how long a snapshot is to be kept.
func checkTTL(req *adminpb.SnapshotTableRequest) (time.Duration, error) {
	if req.Ttl == nil {
		return snapshotTTL, nil
	}
	ttl := req.Ttl.AsDuration()
	if req.Ttl.CheckValid() != nil || ttl <= 0 || ttl > maxSnapshotTTL {
		return 0, base.Invalidf("Error in field 'ttl' : must be positive and at most 365 days")
	}
	return ttl, nil
}

// SnapshotTable implements adminpb.BigtableTableAdminServer. What was written
// before the call is in the snapshot; of what is written during it, some is.
func (a *tableAdmin) SnapshotTable(ctx context.Context, req *adminpb.SnapshotTableRequest) (*longrunningpb.Operation, error) {
	s := begin()
	instance, _, err := child(req.Cluster, "clusters")
	if err != nil {
		return nil, err
	}
	if _, err := a.cluster(ctx, req.Cluster); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(req.Name, instance+"/tables/") {
		return nil, base.Invalidf("Error in field 'name' : %q is not a table of %s", req.Name, instance)
	}
	ttl, err := checkTTL(req)
	if err != nil {
		return nil, err
	}
	name := req.Cluster + "/snapshots/" + req.SnapshotId
	it, err := a.snapshots.Create(ctx, name, req.Name, snapshot.Options{TTL: ttl, Description: req.Description})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.SnapshotTableMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, snapshot.Shown(it))
}

// GetSnapshot implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GetSnapshot(ctx context.Context, req *adminpb.GetSnapshotRequest) (*adminpb.Snapshot, error) {
	it, err := a.snapshots.Get(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return snapshot.Shown(it), nil
}

// ListSnapshots implements adminpb.BigtableTableAdminServer, by name. The
// cluster "-" stands for all of the instance.
func (a *tableAdmin) ListSnapshots(ctx context.Context, req *adminpb.ListSnapshotsRequest) (*adminpb.ListSnapshotsResponse, error) {
	instance, id, err := child(req.Parent, "clusters")
	if err != nil {
		return nil, err
	}
	prefix := req.Parent + "/snapshots/"
	if id == "-" {
		prefix = instance + "/clusters/"
	} else if _, err := a.cluster(ctx, req.Parent); err != nil {
		return nil, err
	}
	items, err := a.snapshots.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	items, next, err := page(items, func(i snapshot.Item) string { return i.Name }, req.PageSize, req.PageToken)
	if err != nil {
		return nil, err
	}
	resp := &adminpb.ListSnapshotsResponse{NextPageToken: next}
	for _, it := range items {
		resp.Snapshots = append(resp.Snapshots, snapshot.Shown(it))
	}
	return resp, nil
}

// DeleteSnapshot implements adminpb.BigtableTableAdminServer. Tables that were
// made of it keep what they have.
func (a *tableAdmin) DeleteSnapshot(ctx context.Context, req *adminpb.DeleteSnapshotRequest) (*emptypb.Empty, error) {
	if err := a.snapshots.Delete(ctx, req.Name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// CreateTableFromSnapshot implements adminpb.BigtableTableAdminServer: the new
// table begins with the files of the snapshot.
func (a *tableAdmin) CreateTableFromSnapshot(ctx context.Context, req *adminpb.CreateTableFromSnapshotRequest) (*longrunningpb.Operation, error) {
	s := begin()
	name, err := a.newTable(ctx, req.Parent, req.TableId)
	if err != nil {
		return nil, err
	}
	if _, _, err := snapshot.Cluster(req.SourceSnapshot); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(req.SourceSnapshot, req.Parent+"/clusters/") {
		return nil, base.Invalidf("Error in field 'source_snapshot' : %q is not in %s", req.SourceSnapshot, req.Parent)
	}
	t, err := a.snapshots.Clone(ctx, req.SourceSnapshot, name)
	if err != nil {
		return nil, err
	}
	shown, err := a.awaitRestored(ctx, t)
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.CreateTableFromSnapshotMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, shown)
}

// noSnapshots returns an error that wraps base.ErrPrecondition where there are
// snapshots whose names start with prefix.
func (c *catalog) noSnapshots(ctx context.Context, prefix string) error {
	items, err := c.snapshots.List(ctx, prefix)
	if err == nil && len(items) > 0 {
		err = base.Textf(base.ErrPrecondition, "Cannot be deleted while it holds snapshots; delete %s first", items[0].Name)
	}
	return err
}
