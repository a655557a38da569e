package emulatorbugs

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// bugs are the emulator's, by the number they have in our notes. Number 12 was
// none; those without one have 0.
var bugs = []struct {
	number int
	name   string
	right  func(*server)
}{
	{1, "a failed MutateRow leaves its earlier mutations applied", atomicMutateRow},
	{2, "cells_per_row_limit picks cells at random", cellsPerRow},
	{3, "sink is ignored", sink},
	{4, "value_bitmask is ignored", valueBitmask},
	{5, "row keys have no limit", rowKeyLimit},
	{6, "CheckAndMutateRow takes no mutations", emptyCheckAndMutate},
	{7, "DeleteFromFamily of an unknown family succeeds", deleteUnknownFamily},
	{8, "an unknown family is UNKNOWN", unknownFamily},
	{9, "entries of MutateRows fail with INTERNAL", entryCodes},
	{10, "names are not checked", names},
	{11, "reversed without the header says only UNIMPLEMENTED", reversed},
	{13, "an RPC that is not implemented ends the server", everyMethod},
	{0, "initial_splits is ignored", initialSplits},
	{0, "SampleRowKeys is one row in a hundred, by chance", sampleRowKeys},
	{0, "intersections of GC rules are not applied", gcIntersection},
	{0, "GC rules of CreateTable are not applied", gcFromCreateTable},
	{0, "AddToCell knows sums only", aggregates},
	{0, "cells_per_row_offset skips cells at random", cellsPerRowOffset},
	{0, "a label may have more than its characters", labels},
	{0, "timestamps that the client generates are refused (until v1.58.0)", timestampOrigin},
	{0, "UpdateTable's operation is of no service", operations},
}

func TestEmulatorBugs(t *testing.T) {
	cc := open(t)
	numbers := map[int]bool{}
	for i, b := range bugs {
		numbers[b.number] = true
		name := b.name
		if b.number > 0 {
			name = fmt.Sprintf("%d %s", b.number, b.name)
		}
		t.Run(name, func(t *testing.T) { b.right(newServer(t, cc, fmt.Sprintf("t%d", i))) })
	}
	for n := 1; n <= 13; n++ {
		if !numbers[n] && n != 12 {
			t.Errorf("number %d is not tested", n)
		}
	}
}

func atomicMutateRow(s *server) {
	s.wants("half wrong", s.mutate(s.table, "r", set("f", "a", 1000, "1"), set("absent", "a", 1000, "2")), codes.NotFound, "")
	s.wants("half wrong", s.mutate(s.table, "r", set("f", "a", 1000, "1"), set("f", "a", 1001, "2")), codes.InvalidArgument, "granularity")
	got, err := s.filter(nil)
	s.expect("after failures", got, err)
}

// sixCells writes a row of six cells in two families.
func (s *server) sixCells() []string {
	s.Helper()
	s.must(s.mutate(s.table, "r", set("g", "a", 2000, "4"), set("f", "b", 1000, "3"), set("f", "a", 2000, "1"), set("f", "a", 1000, "2"), set("g", "b", 1000, "6"), set("g", "a", 1000, "5")))
	return []string{"r f:a@2000=1", "r f:a@1000=2", "r f:b@1000=3", "r g:a@2000=4", "r g:a@1000=5", "r g:b@1000=6"}
}

func cellsPerRow(s *server) {
	all := s.sixCells()
	for range 40 {
		for n := int32(1); n <= 6; n++ {
			got, err := s.filter(&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: n}})
			s.expect(fmt.Sprint("limit ", n), got, err, all[:n]...)
		}
	}
}

func cellsPerRowOffset(s *server) {
	all := s.sixCells()
	for range 40 {
		for n := int32(1); n < 6; n++ {
			got, err := s.filter(&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerRowOffsetFilter{CellsPerRowOffsetFilter: n}})
			s.expect(fmt.Sprint("offset ", n), got, err, all[n:]...)
		}
	}
}

func chain(f ...*bigtablepb.RowFilter) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: f}}}
}

func interleave(f ...*bigtablepb.RowFilter) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Interleave_{Interleave: &bigtablepb.RowFilter_Interleave{Filters: f}}}
}

func label(l string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ApplyLabelTransformer{ApplyLabelTransformer: l}}
}

// sink is the example of the API's documentation.
func sink(s *server) {
	s.must(s.mutate(s.table, "r", set("f", "A", 1000, "w"), set("f", "A", 2000, "x"), set("f", "B", 4000, "z"), set("g", "B", 3000, "y")))
	got, err := s.filter(chain(
		&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: "f"}},
		interleave(
			&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_PassAllFilter{PassAllFilter: true}},
			chain(label("foo"), &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Sink{Sink: true}})),
		&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ColumnQualifierRegexFilter{ColumnQualifierRegexFilter: []byte("B")}}))
	slices.Sort(got) // duplicates may come in any order
	s.expect("sink", got, err, "r f:A@1000=w foo", "r f:A@2000=x foo", "r f:B@4000=z", "r f:B@4000=z foo")
}

func valueBitmask(s *server) {
	s.must(s.mutate(s.table, "r", set("f", "a", 1000, "\x0f"), set("f", "b", 1000, "\x05"), set("f", "c", 1000, "\x05\x00"), set("f", "d", 1000, "")))
	got, err := s.filter(&bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_ValueBitmaskFilter{ValueBitmaskFilter: &bigtablepb.ValueBitmask{Mask: []byte{0x0a}}}})
	s.expect("bitmask", got, err, "r f:a@1000=\x0f")
}

func rowKeyLimit(s *server) {
	s.must(s.mutate(s.table, strings.Repeat("k", 4096), set("f", "a", 1000, "")))
	s.wants("4097 bytes", s.mutate(s.table, strings.Repeat("k", 4097), set("f", "a", 1000, "")), codes.InvalidArgument, "4096")
	s.wants("5000 bytes", s.mutate(s.table, strings.Repeat("k", 5000), set("f", "a", 1000, "")), codes.InvalidArgument, "4096")
	s.wants("no byte", s.mutate(s.table, "", set("f", "a", 1000, "")), codes.InvalidArgument, "")
}

func emptyCheckAndMutate(s *server) {
	_, err := s.data.CheckAndMutateRow(s.ctx, &bigtablepb.CheckAndMutateRowRequest{TableName: s.table, RowKey: []byte("r")})
	s.wants("neither list", err, codes.InvalidArgument, "mutations")
	s.wants("MutateRow", s.mutate(s.table, "r"), codes.InvalidArgument, "mutations")
}

func deleteUnknownFamily(s *server) {
	s.wants("delete", s.mutate(s.table, "r", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{
		DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: "absent"}}}), codes.NotFound, "family not found")
}

func unknownFamily(s *server) {
	s.wants("MutateRow", s.mutate(s.table, "r", set("absent", "a", 1000, "")), codes.NotFound, "family not found")
	_, err := s.data.ReadModifyWriteRow(s.ctx, &bigtablepb.ReadModifyWriteRowRequest{TableName: s.table, RowKey: []byte("r"), Rules: []*bigtablepb.ReadModifyWriteRule{{
		FamilyName: "absent", Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("x")}}}})
	s.wants("ReadModifyWriteRow", err, codes.NotFound, "family not found")
	_, err = s.data.CheckAndMutateRow(s.ctx, &bigtablepb.CheckAndMutateRowRequest{TableName: s.table, RowKey: []byte("r"), FalseMutations: []*bigtablepb.Mutation{set("absent", "a", 1000, "")}})
	s.wants("CheckAndMutateRow", err, codes.NotFound, "family not found")
}

func entryCodes(s *server) {
	st, err := s.data.MutateRows(s.ctx, &bigtablepb.MutateRowsRequest{TableName: s.table, Entries: []*bigtablepb.MutateRowsRequest_Entry{
		{RowKey: []byte("a"), Mutations: []*bigtablepb.Mutation{set("absent", "a", 1000, "")}},
		{RowKey: []byte("b"), Mutations: []*bigtablepb.Mutation{set("f", "a", 1000, "")}},
		{RowKey: []byte("c"), Mutations: []*bigtablepb.Mutation{set("f", "a", 1001, "")}},
		{RowKey: []byte("d")},
		{Mutations: []*bigtablepb.Mutation{set("f", "a", 1000, "")}},
	}})
	s.must(err)
	got := make([]codes.Code, 5)
	for seen := 0; seen < len(got); {
		m, err := st.Recv()
		s.must(err)
		for _, e := range m.Entries {
			got[e.Index] = codes.Code(e.Status.GetCode())
			seen++
		}
	}
	if want := []codes.Code{codes.NotFound, codes.OK, codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument}; !slices.Equal(got, want) {
		s.Errorf("%v, want %v", got, want)
	}
}

func names(s *server) {
	for _, c := range []struct{ parent, id, family string }{
		{"garbage", "t", "f"}, {"", "t", "f"}, {"projects/p/instances/", "t", "f"}, {"projects/p/instances/i/tables/t", "t", "f"},
		{parent, "bad table id!!", "f"}, {parent, "", "f"}, {parent, strings.Repeat("t", 51), "f"}, {parent, "-t", "f"},
		{parent, "t", "bad family"}, {parent, "t", ""}, {parent, "t", strings.Repeat("f", 65)},
	} {
		_, err := s.tables.CreateTable(s.ctx, &adminpb.CreateTableRequest{Parent: c.parent, TableId: c.id, Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{c.family: {}}}})
		s.wants(fmt.Sprintf("%q", c), err, codes.InvalidArgument, "")
	}
	_, err := s.read(&bigtablepb.ReadRowsRequest{TableName: "garbage"})
	s.wants("read", err, codes.InvalidArgument, "")
	s.wants("write", s.mutate("garbage", "r", set("f", "a", 1000, "")), codes.InvalidArgument, "")
}

func reversed(s *server) {
	for _, r := range []string{"a", "b", "c"} {
		s.must(s.mutate(s.table, r, set("f", "a", 1000, ""), set("f", "b", 1000, "")))
	}
	_, err := s.read(&bigtablepb.ReadRowsRequest{Reversed: true})
	s.wants("without the header", err, codes.Unimplemented, "reverse_scans")
	b, err := proto.Marshal(&bigtablepb.FeatureFlags{ReverseScans: true})
	s.must(err)
	for _, e := range []*base64.Encoding{base64.URLEncoding, base64.RawURLEncoding} {
		with := *s
		with.ctx = s.reverseScans(e.EncodeToString(b))
		got, err := with.read(&bigtablepb.ReadRowsRequest{Reversed: true, RowsLimit: 2})
		s.expect("reversed", got, err, "c f:a@1000=", "c f:b@1000=", "b f:a@1000=", "b f:b@1000=")
	}
}

func initialSplits(s *server) {
	s.create("split", map[string]*adminpb.ColumnFamily{"f": {}}, "b", "m", "x")
	if got := s.samples(parent + "/tables/split"); !slices.Equal(got, []string{"b", "m", "x", ""}) {
		s.Errorf("an empty table is split at %q", got)
	}
}

func sampleRowKeys(s *server) {
	for i := range 300 {
		s.must(s.mutate(s.table, fmt.Sprintf("r%03d", i), set("f", "a", 1000, "")))
	}
	for range 5 {
		if got := s.samples(s.table); !slices.Equal(got, []string{""}) {
			s.Errorf("a small table of one tablet is sampled at %q", got)
		}
	}
}

func versions(n int32) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: n}}
}

func gcIntersection(s *server) {
	rule := &adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: []*adminpb.GcRule{
		versions(1), {Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(1 << 40)}}}}}}
	old := &adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: []*adminpb.GcRule{
		versions(1), {Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(1e9)}}}}}}
	never := &adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: []*adminpb.GcRule{
		versions(1), {Rule: &adminpb.GcRule_MaxAge{MaxAge: &durationpb.Duration{Seconds: 1e9 * 9}}}}}}}
	s.create("gc", map[string]*adminpb.ColumnFamily{"aged": {GcRule: rule}, "old": {GcRule: old}, "young": {GcRule: never}})
	for _, f := range []string{"aged", "old", "young"} {
		s.must(s.mutate(parent+"/tables/gc", "r", set(f, "a", 2000, "2"), set(f, "a", 1000, "1")))
	}
	got, err := s.read(&bigtablepb.ReadRowsRequest{TableName: parent + "/tables/gc"})
	s.expect("what is old and a second version goes, what is only one of these stays", sorted(got), err,
		"r aged:a@2000=2", "r old:a@2000=2", "r young:a@1000=1", "r young:a@2000=2")
}

func sorted(s []string) []string { slices.Sort(s); return s }

func gcFromCreateTable(s *server) {
	s.create("gccreate", map[string]*adminpb.ColumnFamily{"v": {GcRule: versions(2)}})
	table := parent + "/tables/gccreate"
	s.must(s.mutate(table, "r", set("v", "a", 1000, "1"), set("v", "a", 2000, "2"), set("v", "a", 3000, "3")))
	got, err := s.read(&bigtablepb.ReadRowsRequest{TableName: table})
	s.expect("two versions", got, err, "r v:a@3000=3", "r v:a@2000=2")
}

func aggregate(a *adminpb.Type_Aggregate) *adminpb.ColumnFamily {
	a.InputType = &adminpb.Type{Kind: &adminpb.Type_Int64Type{Int64Type: &adminpb.Type_Int64{
		Encoding: &adminpb.Type_Int64_Encoding{Encoding: &adminpb.Type_Int64_Encoding_BigEndianBytes_{BigEndianBytes: &adminpb.Type_Int64_Encoding_BigEndianBytes{}}}}}}
	return &adminpb.ColumnFamily{ValueType: &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: a}}}
}

func aggregates(s *server) {
	s.create("agg", map[string]*adminpb.ColumnFamily{
		"sum": aggregate(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Sum_{Sum: &adminpb.Type_Aggregate_Sum{}}}),
		"min": aggregate(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Min_{Min: &adminpb.Type_Aggregate_Min{}}}),
		"max": aggregate(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Max_{Max: &adminpb.Type_Aggregate_Max{}}}),
	})
	table := parent + "/tables/agg"
	add := func(family string, n int64) *bigtablepb.Mutation {
		return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_AddToCell_{AddToCell: &bigtablepb.Mutation_AddToCell{FamilyName: family,
			ColumnQualifier: &bigtablepb.Value{Kind: &bigtablepb.Value_RawValue{RawValue: []byte("a")}},
			Timestamp:       &bigtablepb.Value{Kind: &bigtablepb.Value_RawTimestampMicros{RawTimestampMicros: 1000}},
			Input:           &bigtablepb.Value{Kind: &bigtablepb.Value_IntValue{IntValue: n}}}}}
	}
	for _, n := range []int64{5, -3, 4} {
		s.must(s.mutate(table, "r", add("sum", n), add("min", n), add("max", n)))
	}
	value := func(n int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	got, err := s.read(&bigtablepb.ReadRowsRequest{TableName: table})
	s.expect("aggregates", sorted(got), err, sorted([]string{"r sum:a@1000=" + value(6), "r min:a@1000=" + value(-3), "r max:a@1000=" + value(5)})...)
	s.wants("AddToCell to a family of values", s.mutate(s.table, "r", add("f", 1)), codes.InvalidArgument, "")

	s.create("hll", map[string]*adminpb.ColumnFamily{
		"h": aggregate(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_HllppUniqueCount{HllppUniqueCount: &adminpb.Type_Aggregate_HyperLogLogPlusPlusUniqueCount{}}})})
	s.wants("HyperLogLog is refused, not computed wrongly", s.mutate(parent+"/tables/hll", "r", add("h", 1)), codes.Unimplemented, "hllpp")
}

func labels(s *server) {
	s.sixCells()
	for _, l := range []string{"", "Upper", "a b", "abcdefghijklmnop", "a\nb", "x!"} {
		_, err := s.filter(label(l))
		s.wants(fmt.Sprintf("label %q", l), err, codes.InvalidArgument, "")
	}
}

func timestampOrigin(s *server) {
	generated := set("f", "a", 1234567, "x")
	generated.TimestampOrigin = bigtablepb.Mutation_CLIENT_AUTO_GENERATED
	s.must(s.mutate(s.table, "r", generated))
	got, err := s.filter(nil)
	s.expect("cut to the granularity", got, err, "r f:a@1234000=x")
	s.wants("a user's own", s.mutate(s.table, "r", set("f", "a", 1234567, "x")), codes.InvalidArgument, "granularity")
}

func operations(s *server) {
	_, id, _ := strings.Cut(s.table, "/tables/")
	var last string
	for _, protected := range []bool{true, false} {
		op, err := s.tables.UpdateTable(s.ctx, &adminpb.UpdateTableRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"deletion_protection"}},
			Table: &adminpb.Table{Name: s.table, DeletionProtection: protected}})
		s.must(err)
		var t adminpb.Table
		s.must(op.GetResponse().UnmarshalTo(&t))
		if op.Name == last || t.DeletionProtection != protected || len(t.ColumnFamilies) != 2 {
			s.Errorf("%s: operation %q after %q with %v", id, op.Name, last, &t)
		}
		last = op.Name
		s.kept(op)
	}
}
