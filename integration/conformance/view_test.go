package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/chunk/chunktest"
)

func setCell(family, qualifier, value string) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: family, ColumnQualifier: []byte(qualifier), TimestampMicros: 1000, Value: []byte(value)}}}
}

// cells reads "row/family:qualifier" of everything a request returns.
func (s *system) cells(req *bigtablepb.ReadRowsRequest) ([]string, error) {
	st, err := s.data.ReadRows(s.ctx, req)
	if err != nil {
		return nil, err
	}
	return chunktest.Cells(st, req.Reversed, func(row []byte, c *chunk.Cell) string {
		return fmt.Sprintf("%s/%s:%s", row, c.Family, c.Qualifier)
	})
}

// TestAuthorizedView: through a view nothing else is seen, by whatever filter,
// and nothing else is written.
func TestAuthorizedView(t *testing.T) {
	inSystem(t, func(s *system) {
		s.createTable("t", "b", "r15")
		table, view := parent+"/tables/t", parent+"/tables/t/authorizedViews/v"
		for _, r := range []string{"a", "r1", "r12", "r16", "r2"} {
			_, err := s.data.MutateRow(s.ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte(r),
				Mutations: []*bigtablepb.Mutation{setCell("e", "q", "v"), setCell("f", "p1", "v"), setCell("f", "p2", "v"), setCell("f", "q", "v"), setCell("f", "secret", "v")}})
			s.must(err)
		}
		subset := &adminpb.AuthorizedView_SubsetView{RowPrefixes: [][]byte{[]byte("r1")}, FamilySubsets: map[string]*adminpb.AuthorizedView_FamilySubsets{
			"f": {Qualifiers: [][]byte{[]byte("q"), []byte("p1")}, QualifierPrefixes: [][]byte{[]byte("p")}}}}
		_, err := s.tables.CreateAuthorizedView(s.ctx, &adminpb.CreateAuthorizedViewRequest{Parent: table, AuthorizedViewId: "v",
			AuthorizedView: &adminpb.AuthorizedView{AuthorizedView: &adminpb.AuthorizedView_SubsetView_{SubsetView: subset}}})
		s.must(err)

		chain := func(f ...*bigtablepb.RowFilter) *bigtablepb.RowFilter {
			return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: f}}}
		}
		sink := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Sink{Sink: true}}
		pass := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_PassAllFilter{PassAllFilter: true}}
		secret := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte("secret")}}
		condition := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Condition_{Condition: &bigtablepb.RowFilter_Condition{PredicateFilter: secret, TrueFilter: pass}}}
		row := []string{"/f:p1", "/f:p2", "/f:q"}
		var all []string
		for _, r := range []string{"r1", "r12", "r16"} {
			for _, c := range row {
				all = append(all, r+c)
			}
		}
		for name, c := range map[string]struct {
			req  *bigtablepb.ReadRowsRequest
			want []string
		}{
			"all":       {&bigtablepb.ReadRowsRequest{}, all},
			"rows":      {&bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("a"), []byte("r12")}}}, all[3:6]},
			"no row":    {&bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("r2")}}}, nil},
			"limit":     {&bigtablepb.ReadRowsRequest{RowsLimit: 1}, all[:3]},
			"filter":    {&bigtablepb.ReadRowsRequest{Filter: secret}, nil},
			"sink":      {&bigtablepb.ReadRowsRequest{Filter: chain(sink, pass)}, all},
			"condition": {&bigtablepb.ReadRowsRequest{Filter: condition}, nil},
		} {
			c.req.AuthorizedViewName = view
			if got, err := s.cells(c.req); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
			}
		}
		s.viewWrites(view)

		st, err := s.data.SampleRowKeys(s.ctx, &bigtablepb.SampleRowKeysRequest{AuthorizedViewName: view})
		s.must(err)
		var keys []string
		for {
			k, err := st.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			s.must(err)
			keys = append(keys, string(k.RowKey))
		}
		if !slices.Equal(keys, []string{"r15", "r2"}) {
			t.Errorf("samples %q", keys)
		}

		// A change is seen soon, the end of the view as well.
		subset.RowPrefixes = [][]byte{[]byte("a")}
		_, err = s.tables.UpdateAuthorizedView(s.ctx, &adminpb.UpdateAuthorizedViewRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"subset_view"}},
			AuthorizedView: &adminpb.AuthorizedView{Name: view, AuthorizedView: &adminpb.AuthorizedView_SubsetView_{SubsetView: subset}}})
		s.must(err)
		time.Sleep(1100 * time.Millisecond)
		if got, err := s.cells(&bigtablepb.ReadRowsRequest{AuthorizedViewName: view}); err != nil || !slices.Equal(got, []string{"a/f:p1", "a/f:p2", "a/f:q"}) {
			t.Errorf("%q, %v", got, err)
		}
		_, err = s.tables.DeleteAuthorizedView(s.ctx, &adminpb.DeleteAuthorizedViewRequest{Name: view})
		s.must(err)
		time.Sleep(1100 * time.Millisecond)
		if _, err := s.cells(&bigtablepb.ReadRowsRequest{AuthorizedViewName: view}); status.Code(err) != codes.NotFound {
			t.Errorf("%v", err)
		}
	})
}

// viewWrites writes through the view of TestAuthorizedView.
func (s *system) viewWrites(view string) {
	in, out := []*bigtablepb.Mutation{setCell("f", "p9", "v")}, []*bigtablepb.Mutation{setCell("f", "secret", "w")}
	one := func(row string, m []*bigtablepb.Mutation) error {
		_, err := s.data.MutateRow(s.ctx, &bigtablepb.MutateRowRequest{AuthorizedViewName: view, RowKey: []byte(row), Mutations: m})
		return err
	}
	check := func(row string, yes, no []*bigtablepb.Mutation, f *bigtablepb.RowFilter) (bool, error) {
		r, err := s.data.CheckAndMutateRow(s.ctx, &bigtablepb.CheckAndMutateRowRequest{AuthorizedViewName: view, RowKey: []byte(row), TrueMutations: yes, FalseMutations: no, PredicateFilter: f})
		return r.GetPredicateMatched(), err
	}
	modify := func(row, family, qualifier string) error {
		_, err := s.data.ReadModifyWriteRow(s.ctx, &bigtablepb.ReadModifyWriteRowRequest{AuthorizedViewName: view, RowKey: []byte(row), Rules: []*bigtablepb.ReadModifyWriteRule{{
			FamilyName: family, ColumnQualifier: []byte(qualifier), Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("x")}}}})
		return err
	}
	_, crossed := check("r1", in, out, nil)
	for i, c := range []struct {
		err  error
		code codes.Code
	}{
		{one("r17", in), codes.OK}, {one("r2", in), codes.PermissionDenied}, {one("r1", out), codes.PermissionDenied},
		{one("r1", append(slices.Clone(in), out...)), codes.PermissionDenied},
		{crossed, codes.PermissionDenied}, {modify("r1", "f", "q"), codes.OK}, {modify("r1", "e", "q"), codes.PermissionDenied}, {modify("r2", "f", "q"), codes.PermissionDenied},
	} {
		if status.Code(c.err) != c.code {
			s.Errorf("write %d: %v; want %v", i, c.err, c.code)
		}
	}
	secret := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte("secret")}}
	if m, err := check("r1", in, in, secret); err != nil || m {
		s.Errorf("a condition on what the view hides: %v, %v", m, err)
	}
	if m, err := check("r1", in, nil, nil); err != nil || !m {
		s.Errorf("a condition on any cell: %v, %v", m, err)
	}
	st, err := s.data.MutateRows(s.ctx, &bigtablepb.MutateRowsRequest{AuthorizedViewName: view, Entries: []*bigtablepb.MutateRowsRequest_Entry{
		{RowKey: []byte("r2"), Mutations: in}, {RowKey: []byte("r18"), Mutations: in}, {RowKey: []byte("r18"), Mutations: out}, {RowKey: []byte("r19")}}})
	s.must(err)
	resp, err := st.Recv()
	s.must(err)
	for i, want := range []codes.Code{codes.PermissionDenied, codes.OK, codes.PermissionDenied, codes.InvalidArgument} {
		if got := codes.Code(resp.Entries[i].Status.Code); got != want {
			s.Errorf("entry %d: %v; want %v", i, got, want)
		}
	}
}

// TestMessagesEndWithRows: Google's Go client takes a message that ends within
// a row for a broken stream.
func TestMessagesEndWithRows(t *testing.T) {
	inSystem(t, func(s *system) {
		s.createTable("t", "row5")
		for r := range 10 {
			var m []*bigtablepb.Mutation
			for c := range 7 {
				m = append(m, setCell("f", fmt.Sprint(c), string(bytes.Repeat([]byte("x"), 150<<10))))
			}
			_, err := s.data.MutateRow(s.ctx, &bigtablepb.MutateRowRequest{TableName: parent + "/tables/t", RowKey: fmt.Append(nil, "row", r), Mutations: m})
			s.must(err)
		}
		st, err := s.data.ReadRows(s.ctx, &bigtablepb.ReadRowsRequest{TableName: parent + "/tables/t"})
		s.must(err)
		for rows := 0; ; {
			m, err := st.Recv()
			if errors.Is(err, io.EOF) {
				if rows != 10 {
					t.Errorf("%d rows", rows)
				}
				return
			}
			s.must(err)
			for i, c := range m.Chunks {
				if c.GetCommitRow() {
					rows++
				} else if i == len(m.Chunks)-1 {
					t.Errorf("a message of %d chunks ends within row %d", len(m.Chunks), rows)
				}
			}
		}
	})
}
