package gateway

import (
	"context"
	"errors"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// dropBatch is how many rows are deleted by one request.
const dropBatch = 1000

// DropRowRange implements adminpb.BigtableTableAdminServer: it deletes the rows
// that are there when it passes, in batches. A failure leaves the rest, and
// calling it again goes on.
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
	d := dropper{router: a.g.router, table: []byte(req.Name)}
	if err := d.run(ctx, rowset.Of(rowset.Prefix(prefix))); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// dropper deletes rows.
type dropper struct {
	router *router.Router
	table  []byte
	batch  [][]byte // entries of a MutateRowsRequest
}

func (d *dropper) run(ctx context.Context, rows rowset.Set) error {
	req, err := proto.Marshal(&bigtablepb.ReadRowsRequest{
		TableName: string(d.table), Rows: rows.Proto(),
		Filter: &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: []*bigtablepb.RowFilter{
			{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: 1}},
			{Filter: &bigtablepb.RowFilter_StripValueTransformer{StripValueTransformer: true}},
		}}}},
	})
	if err != nil {
		return err
	}
	err = d.router.ReadRows(ctx, d.table, router.Scan{Rows: rows}, req, func(b mem.Buffer) error {
		defer b.Free()
		var resp bigtablepb.ReadRowsResponse
		if err := proto.Unmarshal(b.ReadOnlyData(), &resp); err != nil {
			return err
		}
		for _, c := range resp.Chunks {
			if len(c.RowKey) > 0 {
				d.batch = append(d.batch, deleteEntry(c.RowKey))
			}
		}
		if len(d.batch) < dropBatch {
			return nil
		}
		return d.flush(ctx)
	})
	if err != nil {
		return err
	}
	return d.flush(ctx)
}

func (d *dropper) flush(ctx context.Context) error {
	if len(d.batch) == 0 {
		return nil
	}
	errs, err := d.router.MutateRows(ctx, d.table, d.batch)
	d.batch = d.batch[:0]
	if err != nil {
		return err
	}
	return errors.Join(errs...)
}

// deleteEntry returns a MutateRowsRequest.Entry that deletes a row.
func deleteEntry(row []byte) []byte {
	b := protowire.AppendTag(nil, 1, protowire.BytesType) // row_key
	b = protowire.AppendBytes(b, row)
	b = protowire.AppendTag(b, 2, protowire.BytesType) // mutations
	return append(b, 2, 4<<3|2, 0)                     // of one delete_from_row
}
