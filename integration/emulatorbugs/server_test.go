package emulatorbugs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/chunk/chunktest"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

const parent = "projects/p/instances/i"

// server is a cluster in memory, as a test sees it.
type server struct {
	*testing.T
	ctx    context.Context
	cc     *grpc.ClientConn
	data   bigtablepb.BigtableClient
	tables adminpb.BigtableTableAdminClient
	table  string // of families f and g, which keep everything
}

// open starts a cluster, unless the environment names another server.
func open(t *testing.T) *grpc.ClientConn {
	if addr := os.Getenv("EMULATORBUGS_SERVER"); addr != "" {
		return dial(t, addr)
	}
	c, err := cluster.Open(t.Context(), cluster.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return dial(t, c.Gateway())
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	cc, err := rpc.Dial(rpc.TCP{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// newServer returns the server for a test, with a table of its own.
func newServer(t *testing.T, cc *grpc.ClientConn, id string) *server {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s := &server{T: t, ctx: ctx, cc: cc, data: bigtablepb.NewBigtableClient(cc), tables: adminpb.NewBigtableTableAdminClient(cc), table: parent + "/tables/" + id}
	s.create(id, map[string]*adminpb.ColumnFamily{"f": {}, "g": {}})
	return s
}

func (s *server) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// wants checks the code of an error, and that its text says something.
func (s *server) wants(what string, err error, code codes.Code, text string) {
	s.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		s.Errorf("%s: %v; want %v with %q", what, err, code, text)
	}
}

func (s *server) create(id string, families map[string]*adminpb.ColumnFamily, splits ...string) {
	s.Helper()
	req := &adminpb.CreateTableRequest{Parent: parent, TableId: id, Table: &adminpb.Table{ColumnFamilies: families}}
	for _, k := range splits {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(k)})
	}
	_, err := s.tables.CreateTable(s.ctx, req)
	s.must(err)
}

func set(family, qualifier string, ts int64, value string) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: family, ColumnQualifier: []byte(qualifier), TimestampMicros: ts, Value: []byte(value)}}}
}

func (s *server) mutate(table, row string, m ...*bigtablepb.Mutation) error {
	_, err := s.data.MutateRow(s.ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte(row), Mutations: m})
	return err
}

// read returns "row f:q@ts=value" and the labels of every cell, in order.
func (s *server) read(req *bigtablepb.ReadRowsRequest) ([]string, error) {
	if req.TableName == "" {
		req.TableName = s.table
	}
	st, err := s.data.ReadRows(s.ctx, req)
	if err != nil {
		return nil, err
	}
	return chunktest.Cells(st, req.Reversed, func(row []byte, c *chunk.Cell) string {
		cell := fmt.Sprintf("%s %s:%s@%d=%s", row, c.Family, c.Qualifier, c.Timestamp, c.Value)
		for _, l := range c.Labels {
			cell += " " + l
		}
		return cell
	})
}

// filter reads the table through a filter.
func (s *server) filter(f *bigtablepb.RowFilter) ([]string, error) {
	return s.read(&bigtablepb.ReadRowsRequest{Filter: f})
}

func (s *server) expect(what string, got []string, err error, want ...string) {
	s.Helper()
	if err != nil || !slices.Equal(got, want) {
		s.Errorf("%s: %q, %v; want %q", what, got, err, want)
	}
}

// samples returns the keys that SampleRowKeys gives.
func (s *server) samples(table string) []string {
	s.Helper()
	st, err := s.data.SampleRowKeys(s.ctx, &bigtablepb.SampleRowKeysRequest{TableName: table})
	s.must(err)
	var keys []string
	for {
		k, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return keys
		}
		s.must(err)
		keys = append(keys, string(k.RowKey))
	}
}

// reverseScans is the context of a client that announces them.
func (s *server) reverseScans(flags string) context.Context {
	return metadata.AppendToOutgoingContext(s.ctx, "bigtable-features", flags)
}
