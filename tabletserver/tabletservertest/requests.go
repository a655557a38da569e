package tabletservertest

import (
	"context"
	"encoding/binary"
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func target(t meta.Tablet) route.Target { return route.Target{Tablet: t.ID, Epoch: t.Epoch} }

// Set writes a cell and returns the error.
func (s *Server) Set(ctx context.Context, t meta.Tablet, row, family, qualifier string, ts int64, value string) error {
	return s.Mutate(ctx, t, row, SetCell(family, qualifier, ts, value))
}

// Mutate applies mutations to a row.
func (s *Server) Mutate(ctx context.Context, t meta.Tablet, row string, m ...*bigtablepb.Mutation) error {
	return s.MutateOnce(ctx, t, nil, row, m...)
}

// Once is the id of a request, and which attempt at it this is.
type Once struct {
	ID      mutation.ID
	Attempt uint32
}

// append appends the id to a request; nil appends none.
func (o *Once) append(req []byte) []byte {
	if o == nil {
		return req
	}
	return mutation.AppendID(req, o.ID, o.Attempt)
}

// MutateOnce is Mutate with an id.
func (s *Server) MutateOnce(ctx context.Context, t meta.Tablet, o *Once, row string, m ...*bigtablepb.Mutation) error {
	req, err := proto.Marshal(&bigtablepb.MutateRowRequest{TableName: "t", RowKey: []byte(row), Mutations: m})
	s.F.Must(err)
	return s.MutateRow(ctx, target(t), o.append(req))
}

// Read returns the rows that a request yields, each as "row family:qualifier@ts=value ...".
func (s *Server) Read(ctx context.Context, t meta.Tablet, r *bigtablepb.ReadRowsRequest) ([]string, error) {
	var rows []string
	err := s.Scan(ctx, t, r, func(row *chunk.Row) {
		line := string(row.Key)
		for _, c := range row.Cells {
			line += fmt.Sprintf(" %s:%s@%d=%s", c.Family, c.Qualifier, c.Timestamp, c.Value)
		}
		rows = append(rows, line)
	})
	return rows, err
}

// Scan calls f with each row that a request yields; it is valid during the call.
func (s *Server) Scan(ctx context.Context, t meta.Tablet, r *bigtablepb.ReadRowsRequest, f func(*chunk.Row)) error {
	req, err := proto.Marshal(r)
	s.F.Must(err)
	d := chunk.Decoder{Reversed: r.Reversed}
	err = s.ReadRows(ctx, target(t), route.Scan{}, req, func(b mem.Buffer, _ route.FrameInfo) error {
		defer b.Free()
		return d.Decode(b.ReadOnlyData(), func(row *chunk.Row) error { f(row); return nil })
	})
	if err == nil {
		err = d.Close()
	}
	return err
}

// All returns all rows of a tablet.
func (s *Server) All(ctx context.Context, t meta.Tablet) []string {
	s.F.T.Helper()
	rows, err := s.Read(ctx, t, &bigtablepb.ReadRowsRequest{})
	s.F.Must(err)
	return rows
}

// Increment adds n to a counter and returns its new value.
func (s *Server) Increment(ctx context.Context, t meta.Tablet, row, family, qualifier string, n int64) (int64, error) {
	return s.IncrementOnce(ctx, t, nil, row, family, qualifier, n)
}

// IncrementOnce is Increment with an id.
func (s *Server) IncrementOnce(ctx context.Context, t meta.Tablet, o *Once, row, family, qualifier string, n int64) (int64, error) {
	req, err := proto.Marshal(&bigtablepb.ReadModifyWriteRowRequest{TableName: "t", RowKey: []byte(row), Rules: []*bigtablepb.ReadModifyWriteRule{{
		FamilyName: family, ColumnQualifier: []byte(qualifier), Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: n},
	}}})
	s.F.Must(err)
	b, err := s.ReadModifyWriteRow(ctx, target(t), o.append(req))
	if err != nil {
		return 0, err
	}
	var resp bigtablepb.ReadModifyWriteRowResponse
	s.F.Must(proto.Unmarshal(b, &resp))
	return int64(binary.BigEndian.Uint64(resp.Row.Families[0].Columns[0].Cells[0].Value)), nil
}

// SetCell returns the mutation that Set applies.
func SetCell(family, qualifier string, ts int64, value string) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: family, ColumnQualifier: []byte(qualifier), TimestampMicros: ts, Value: []byte(value),
	}}}
}

// CheckAndMutate applies yes if the row has any cell, else no, and returns
// whether it has.
func (s *Server) CheckAndMutate(ctx context.Context, t meta.Tablet, row string, yes, no []*bigtablepb.Mutation) (bool, error) {
	return s.CheckAndMutateOnce(ctx, t, nil, row, yes, no)
}

// CheckAndMutateOnce is CheckAndMutate with an id.
func (s *Server) CheckAndMutateOnce(ctx context.Context, t meta.Tablet, o *Once, row string, yes, no []*bigtablepb.Mutation) (bool, error) {
	req, err := proto.Marshal(&bigtablepb.CheckAndMutateRowRequest{TableName: "t", RowKey: []byte(row), TrueMutations: yes, FalseMutations: no})
	s.F.Must(err)
	return s.CheckAndMutateRow(ctx, target(t), o.append(req))
}

// Drop drops the rows of [start, end); an empty end is none.
func (s *Server) Drop(ctx context.Context, t meta.Tablet, o *Once, start, end string) error {
	req, err := route.AppendDrop(nil, rowset.Range{Start: []byte(start), End: []byte(end)})
	s.F.Must(err)
	return s.DropRows(ctx, target(t), o.append(req))
}

// Unload makes the server release a tablet.
func (s *Server) Unload(ctx context.Context, t meta.Tablet) error {
	_, err := s.Control().Unload(ctx, &controlpb.UnloadRequest{Tablet: &controlpb.TabletID{
		Table: uint64(t.Table), Tablet: uint64(t.ID), End: t.End, Tepoch: uint64(t.Epoch),
	}})
	return err
}

// Split splits a tablet at a row and returns the records of its children.
func (s *Server) Split(ctx context.Context, t meta.Tablet, row string) ([]meta.Tablet, error) {
	r, err := s.Control().Split(ctx, &controlpb.SplitRequest{Tablet: tabletID(t), Row: []byte(row), Why: "test"})
	if err != nil {
		return nil, err
	}
	return s.F.records(ctx, t.Table, r.Children...)
}

// Merge merges two neighbours and returns the record of the merger.
func (s *Server) Merge(ctx context.Context, left, right meta.Tablet) (meta.Tablet, error) {
	r, err := s.Control().Merge(ctx, &controlpb.MergeRequest{Left: tabletID(left), Right: tabletID(right), Why: "test"})
	if err != nil {
		return meta.Tablet{}, err
	}
	list, err := s.F.records(ctx, left.Table, r.Merged)
	if err != nil {
		return meta.Tablet{}, err
	}
	return list[0], nil
}

// HandOver makes the server release a tablet to another.
func (s *Server) HandOver(ctx context.Context, t meta.Tablet, to *Server) error {
	_, err := s.Control().Unload(ctx, &controlpb.UnloadRequest{
		Tablet: tabletID(t), To: meta.IncarnationProto(to.Incarnation()), ToAddress: to.Addr, Why: "test",
	})
	return err
}

func tabletID(t meta.Tablet) *controlpb.TabletID {
	return &controlpb.TabletID{Table: uint64(t.Table), Tablet: uint64(t.ID), End: t.End, Tepoch: uint64(t.Epoch)}
}

// Compact flushes a tablet and merges all its runs.
func (s *Server) Compact(ctx context.Context, t meta.Tablet) error {
	_, err := s.Control().Compact(ctx, &controlpb.CompactRequest{Tablets: []uint64{uint64(t.ID)}})
	return err
}

// Flush flushes a tablet.
func (s *Server) Flush(ctx context.Context, t meta.Tablet) error {
	_, err := s.Control().Flush(ctx, &controlpb.FlushRequest{Tablets: []uint64{uint64(t.ID)}})
	return err
}

// Adopt has a tablet adopt a bulk load.
func (s *Server) Adopt(ctx context.Context, t meta.Tablet, load base.LoadID) error {
	_, err := s.Control().Adopt(ctx, &controlpb.AdoptRequest{Tablet: tabletID(t), Load: uint64(load)})
	return err
}
