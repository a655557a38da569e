package router

import (
	"context"
	"errors"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/rowset"
)

// dropBatch is how many rows are deleted by one request.
const dropBatch = 1000

// DropRows deletes the rows of the set that are there when it passes, in
// batches. A failure leaves the rest; calling it again goes on.
func (r *Router) DropRows(ctx context.Context, table []byte, rows rowset.Set) error {
	d := dropper{router: r, table: table}
	return d.run(ctx, rows)
}

// dropper deletes rows.
type dropper struct {
	router *Router
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
	err = d.router.ReadRows(ctx, d.table, Scan{Rows: rows}, req, func(b mem.Buffer) error {
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
