package view

import (
	"errors"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
)

func compile(t *testing.T, s *adminpb.AuthorizedView_SubsetView) *View {
	t.Helper()
	v, err := Compile("v", s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func subset() *adminpb.AuthorizedView_SubsetView {
	return &adminpb.AuthorizedView_SubsetView{
		RowPrefixes: [][]byte{[]byte("a"), []byte("ab"), []byte("x")},
		FamilySubsets: map[string]*adminpb.AuthorizedView_FamilySubsets{
			"f": {Qualifiers: [][]byte{[]byte("q"), []byte("pre1"), {}}, QualifierPrefixes: [][]byte{[]byte("pre")}},
			"g": {QualifierPrefixes: [][]byte{{}}},
		},
	}
}

func TestFilter(t *testing.T) {
	v := compile(t, subset())
	if n := len(v.Rows().Ranges()); n != 2 {
		t.Errorf("%d ranges of rows", n)
	}
	// Ranges that overlap are one, so that no cell is returned twice.
	if n := len(v.Filter(nil).GetInterleave().GetFilters()); n != 4 {
		t.Errorf("%v", v.Filter(nil))
	}
	user := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Sink{Sink: true}}
	if c := v.Filter(user).GetChain().GetFilters(); len(c) != 2 || c[0] != v.filter || c[1] != user {
		t.Errorf("%v", c)
	}
	chain := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: []*bigtablepb.RowFilter{user, user}}}}
	if c := v.Filter(chain).GetChain().GetFilters(); len(c) != 3 || c[0] != v.filter || c[2] != user {
		t.Errorf("%v", c)
	}
	nothing := compile(t, &adminpb.AuthorizedView_SubsetView{RowPrefixes: [][]byte{{}}})
	if !nothing.Filter(nil).GetBlockAllFilter() || !nothing.Rows().IsAll() {
		t.Errorf("%v", nothing.Filter(nil))
	}
	if !compile(t, &adminpb.AuthorizedView_SubsetView{}).Rows().IsEmpty() {
		t.Error("a view without prefixes has rows")
	}
}

func set(family, qualifier string) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{FamilyName: family, ColumnQualifier: []byte(qualifier)}}}
}

func TestChecks(t *testing.T) {
	v := compile(t, subset())
	deleteFamily := func(f string) *bigtablepb.Mutation {
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: f}}}
	}
	deleteColumn := func(f, q string) *bigtablepb.Mutation {
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromColumn_{DeleteFromColumn: &bigtablepb.Mutation_DeleteFromColumn{FamilyName: f, ColumnQualifier: []byte(q)}}}
	}
	row := &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}
	for _, c := range []struct {
		row string
		ok  bool
		m   []*bigtablepb.Mutation
	}{
		{"a", true, []*bigtablepb.Mutation{set("f", "q"), set("f", ""), set("f", "pre"), set("f", "prefix"), set("g", "anything")}},
		{"xyz", true, []*bigtablepb.Mutation{deleteFamily("g"), deleteColumn("f", "q")}},
		{"b", false, []*bigtablepb.Mutation{set("f", "q")}},
		{"", false, []*bigtablepb.Mutation{set("f", "q")}},
		{"a", false, []*bigtablepb.Mutation{set("f", "q"), set("f", "q1")}},
		{"a", false, []*bigtablepb.Mutation{set("f", "pr")}},
		{"a", false, []*bigtablepb.Mutation{set("h", "q")}},
		{"a", false, []*bigtablepb.Mutation{deleteFamily("f")}},
		{"a", false, []*bigtablepb.Mutation{deleteFamily("h")}},
		{"a", false, []*bigtablepb.Mutation{deleteColumn("f", "r")}},
		{"a", false, []*bigtablepb.Mutation{row}},
	} {
		raw, err := proto.Marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("k"), Mutations: c.m})
		if err != nil {
			t.Fatal(err)
		}
		var e mutation.Entry
		if err := mutation.ParseEntry(raw, &e); err != nil {
			t.Fatal(err)
		}
		err = v.CheckMutations([]byte(c.row), e.Mutations)
		if c.ok && err != nil || !c.ok && !errors.Is(err, base.ErrPermission) {
			t.Errorf("row %q, %v: %v", c.row, c.m, err)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, s := range []*adminpb.AuthorizedView_SubsetView{
		{FamilySubsets: map[string]*adminpb.AuthorizedView_FamilySubsets{"no/name": {}}},
		{RowPrefixes: [][]byte{make([]byte, 5000)}},
	} {
		if _, err := Compile("v", s); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}
