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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// tableAdmin is google.bigtable.admin.v2.BigtableTableAdmin. What makes, alters
// and deletes tables goes through the master; what reads goes to meta, and
// works without a master. What it does not have is UNIMPLEMENTED.
type tableAdmin struct {
	adminpb.UnimplementedBigtableTableAdminServer
	g *Gateway
}

// CreateTable implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) CreateTable(ctx context.Context, req *adminpb.CreateTableRequest) (t *adminpb.Table, err error) {
	err = a.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) (err error) {
		t, err = m.CreateTable(ctx, req)
		return err
	})
	return t, err
}

// DeleteTable implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) DeleteTable(ctx context.Context, req *adminpb.DeleteTableRequest) (*emptypb.Empty, error) {
	err := a.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		_, err := m.DeleteTable(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.g.router.Forget(req.Name)
	return &emptypb.Empty{}, nil
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
func (a *tableAdmin) table(ctx context.Context, name string) (meta.Table, error) {
	if _, err := schema.ParseName(name); err != nil {
		return meta.Table{}, err
	}
	t, err := a.g.meta.TableByName(ctx, name)
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
	return schema.Table(t.Record, req.View), nil
}

// ListTables implements adminpb.BigtableTableAdminServer. Tables are listed by
// name; a page token is the last name of the page before.
func (a *tableAdmin) ListTables(ctx context.Context, req *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error) {
	if _, err := schema.ParseParent(req.Parent); err != nil {
		return nil, err
	}
	if req.PageSize < 0 {
		return nil, base.Invalidf("Error in field 'page_size' : must not be negative")
	}
	tables, _, err := a.g.meta.ListTables(ctx, req.Parent+"/tables/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	tables = slices.DeleteFunc(tables, func(t meta.Table) bool { return t.Name <= req.PageToken })
	slices.SortFunc(tables, func(x, y meta.Table) int { return strings.Compare(x.Name, y.Name) })
	resp := &adminpb.ListTablesResponse{}
	if n := int(req.PageSize); n > 0 && len(tables) > n {
		tables = tables[:n]
		resp.NextPageToken = tables[n-1].Name
	}
	view := req.View
	if view == adminpb.Table_VIEW_UNSPECIFIED {
		view = adminpb.Table_NAME_ONLY
	}
	for _, t := range tables {
		resp.Tables = append(resp.Tables, schema.Table(t.Record, view))
	}
	return resp, nil
}

// UpdateTable implements adminpb.BigtableTableAdminServer for
// deletion_protection.
func (a *tableAdmin) UpdateTable(ctx context.Context, req *adminpb.UpdateTableRequest) (*longrunningpb.Operation, error) {
	if len(req.GetUpdateMask().GetPaths()) == 0 {
		return nil, base.Invalidf("Error in field 'update_mask' : must name what to update")
	}
	for _, p := range req.UpdateMask.Paths {
		if p != "deletion_protection" {
			return nil, base.Textf(base.ErrUnimplemented, "UpdateTable: field %q cannot be updated", p)
		}
	}
	began := timestamppb.Now()
	rec, err := a.update(ctx, req.GetTable().GetName(), func(rec *metapb.TableRecord) error {
		if rec.Spec == nil {
			rec.Spec = &adminpb.Table{}
		}
		rec.Spec.DeletionProtection = req.Table.DeletionProtection
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.g.ops.done(rec.Name,
		&adminpb.UpdateTableMetadata{Name: rec.Name, StartTime: began, EndTime: timestamppb.Now()},
		schema.Table(rec, adminpb.Table_SCHEMA_VIEW))
}

// update changes the record of a table until no other change comes between.
func (a *tableAdmin) update(ctx context.Context, name string, f func(*metapb.TableRecord) error) (*metapb.TableRecord, error) {
	for {
		t, err := a.table(ctx, name)
		if err != nil {
			return nil, err
		}
		rec := proto.CloneOf(t.Record)
		if err := f(rec); err != nil {
			return nil, err
		}
		t, err = a.g.meta.UpdateTable(ctx, t, rec)
		if !errors.Is(err, base.ErrAborted) || ctx.Err() != nil {
			return t.Record, err
		}
	}
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
