package gateway

import (
	"context"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/gateway/view"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// authorizedView reads a view of a table that exists.
func (c *catalog) authorizedView(ctx context.Context, name string) (adminstore.Item[*adminpb.AuthorizedView], error) {
	none := adminstore.Item[*adminpb.AuthorizedView]{}
	table, _, err := ofTable(name, "authorizedViews")
	if err != nil {
		return none, err
	}
	t, err := c.table(ctx, table)
	if err != nil {
		return none, err
	}
	it, err := c.views.Get(ctx, name)
	if err == nil && it.Table != t.ID {
		err = c.views.NotFound(name)
	}
	return it, err
}

func checkView(name string, v *adminpb.AuthorizedView) error {
	if v.GetSubsetView() == nil {
		return base.Invalidf("Error in field 'subset_view' : must be set")
	}
	_, err := view.Compile(name, v.GetSubsetView())
	return err
}

// shownView returns what a view of a view shows. BASIC is all but the subset.
func shownView(it adminstore.Item[*adminpb.AuthorizedView], how adminpb.AuthorizedView_ResponseView) *adminpb.AuthorizedView {
	v := it.Value
	v.Name = it.Name
	switch how {
	case adminpb.AuthorizedView_NAME_ONLY:
		return &adminpb.AuthorizedView{Name: it.Name}
	case adminpb.AuthorizedView_BASIC:
		return &adminpb.AuthorizedView{Name: it.Name, Etag: it.Etag(), DeletionProtection: v.DeletionProtection}
	}
	v.Etag = it.Etag()
	return v
}

// CreateAuthorizedView implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) CreateAuthorizedView(ctx context.Context, req *adminpb.CreateAuthorizedViewRequest) (*longrunningpb.Operation, error) {
	s := begin()
	t, err := a.table(ctx, req.Parent)
	if err != nil {
		return nil, err
	}
	if err := schema.CheckID("authorized view", req.AuthorizedViewId, 128); err != nil {
		return nil, err
	}
	name := req.Parent + "/authorizedViews/" + req.AuthorizedViewId
	if err := checkView(name, req.AuthorizedView); err != nil {
		return nil, err
	}
	v := proto.CloneOf(req.AuthorizedView)
	v.Name, v.Etag = "", ""
	it, err := a.views.Create(ctx, name, t.ID, v)
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.CreateAuthorizedViewMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended},
		shownView(it, adminpb.AuthorizedView_FULL))
}

// GetAuthorizedView implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GetAuthorizedView(ctx context.Context, req *adminpb.GetAuthorizedViewRequest) (*adminpb.AuthorizedView, error) {
	it, err := a.authorizedView(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return shownView(it, req.View), nil
}

// ListAuthorizedViews implements adminpb.BigtableTableAdminServer, by name.
func (a *tableAdmin) ListAuthorizedViews(ctx context.Context, req *adminpb.ListAuthorizedViewsRequest) (*adminpb.ListAuthorizedViewsResponse, error) {
	t, err := a.table(ctx, req.Parent)
	if err != nil {
		return nil, err
	}
	items, err := a.views.List(ctx, req.Parent+"/authorizedViews/")
	if err != nil {
		return nil, err
	}
	items, next, err := page(items, func(i adminstore.Item[*adminpb.AuthorizedView]) string { return i.Name }, req.PageSize, req.PageToken)
	how := req.View
	if how == adminpb.AuthorizedView_RESPONSE_VIEW_UNSPECIFIED {
		how = adminpb.AuthorizedView_NAME_ONLY
	}
	resp := &adminpb.ListAuthorizedViewsResponse{NextPageToken: next}
	for _, it := range items {
		if it.Table == t.ID {
			resp.AuthorizedViews = append(resp.AuthorizedViews, shownView(it, how))
		}
	}
	return resp, err
}

// UpdateAuthorizedView implements adminpb.BigtableTableAdminServer. Requests
// that are under way may still see the view as it was.
func (a *tableAdmin) UpdateAuthorizedView(ctx context.Context, req *adminpb.UpdateAuthorizedViewRequest) (*longrunningpb.Operation, error) {
	s := begin()
	name := req.GetAuthorizedView().GetName()
	if _, err := a.authorizedView(ctx, name); err != nil {
		return nil, err
	}
	it, err := a.views.Update(ctx, name, func(it adminstore.Item[*adminpb.AuthorizedView], v *adminpb.AuthorizedView) error {
		if err := it.CheckEtag(req.AuthorizedView.Etag); err != nil {
			return err
		}
		if err := adminstore.ApplyMask(v, req.AuthorizedView, req.GetUpdateMask().GetPaths(), "deletion_protection", "subset_view"); err != nil {
			return err
		}
		return checkView(name, v)
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.UpdateAuthorizedViewMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended},
		shownView(it, adminpb.AuthorizedView_FULL))
}

// DeleteAuthorizedView implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) DeleteAuthorizedView(ctx context.Context, req *adminpb.DeleteAuthorizedViewRequest) (*emptypb.Empty, error) {
	if _, err := a.authorizedView(ctx, req.Name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, a.views.Delete(ctx, req.Name, func(it adminstore.Item[*adminpb.AuthorizedView]) error {
		if it.Value.DeletionProtection {
			return errProtected(it.Name)
		}
		return it.CheckEtag(req.Etag)
	})
}
