package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// tableAdmin is google.bigtable.admin.v2.BigtableTableAdmin. What makes, alters
// and deletes tables goes through the master; what reads goes to meta, and
// works without a master. What is not offered says so (notoffered.go): the
// compiler asks for every method of the API.
type tableAdmin struct {
	adminpb.UnsafeBigtableTableAdminServer
	*catalog
	g *Gateway
}

// CreateTable implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) CreateTable(ctx context.Context, req *adminpb.CreateTableRequest) (t *adminpb.Table, err error) {
	if err := checkSpec(req.GetTable(), req.GetTable().GetColumnFamilies()); err != nil {
		return nil, err
	}
	if a.strict {
		if _, _, err := a.instance(ctx, req.GetParent()); err != nil {
			return nil, err
		}
	}
	err = a.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) (err error) {
		t, err = m.CreateTable(ctx, req)
		return err
	})
	return t, err
}

// DeleteTable implements adminpb.BigtableTableAdminServer: with what belongs
// to the table, unless that is protected.
func (a *tableAdmin) DeleteTable(ctx context.Context, req *adminpb.DeleteTableRequest) (*emptypb.Empty, error) {
	t, err := a.table(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	if t.Record.GetSpec().GetChangeStreamConfig() != nil {
		return nil, base.Textf(base.ErrPrecondition, "table %q has a change stream; disable it first", req.Name)
	}
	views, err := a.views.List(ctx, req.Name+"/authorizedViews/")
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.Table == t.ID && v.Value.DeletionProtection {
			return nil, errProtected(v.Name)
		}
	}
	err = a.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		_, err := m.DeleteTable(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.g.router.Forget(req.Name)
	// What stays behind where this does not succeed names a table id that is
	// never used again, and so does not exist.
	err = adminstore.Forget(ctx, a.ls, req.Name+"/", adminstore.AuthorizedView, adminstore.SchemaBundle, adminstore.Policy)
	if err == nil {
		err = a.policies.Delete(ctx, req.Name, nil)
	}
	if err != nil && !errors.Is(err, base.ErrNotFound) {
		a.g.log.WarnContext(ctx, "the views and policies of a deleted table stay behind", "table", req.Name, "err", err)
	}
	return &emptypb.Empty{}, nil
}

// UndeleteTable implements adminpb.BigtableTableAdminServer. Views, bundles and
// policies do not come back with the table.
func (a *tableAdmin) UndeleteTable(ctx context.Context, req *adminpb.UndeleteTableRequest) (*longrunningpb.Operation, error) {
	s := begin()
	var t *adminpb.Table
	err := a.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) (err error) {
		t, err = m.UndeleteTable(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.g.router.Forget(req.Name)
	s = s.end()
	return a.g.ops.done(ctx, req.Name, &adminpb.UndeleteTableMetadata{Name: req.Name, StartTime: s.began, EndTime: s.ended}, t)
}

// ModifyColumnFamilies implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) ModifyColumnFamilies(ctx context.Context, req *adminpb.ModifyColumnFamiliesRequest) (t *adminpb.Table, err error) {
	err = a.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) (err error) {
		t, err = m.ModifyColumnFamilies(ctx, req)
		return err
	})
	return t, err
}

// table reads the record of a table.
func (c *catalog) table(ctx context.Context, name string) (meta.Table, error) {
	if _, err := schema.ParseName(name); err != nil {
		return meta.Table{}, err
	}
	t, err := c.meta.TableByName(ctx, name)
	if errors.Is(err, base.ErrNotFound) {
		return meta.Table{}, schema.NotFound(name)
	}
	return t, err
}

// GetTable implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GetTable(ctx context.Context, req *adminpb.GetTableRequest) (*adminpb.Table, error) {
	t, err := a.table(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return a.show(ctx, t.Record, req.View)
}

// ListTables implements adminpb.BigtableTableAdminServer. Tables are listed by
// name; a page token is the last name of the page before.
func (a *tableAdmin) ListTables(ctx context.Context, req *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error) {
	if _, err := schema.ParseParent(req.Parent); err != nil {
		return nil, err
	}
	if a.strict {
		if _, _, err := a.instance(ctx, req.Parent); err != nil {
			return nil, err
		}
	}
	tables, _, err := a.meta.ListTables(ctx, req.Parent+"/tables/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tables, func(x, y meta.Table) int { return strings.Compare(x.Name, y.Name) })
	tables, next, err := page(tables, func(t meta.Table) string { return t.Name }, req.PageSize, req.PageToken)
	if err != nil {
		return nil, err
	}
	resp := &adminpb.ListTablesResponse{NextPageToken: next}
	view := req.View
	if view == adminpb.Table_VIEW_UNSPECIFIED {
		view = adminpb.Table_NAME_ONLY
	}
	for _, t := range tables {
		shown, err := a.show(ctx, t.Record, view)
		if err != nil {
			return nil, err
		}
		resp.Tables = append(resp.Tables, shown)
	}
	return resp, nil
}

// GenerateConsistencyToken implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GenerateConsistencyToken(ctx context.Context, req *adminpb.GenerateConsistencyTokenRequest) (*adminpb.GenerateConsistencyTokenResponse, error) {
	t, err := a.table(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return &adminpb.GenerateConsistencyTokenResponse{ConsistencyToken: fmt.Sprintf("%s%d-%d", tokenPrefix, t.ID, time.Now().UnixMicro())}, nil
}

const tokenPrefix = "tabletdb-"

// CheckConsistency implements adminpb.BigtableTableAdminServer: there is one
// copy of each row, which all reads see.
func (a *tableAdmin) CheckConsistency(ctx context.Context, req *adminpb.CheckConsistencyRequest) (*adminpb.CheckConsistencyResponse, error) {
	if _, err := a.table(ctx, req.Name); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(req.ConsistencyToken, tokenPrefix) {
		return nil, base.Invalidf("Invalid consistency token %q", req.ConsistencyToken)
	}
	return &adminpb.CheckConsistencyResponse{Consistent: true}, nil
}

// DropRowRange implements adminpb.BigtableTableAdminServer: it deletes the rows
// that are there when it passes.
func (a *tableAdmin) DropRowRange(ctx context.Context, req *adminpb.DropRowRangeRequest) (*emptypb.Empty, error) {
	if _, err := a.table(ctx, req.Name); err != nil {
		return nil, err
	}
	var prefix []byte
	switch t := req.Target.(type) {
	case *adminpb.DropRowRangeRequest_RowKeyPrefix:
		if prefix = t.RowKeyPrefix; len(prefix) == 0 || len(prefix) > rowset.MaxRowKey {
			return nil, base.Invalidf("Error in field 'row_key_prefix' : must have 1 to %d bytes, but has %d", rowset.MaxRowKey, len(prefix))
		}
	case *adminpb.DropRowRangeRequest_DeleteAllDataFromTable:
		if !t.DeleteAllDataFromTable {
			return nil, base.Invalidf("Error in field 'delete_all_data_from_table' : must be true")
		}
	default:
		return nil, base.Invalidf("DropRowRange needs row_key_prefix or delete_all_data_from_table")
	}
	if err := a.g.router.DropRows(ctx, []byte(req.Name), rowset.Of(rowset.Prefix(prefix))); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
