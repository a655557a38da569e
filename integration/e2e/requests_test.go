//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Names as the wire has them.
const (
	parent   = "projects/" + project + "/instances/" + instance
	fullName = parent + "/tables/" + tableName
)

// requests calls the Bigtable API without a client library, so that anything
// can be sent.
type requests struct {
	data  bigtablepb.BigtableClient
	admin adminpb.BigtableTableAdminClient
	conn  *grpc.ClientConn
}

func (r requests) mutate(ctx context.Context, table, row string, ms ...*bigtablepb.Mutation) error {
	_, err := r.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte(row), Mutations: ms})
	return err
}

func (r requests) read(ctx context.Context, req *bigtablepb.ReadRowsRequest) error {
	if req.TableName == "" {
		req.TableName = fullName
	}
	stream, err := r.data.ReadRows(ctx, req)
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// raw sends bytes in the place of a message.
func (r requests) raw(ctx context.Context, method string, b []byte) error {
	// An empty message keeps what it does not know, and sends it.
	req := &emptypb.Empty{}
	req.ProtoReflect().SetUnknown(b)
	return r.conn.Invoke(ctx, method, req, &emptypb.Empty{})
}

func setCell(family, column string, micros int64, value []byte) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: family, ColumnQualifier: []byte(column), TimestampMicros: micros, Value: value}}}
}

// TestBadRequests sends what no server can do, and expects the code and a text
// that says what is wrong. Afterwards the server is as well as before.
func TestBadRequests(t *testing.T) {
	c := startCluster(t, small)
	c.createTable()
	conn := dial(t, c.addr[c.gateway])
	r := requests{bigtablepb.NewBigtableClient(conn), adminpb.NewBigtableTableAdminClient(conn), conn}
	cell := setCell(familyLedger, "v", 1000, []byte("x"))
	value := func(filter *bigtablepb.RowFilter) *bigtablepb.ReadRowsRequest {
		return &bigtablepb.ReadRowsRequest{Filter: filter}
	}
	tests := []struct {
		name string
		call func(context.Context) error
		code codes.Code
		text string
	}{
		{"good", func(ctx context.Context) error { return r.mutate(ctx, fullName, "0", cell) }, codes.OK, ""},
		{"longest row key", func(ctx context.Context) error { return r.mutate(ctx, fullName, strings.Repeat("k", 4096), cell) }, codes.OK, ""},
		{"too long row key", func(ctx context.Context) error { return r.mutate(ctx, fullName, strings.Repeat("k", 4097), cell) }, codes.InvalidArgument, "4"},
		{"empty row key", func(ctx context.Context) error { return r.mutate(ctx, fullName, "", cell) }, codes.InvalidArgument, "key"},
		{"no mutations", func(ctx context.Context) error { return r.mutate(ctx, fullName, "0") }, codes.InvalidArgument, "mutations"},
		{"unknown family", func(ctx context.Context) error { return r.mutate(ctx, fullName, "0", setCell("zz", "v", 1000, nil)) }, codes.NotFound, "column family not found"},
		{"empty family", func(ctx context.Context) error { return r.mutate(ctx, fullName, "0", setCell("", "v", 1000, nil)) }, codes.NotFound, "column family not found"},
		{"one family of two unknown", func(ctx context.Context) error {
			return r.mutate(ctx, fullName, "atomic", cell, setCell("zz", "v", 1000, nil))
		}, codes.NotFound, "column family not found"},
		{"too long qualifier", func(ctx context.Context) error {
			return r.mutate(ctx, fullName, "0", setCell(familyLedger, strings.Repeat("q", 16<<10+1), 1000, nil))
		}, codes.InvalidArgument, "16"},
		{"negative timestamp", func(ctx context.Context) error {
			return r.mutate(ctx, fullName, "0", setCell(familyLedger, "v", -5, nil))
		}, codes.InvalidArgument, "imestamp"},
		{"timestamp with microseconds", func(ctx context.Context) error {
			return r.mutate(ctx, fullName, "0", setCell(familyLedger, "v", 1001, nil))
		}, codes.InvalidArgument, "imestamp"},
		{"too large value", func(ctx context.Context) error {
			return r.mutate(ctx, fullName, "0", setCell(familyLedger, "v", 1000, make([]byte, 100<<20+1)))
		}, codes.InvalidArgument, ""},
		{"request beyond every limit", func(ctx context.Context) error {
			return r.mutate(ctx, fullName, "0", setCell(familyLedger, "v", 1000, make([]byte, 300<<20)))
		}, codes.ResourceExhausted, "larger than max"},
		{"empty mutation", func(ctx context.Context) error { return r.mutate(ctx, fullName, "0", &bigtablepb.Mutation{}) }, codes.InvalidArgument, ""},
		{"unknown table", func(ctx context.Context) error { return r.mutate(ctx, parent+"/tables/none", "0", cell) }, codes.NotFound, "none"},
		{"unknown instance", func(ctx context.Context) error {
			return r.mutate(ctx, "projects/p/instances/nowhere/tables/none", "0", cell)
		}, codes.NotFound, "none"},
		{"bad table name", func(ctx context.Context) error { return r.mutate(ctx, "none", "0", cell) }, codes.InvalidArgument, "none"},
		{"no table name", func(ctx context.Context) error { return r.mutate(ctx, "", "0", cell) }, codes.InvalidArgument, ""},
		{"increment of what is no number", func(ctx context.Context) error {
			_, err := r.data.ReadModifyWriteRow(ctx, &bigtablepb.ReadModifyWriteRowRequest{TableName: fullName, RowKey: []byte("0"),
				Rules: []*bigtablepb.ReadModifyWriteRule{{FamilyName: familyLedger, ColumnQualifier: []byte("v"),
					Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: 1}}}})
			return err
		}, codes.InvalidArgument, "64-bit"},
		{"read-modify-write without rules", func(ctx context.Context) error {
			_, err := r.data.ReadModifyWriteRow(ctx, &bigtablepb.ReadModifyWriteRowRequest{TableName: fullName, RowKey: []byte("0")})
			return err
		}, codes.InvalidArgument, "ules"},
		{"check without mutations", func(ctx context.Context) error {
			_, err := r.data.CheckAndMutateRow(ctx, &bigtablepb.CheckAndMutateRowRequest{TableName: fullName, RowKey: []byte("0")})
			return err
		}, codes.InvalidArgument, "mutations"},
		{"check with one branch", func(ctx context.Context) error {
			_, err := r.data.CheckAndMutateRow(ctx, &bigtablepb.CheckAndMutateRowRequest{TableName: fullName, RowKey: []byte("no such row"),
				TrueMutations: []*bigtablepb.Mutation{cell}})
			return err
		}, codes.OK, ""},
		{"bulk without entries", func(ctx context.Context) error {
			stream, err := r.data.MutateRows(ctx, &bigtablepb.MutateRowsRequest{TableName: fullName})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.InvalidArgument, ""},
		{"bulk with a bad entry", func(ctx context.Context) error { // only the entry fails
			stream, err := r.data.MutateRows(ctx, &bigtablepb.MutateRowsRequest{TableName: fullName, Entries: []*bigtablepb.MutateRowsRequest_Entry{
				{RowKey: []byte("1"), Mutations: []*bigtablepb.Mutation{cell}},
				{RowKey: []byte("2"), Mutations: []*bigtablepb.Mutation{setCell("zz", "v", 1000, nil)}}}})
			if err != nil {
				return err
			}
			codeOf := map[int64]codes.Code{}
			for {
				resp, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return err
				}
				for _, e := range resp.Entries {
					codeOf[e.Index] = codes.Code(e.Status.GetCode())
				}
			}
			if codeOf[0] != codes.OK || codeOf[1] != codes.NotFound || len(codeOf) != 2 {
				t.Errorf("bulk with a bad entry: %v", codeOf)
			}
			return nil
		}, codes.OK, ""},
		{"bad regular expression", func(ctx context.Context) error {
			return r.read(ctx, value(&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_RowKeyRegexFilter{RowKeyRegexFilter: []byte("(")}}))
		}, codes.InvalidArgument, ""},
		{"chain of one", func(ctx context.Context) error {
			return r.read(ctx, value(&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{}}}))
		}, codes.InvalidArgument, ""},
		{"negative limit", func(ctx context.Context) error { return r.read(ctx, &bigtablepb.ReadRowsRequest{RowsLimit: -1}) }, codes.InvalidArgument, "limit"},
		{"range backwards", func(ctx context.Context) error {
			return r.read(ctx, &bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowRanges: []*bigtablepb.RowRange{{
				StartKey: &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: []byte("b")}, EndKey: &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte("a")}}}}})
		}, codes.InvalidArgument, ""},
		{"read of an unknown table", func(ctx context.Context) error {
			return r.read(ctx, &bigtablepb.ReadRowsRequest{TableName: parent + "/tables/none"})
		}, codes.NotFound, "none"},
		{"bytes that are no message", func(ctx context.Context) error {
			return r.raw(ctx, bigtablepb.Bigtable_MutateRow_FullMethodName, []byte{0x0a, 0xff, 0xff, 0xff, 0x7f})
		}, codes.InvalidArgument, ""},
		{"noise", func(ctx context.Context) error {
			return r.raw(ctx, bigtablepb.Bigtable_CheckAndMutateRow_FullMethodName, bytes.Repeat([]byte{0xff}, 100))
		}, codes.InvalidArgument, ""},
		{"unknown method", func(ctx context.Context) error {
			return r.raw(ctx, "/google.bigtable.v2.Bigtable/Fly", nil)
		}, codes.Unimplemented, ""},
		{"unknown service", func(ctx context.Context) error { return r.raw(ctx, "/no.such/Service", nil) }, codes.Unimplemented, ""},
		{"table that exists", func(ctx context.Context) error {
			_, err := r.admin.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: tableName, Table: &adminpb.Table{}})
			return err
		}, codes.AlreadyExists, tableName},
		{"bad table id", func(ctx context.Context) error {
			_, err := r.admin.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: "a/b c", Table: &adminpb.Table{}})
			return err
		}, codes.InvalidArgument, ""},
		{"bad family name", func(ctx context.Context) error {
			_, err := r.admin.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: "t2",
				Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{"a:b": {}}}})
			return err
		}, codes.InvalidArgument, ""},
		{"deletion of an unknown table", func(ctx context.Context) error {
			_, err := r.admin.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: parent + "/tables/none"})
			return err
		}, codes.NotFound, "none"},
		{"half of a bad write is not there", func(ctx context.Context) error {
			stream, err := r.data.ReadRows(ctx, &bigtablepb.ReadRowsRequest{TableName: fullName, Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("atomic")}}})
			if err != nil {
				return err
			}
			if resp, err := stream.Recv(); !errors.Is(err, io.EOF) && len(resp.GetChunks()) > 0 {
				t.Errorf("half of a bad write is there: %v, %v", resp, err)
			}
			return nil
		}, codes.OK, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := test.call(ctx)
			text := status.Convert(err).Message()
			if status.Code(err) != test.code || !strings.Contains(text, test.text) {
				t.Errorf("got %v %.300q, want %v and a text with %q", status.Code(err), text, test.code, test.text)
			}
		})
	}
	c.writeEach("after")
	for _, p := range c.all() {
		if !p.running() {
			t.Errorf("%s has ended: %v\n%s", p.name, p.exit(), tail(p.log))
		}
	}
}
