package conformance

import (
	"fmt"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestUndelete: a table that was deleted takes no writes any more, not even by
// a gateway that did not hear of it, and comes back as it was.
func TestUndelete(t *testing.T) {
	inSystem(t, func(s *system) {
		req := &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{"f": {}}}}
		for _, k := range []string{"k3", "k6"} {
			req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(k)})
		}
		_, err := s.tables.CreateTable(s.ctx, req)
		s.must(err)
		for i := range 10 {
			s.write("t", fmt.Sprintf("k%d", i), "old")
		}
		name := parent + "/tables/t"
		increment := func() (byte, error) {
			r, err := s.data.ReadModifyWriteRow(s.ctx, &bigtablepb.ReadModifyWriteRowRequest{TableName: name, RowKey: []byte("k5"), Rules: []*bigtablepb.ReadModifyWriteRule{
				{FamilyName: "f", ColumnQualifier: []byte("n"), Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: 1}}}})
			if err != nil {
				return 0, err
			}
			return r.Row.Families[0].Columns[0].Cells[0].Value[7], nil
		}
		_, err = increment()
		s.must(err)
		for range 2 {
			_, err = s.tables.DeleteTable(s.ctx, &adminpb.DeleteTableRequest{Name: name})
			s.must(err)
			if _, err := increment(); status.Code(err) != codes.NotFound {
				t.Errorf("a write to a deleted table: %v", err)
			}
			op, err := s.tables.UndeleteTable(s.ctx, &adminpb.UndeleteTableRequest{Name: name})
			s.must(err)
			var back adminpb.Table
			if s.must(op.GetResponse().UnmarshalTo(&back)); !op.Done || back.Name != name || len(back.ColumnFamilies) != 1 {
				t.Errorf("%v", op)
			}
		}
		rows := s.read("t")
		delete(rows, "") // the second cell of k5
		if len(rows) != 10 {
			t.Errorf("%d rows came back", len(rows))
		}
		if n, err := increment(); err != nil || n != 2 {
			t.Errorf("the counter came back as %d, %v", n, err)
		}
		_, err = s.tables.DeleteTable(s.ctx, &adminpb.DeleteTableRequest{Name: name})
		s.must(err)
		_, err = s.tables.CreateTable(s.ctx, req)
		s.must(err)
		if _, err := s.tables.UndeleteTable(s.ctx, &adminpb.UndeleteTableRequest{Name: name}); status.Code(err) != codes.AlreadyExists {
			t.Errorf("undelete beside a table of that name: %v", err)
		}
		if n := len(s.read("t")); n != 0 {
			t.Errorf("%d rows in a new table", n)
		}
	})
}
