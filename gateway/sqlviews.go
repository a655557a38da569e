package gateway

import (
	"context"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// maxQuery is the longest query of a view, in bytes.
const maxQuery = 256 << 10

func checkQuery(q string) error {
	if q == "" || len(q) > maxQuery {
		return base.Invalidf("Error in field 'query' : must have 1 to %d bytes, but has %d", maxQuery, len(q))
	}
	return nil
}

// errProtected is the error for what is protected from being deleted.
func errProtected(name string) error {
	return base.Textf(base.ErrPrecondition, "%s is protected from deletion; unset deletion_protection first", name)
}

func shownLogical(it adminstore.Item[*adminpb.LogicalView]) *adminpb.LogicalView {
	it.Value.Name, it.Value.Etag = it.Name, it.Etag()
	return it.Value
}

// CreateLogicalView implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) CreateLogicalView(ctx context.Context, req *adminpb.CreateLogicalViewRequest) (*longrunningpb.Operation, error) {
	s := begin()
	if _, _, err := a.instance(ctx, req.Parent); err != nil {
		return nil, err
	}
	if err := schema.CheckID("logical view", req.LogicalViewId, 128); err != nil {
		return nil, err
	}
	if err := checkQuery(req.GetLogicalView().GetQuery()); err != nil {
		return nil, err
	}
	it, err := a.logical.Create(ctx, req.Parent+"/logicalViews/"+req.LogicalViewId, 0,
		&adminpb.LogicalView{Query: req.LogicalView.Query, DeletionProtection: req.LogicalView.DeletionProtection})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, it.Name, &adminpb.CreateLogicalViewMetadata{OriginalRequest: req, StartTime: s.began, EndTime: s.ended}, shownLogical(it))
}

// GetLogicalView implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetLogicalView(ctx context.Context, req *adminpb.GetLogicalViewRequest) (*adminpb.LogicalView, error) {
	if _, _, err := child(req.Name, "logicalViews"); err != nil {
		return nil, err
	}
	it, err := a.logical.Get(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return shownLogical(it), nil
}

// ListLogicalViews implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) ListLogicalViews(ctx context.Context, req *adminpb.ListLogicalViewsRequest) (*adminpb.ListLogicalViewsResponse, error) {
	if _, _, err := a.instance(ctx, req.Parent); err != nil {
		return nil, err
	}
	items, err := a.logical.List(ctx, req.Parent+"/logicalViews/")
	if err != nil {
		return nil, err
	}
	items, next, err := page(items, func(i adminstore.Item[*adminpb.LogicalView]) string { return i.Name }, req.PageSize, req.PageToken)
	resp := &adminpb.ListLogicalViewsResponse{NextPageToken: next}
	for _, it := range items {
		resp.LogicalViews = append(resp.LogicalViews, shownLogical(it))
	}
	return resp, err
}

// UpdateLogicalView implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) UpdateLogicalView(ctx context.Context, req *adminpb.UpdateLogicalViewRequest) (*longrunningpb.Operation, error) {
	s := begin()
	it, err := a.logical.Update(ctx, req.GetLogicalView().GetName(), func(it adminstore.Item[*adminpb.LogicalView], v *adminpb.LogicalView) error {
		if err := it.CheckEtag(req.LogicalView.Etag); err != nil {
			return err
		}
		if err := adminstore.ApplyMask(v, req.LogicalView, req.GetUpdateMask().GetPaths(), "query", "deletion_protection"); err != nil {
			return err
		}
		return checkQuery(v.Query)
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, it.Name, &adminpb.UpdateLogicalViewMetadata{OriginalRequest: req, StartTime: s.began, EndTime: s.ended}, shownLogical(it))
}

// DeleteLogicalView implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) DeleteLogicalView(ctx context.Context, req *adminpb.DeleteLogicalViewRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, a.logical.Delete(ctx, req.Name, func(it adminstore.Item[*adminpb.LogicalView]) error {
		if it.Value.DeletionProtection {
			return errProtected(it.Name)
		}
		return it.CheckEtag(req.Etag)
	})
}

func shownMaterialized(it adminstore.Item[*adminpb.MaterializedView]) *adminpb.MaterializedView {
	it.Value.Name, it.Value.Etag = it.Name, it.Etag()
	return it.Value
}

// CreateMaterializedView implements adminpb.BigtableInstanceAdminServer: it
// keeps the definition.
func (a *instanceAdmin) CreateMaterializedView(ctx context.Context, req *adminpb.CreateMaterializedViewRequest) (*longrunningpb.Operation, error) {
	s := begin()
	if _, _, err := a.instance(ctx, req.Parent); err != nil {
		return nil, err
	}
	if err := schema.CheckID("materialized view", req.MaterializedViewId, 128); err != nil {
		return nil, err
	}
	if err := checkQuery(req.GetMaterializedView().GetQuery()); err != nil {
		return nil, err
	}
	it, err := a.material.Create(ctx, req.Parent+"/materializedViews/"+req.MaterializedViewId, 0,
		&adminpb.MaterializedView{Query: req.MaterializedView.Query, DeletionProtection: req.MaterializedView.DeletionProtection})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, it.Name, &adminpb.CreateMaterializedViewMetadata{OriginalRequest: req, StartTime: s.began, EndTime: s.ended}, shownMaterialized(it))
}

// GetMaterializedView implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetMaterializedView(ctx context.Context, req *adminpb.GetMaterializedViewRequest) (*adminpb.MaterializedView, error) {
	if _, _, err := child(req.Name, "materializedViews"); err != nil {
		return nil, err
	}
	it, err := a.material.Get(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return shownMaterialized(it), nil
}

// ListMaterializedViews implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) ListMaterializedViews(ctx context.Context, req *adminpb.ListMaterializedViewsRequest) (*adminpb.ListMaterializedViewsResponse, error) {
	if _, _, err := a.instance(ctx, req.Parent); err != nil {
		return nil, err
	}
	items, err := a.material.List(ctx, req.Parent+"/materializedViews/")
	if err != nil {
		return nil, err
	}
	items, next, err := page(items, func(i adminstore.Item[*adminpb.MaterializedView]) string { return i.Name }, req.PageSize, req.PageToken)
	resp := &adminpb.ListMaterializedViewsResponse{NextPageToken: next}
	for _, it := range items {
		resp.MaterializedViews = append(resp.MaterializedViews, shownMaterialized(it))
	}
	return resp, err
}

// UpdateMaterializedView implements adminpb.BigtableInstanceAdminServer: the
// query stays.
func (a *instanceAdmin) UpdateMaterializedView(ctx context.Context, req *adminpb.UpdateMaterializedViewRequest) (*longrunningpb.Operation, error) {
	s := begin()
	it, err := a.material.Update(ctx, req.GetMaterializedView().GetName(), func(it adminstore.Item[*adminpb.MaterializedView], v *adminpb.MaterializedView) error {
		if err := it.CheckEtag(req.MaterializedView.Etag); err != nil {
			return err
		}
		return adminstore.ApplyMask(v, req.MaterializedView, req.GetUpdateMask().GetPaths(), "deletion_protection")
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, it.Name, &adminpb.UpdateMaterializedViewMetadata{OriginalRequest: req, StartTime: s.began, EndTime: s.ended}, shownMaterialized(it))
}

// DeleteMaterializedView implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) DeleteMaterializedView(ctx context.Context, req *adminpb.DeleteMaterializedViewRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, a.material.Delete(ctx, req.Name, func(it adminstore.Item[*adminpb.MaterializedView]) error {
		if it.Value.DeletionProtection {
			return errProtected(it.Name)
		}
		return it.CheckEtag(req.Etag)
	})
}
