package client

import (
	"context"
	"errors"
	"strings"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/client/masterclient"
	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// native asks the active master for changes and reads meta by itself.
type native struct {
	meta   *meta.Store
	master *masterclient.Client
	router *router.Router
}

func (n *native) createTable(ctx context.Context, req *adminpb.CreateTableRequest) error {
	return n.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		_, err := m.CreateTable(ctx, req)
		return err
	})
}

func (n *native) deleteTable(ctx context.Context, req *adminpb.DeleteTableRequest) error {
	return n.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		_, err := m.DeleteTable(ctx, req)
		return err
	})
}

func (n *native) modifyFamilies(ctx context.Context, req *adminpb.ModifyColumnFamiliesRequest) error {
	return n.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		_, err := m.ModifyColumnFamilies(ctx, req)
		return err
	})
}

// table reads the record of a table.
func (n *native) table(ctx context.Context, name string) (meta.Table, error) {
	if _, err := schema.ParseName(name); err != nil {
		return meta.Table{}, err
	}
	t, err := n.meta.TableByName(ctx, name)
	if errors.Is(err, base.ErrNotFound) {
		return meta.Table{}, schema.NotFound(name)
	}
	return t, err
}

func (n *native) getTable(ctx context.Context, req *adminpb.GetTableRequest) (*adminpb.Table, error) {
	t, err := n.table(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return schema.Table(t.Record, req.View), nil
}

func (n *native) listTables(ctx context.Context, req *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error) {
	tables, _, err := n.meta.ListTables(ctx, req.Parent+"/tables/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	resp := &adminpb.ListTablesResponse{}
	for _, t := range tables {
		resp.Tables = append(resp.Tables, &adminpb.Table{Name: strings.Clone(t.Name)})
	}
	return resp, nil
}

func (n *native) dropRows(ctx context.Context, req *adminpb.DropRowRangeRequest) error {
	return n.router.DropRows(ctx, []byte(req.Name), rowset.Of(rowset.Prefix(req.GetRowKeyPrefix())))
}

func (g *gatewayServer) createTable(ctx context.Context, req *adminpb.CreateTableRequest) error {
	_, err := g.admin.CreateTable(ctx, req)
	return rpc.FromStatus(err)
}

func (g *gatewayServer) deleteTable(ctx context.Context, req *adminpb.DeleteTableRequest) error {
	_, err := g.admin.DeleteTable(ctx, req)
	return rpc.FromStatus(err)
}

func (g *gatewayServer) modifyFamilies(ctx context.Context, req *adminpb.ModifyColumnFamiliesRequest) error {
	_, err := g.admin.ModifyColumnFamilies(ctx, req)
	return rpc.FromStatus(err)
}

func (g *gatewayServer) getTable(ctx context.Context, req *adminpb.GetTableRequest) (*adminpb.Table, error) {
	t, err := g.admin.GetTable(ctx, req)
	return t, rpc.FromStatus(err)
}

func (g *gatewayServer) listTables(ctx context.Context, req *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error) {
	resp, err := g.admin.ListTables(ctx, req)
	return resp, rpc.FromStatus(err)
}

func (g *gatewayServer) dropRows(ctx context.Context, req *adminpb.DropRowRangeRequest) error {
	_, err := g.admin.DropRowRange(ctx, req)
	return rpc.FromStatus(err)
}
