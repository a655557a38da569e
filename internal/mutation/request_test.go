package mutation

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/base"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func setCell(family, qualifier string, ts int64, value string) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: family, ColumnQualifier: []byte(qualifier), TimestampMicros: ts, Value: []byte(value)}}}
}

func wantError(t *testing.T, err error, sentinel error, text string) {
	t.Helper()
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v; want one that is %q and says %q", err, sentinel, text)
	}
}

func TestParseMutateRow(t *testing.T) {
	raw := marshal(t, &bigtablepb.MutateRowRequest{
		TableName: "projects/p/instances/i/tables/t", AuthorizedViewName: "v", AppProfileId: "a", RowKey: []byte("row"),
		Mutations:   []*bigtablepb.Mutation{setCell("f", "q", 1000, "x"), setCell("f", "r", -1, "y")},
		Idempotency: &bigtablepb.Idempotency{Token: []byte("12345678"), StartTime: &timestamppb.Timestamp{Seconds: 5, Nanos: 7000}},
	})
	r, err := ParseMutateRow(raw)
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Table) != "projects/p/instances/i/tables/t" || string(r.AuthorizedView) != "v" || string(r.AppProfile) != "a" ||
		string(r.Row) != "row" || r.Mutations.Len() != 2 || string(r.Idempotency.Token) != "12345678" || r.Idempotency.StartMicros != 5_000_007 {
		t.Fatalf("parsed %+v", r)
	}
	it := r.Mutations.Iter()
	var op Op
	for i, want := range []string{"q", "r"} {
		if ok, err := it.Next(&op); !ok || err != nil || string(op.Qualifier) != want {
			t.Fatalf("mutation %d: %v, %v, qualifier %q", i, ok, err, op.Qualifier)
		}
	}
	if ok, err := it.Next(&op); ok || err != nil {
		t.Fatalf("after the last: %v, %v", ok, err)
	}
}

func TestParseMutateRowErrors(t *testing.T) {
	one := []*bigtablepb.Mutation{setCell("f", "q", 0, "")}
	many := make([]*bigtablepb.Mutation, MaxMutations+20000)
	for i := range many {
		many[i] = one[0]
	}
	for _, c := range []struct {
		name string
		req  *bigtablepb.MutateRowRequest
		text string
	}{
		{"no row", &bigtablepb.MutateRowRequest{Mutations: one}, "Row keys must be non-empty"},
		{"long row", &bigtablepb.MutateRowRequest{RowKey: make([]byte, 4097), Mutations: one}, "exceeds the limit of 4096 bytes"},
		{"no mutations", &bigtablepb.MutateRowRequest{RowKey: []byte("r")}, "No mutations provided"},
		{"too many", &bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: many}, "Too many mutations: 120000 provided; limit 100000"},
		{"short token", &bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: one, Idempotency: &bigtablepb.Idempotency{Token: []byte("1234567")}}, "at least 8 bytes"},
		{"bad start", &bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: one,
			Idempotency: &bigtablepb.Idempotency{Token: []byte("12345678"), StartTime: &timestamppb.Timestamp{Seconds: -1}}}, "start_time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseMutateRow(marshal(t, c.req))
			wantError(t, err, base.ErrInvalid, c.text)
		})
	}
	good := marshal(t, &bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: one})
	_, err := ParseMutateRow(good[:len(good)-1])
	wantError(t, err, base.ErrInvalid, "Malformed MutateRowRequest")
}

func TestParseMutateRows(t *testing.T) {
	raw := marshal(t, &bigtablepb.MutateRowsRequest{TableName: "t", AppProfileId: "a", AuthorizedViewName: "v",
		Entries: []*bigtablepb.MutateRowsRequest_Entry{
			{RowKey: []byte("a"), Mutations: []*bigtablepb.Mutation{setCell("f", "1", 0, ""), setCell("f", "2", 0, "")}},
			{RowKey: []byte("b")},
			{Mutations: []*bigtablepb.Mutation{setCell("f", "3", 0, "")}},
			{RowKey: []byte("c"), Mutations: []*bigtablepb.Mutation{setCell("f", "4", 0, "")}, Idempotency: &bigtablepb.Idempotency{Token: []byte("12345678")}},
		}})
	r, err := ParseMutateRows(raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.Entries != 4 || r.Mutations != 4 || string(r.Table) != "t" || string(r.AppProfile) != "a" || string(r.AuthorizedView) != "v" {
		t.Fatalf("parsed %+v", r)
	}
	it := r.Iter()
	var e Entry
	for i, want := range []struct {
		row, text string
		n         int
	}{{"a", "", 2}, {"b", "No mutations provided", 0}, {"", "Row keys must be non-empty", 1}, {"c", "", 1}} {
		ok, err := it.Next(&e)
		if !ok || string(e.Row) != want.row || e.Mutations.Len() != want.n {
			t.Fatalf("entry %d: %v, %+v", i, ok, e)
		}
		if want.text != "" {
			wantError(t, err, base.ErrInvalid, want.text)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if string(e.Idempotency.Token) != "12345678" {
		t.Fatalf("token %q", e.Idempotency.Token)
	}
	if ok, _ := it.Next(&e); ok {
		t.Fatal("a fifth entry")
	}
	_, err = ParseMutateRows(marshal(t, &bigtablepb.MutateRowsRequest{Entries: []*bigtablepb.MutateRowsRequest_Entry{{RowKey: []byte("b")}}}))
	wantError(t, err, base.ErrInvalid, "No mutations provided")
}

func TestParseCheckAndMutateRow(t *testing.T) {
	filter := &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_PassAllFilter{PassAllFilter: true}}
	raw := marshal(t, &bigtablepb.CheckAndMutateRowRequest{TableName: "t", RowKey: []byte("r"), PredicateFilter: filter,
		TrueMutations:  []*bigtablepb.Mutation{setCell("f", "1", 0, "")},
		FalseMutations: []*bigtablepb.Mutation{setCell("f", "2", 0, ""), setCell("f", "3", 0, "")}})
	r, err := ParseCheckAndMutateRow(raw)
	if err != nil || r.True.Len() != 1 || r.False.Len() != 2 || !bytes.Equal(r.Predicate, marshal(t, filter)) {
		t.Fatalf("parsed %+v, %v", r, err)
	}
	it := r.False.Iter()
	var op Op
	if ok, err := it.Next(&op); !ok || err != nil || string(op.Qualifier) != "2" {
		t.Fatalf("first false mutation: %v %v %+v", ok, err, op)
	}
	_, err = ParseCheckAndMutateRow(marshal(t, &bigtablepb.CheckAndMutateRowRequest{RowKey: []byte("r")}))
	wantError(t, err, base.ErrInvalid, "No mutations provided")
	r, err = ParseCheckAndMutateRow(marshal(t, &bigtablepb.CheckAndMutateRowRequest{RowKey: []byte("r"),
		TrueMutations: []*bigtablepb.Mutation{setCell("f", "1", 0, "")}}))
	if err != nil || r.Predicate != nil {
		t.Fatalf("without predicate: %+v, %v", r, err)
	}
}

// TestRepeatedSubmessages checks that a field that occurs twice is merged, and
// that the last member of a oneof wins, as proto.Unmarshal has it.
func TestRepeatedSubmessages(t *testing.T) {
	sub := func(num protowire.Number, m proto.Message) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), marshal(t, m))
	}
	raw := sub(1, &bigtablepb.Mutation_SetCell{FamilyName: "lost"})
	raw = append(raw, sub(3, &bigtablepb.Mutation_DeleteFromFamily{FamilyName: "lost"})...)
	raw = append(raw, sub(1, &bigtablepb.Mutation_SetCell{FamilyName: "f", Value: []byte("old")})...)
	raw = append(raw, sub(1, &bigtablepb.Mutation_SetCell{ColumnQualifier: []byte("q"), Value: []byte("new")})...)
	var want bigtablepb.Mutation
	if err := proto.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	var op Op
	if err := parseOp(raw, &op); err != nil {
		t.Fatal(err)
	}
	s := want.GetSetCell()
	if op.Kind != base.KindSet || string(op.Family) != s.FamilyName || !bytes.Equal(op.Qualifier, s.ColumnQualifier) || !bytes.Equal(op.Value, s.Value) {
		t.Fatalf("parsed %+v, want %v", op, &want)
	}
}

// FuzzParse feeds all parsers and checks them against proto.Unmarshal.
func FuzzParse(f *testing.F) {
	f.Add(marshal(f, &bigtablepb.MutateRowRequest{TableName: "t", RowKey: []byte("r"), Mutations: []*bigtablepb.Mutation{setCell("f", "q", 1000, "x")}}))
	f.Add(marshal(f, &bigtablepb.ReadModifyWriteRowRequest{RowKey: []byte("r"), Rules: []*bigtablepb.ReadModifyWriteRule{
		{FamilyName: "f", Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: -1}}}}))
	schema := testSchema()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := ParseMutateRows(raw); err == nil {
			it := r.Iter()
			var e Entry
			for {
				if ok, _ := it.Next(&e); !ok {
					break
				}
			}
		}
		ParseCheckAndMutateRow(raw)
		if r, err := ParseReadModifyWriteRow(raw); err == nil {
			CheckRules(r.Row, r.Rules, schema)
		}
		r, err := ParseMutateRow(raw)
		if err != nil {
			return
		}
		var m bigtablepb.MutateRowRequest
		if proto.Unmarshal(raw, &m) == nil {
			if !bytes.Equal(m.RowKey, r.Row) || m.TableName != string(r.Table) || len(m.Mutations) != r.Mutations.Len() {
				t.Fatalf("parsed %+v, proto says %v", r, &m)
			}
		}
		rec, n, err := AppendRecord([]byte("x"), r.Row, r.Mutations, schema)
		if err != nil || n == 0 {
			if string(rec) != "x" {
				t.Fatalf("dst is %q after %v", rec, err)
			}
			return
		}
		if err := AssignTime(rec[1:], 5000); err != nil {
			t.Fatal(err)
		}
		d, err := Decode(rec[1:])
		if err != nil || d.Len != n || !bytes.Equal(d.Row, r.Row) {
			t.Fatalf("decoded %+v, %v", d, err)
		}
	})
}

// BenchmarkRepeatable is what every write pays for exactly once.
func BenchmarkRepeatable(b *testing.B) {
	raw, err := proto.Marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("row"), Mutations: []*bigtablepb.Mutation{
		{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{FamilyName: "f", ColumnQualifier: []byte("q"), TimestampMicros: 1000, Value: make([]byte, 100)}}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := Repeatable(raw, FormEntry); !ok {
			b.Fatal("not repeatable")
		}
	}
}
