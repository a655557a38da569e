package mutation

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
)

func testSchema() *Families {
	return &Families{ByName: map[string]FamilySpec{
		"f": {ID: 1}, "g": {ID: 300}, "sum": {ID: 3, Aggregate: aggregate.Sum}, "max": {ID: 4, Aggregate: aggregate.Max},
		"hll": {ID: 5, Aggregate: aggregate.HyperLogLog},
	}}
}

func raw(b string) *bigtablepb.Value {
	return &bigtablepb.Value{Kind: &bigtablepb.Value_RawValue{RawValue: []byte(b)}}
}

func integer(v int64) *bigtablepb.Value {
	return &bigtablepb.Value{Kind: &bigtablepb.Value_IntValue{IntValue: v}}
}

func micros(v int64) *bigtablepb.Value {
	return &bigtablepb.Value{Kind: &bigtablepb.Value_RawTimestampMicros{RawTimestampMicros: v}}
}

func addCell(family string, q, ts, in *bigtablepb.Value) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_AddToCell_{AddToCell: &bigtablepb.Mutation_AddToCell{
		FamilyName: family, ColumnQualifier: q, Timestamp: ts, Input: in}}}
}

func mergeCell(family string, q, ts, in *bigtablepb.Value) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_MergeToCell_{MergeToCell: &bigtablepb.Mutation_MergeToCell{
		FamilyName: family, ColumnQualifier: q, Timestamp: ts, Input: in}}}
}

func deleteColumn(family, q string, r *bigtablepb.TimestampRange) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromColumn_{DeleteFromColumn: &bigtablepb.Mutation_DeleteFromColumn{
		FamilyName: family, ColumnQualifier: []byte(q), TimeRange: r}}}
}

func deleteFamily(family string) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: family}}}
}

func deleteRow() *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}
}

func clientTime(m *bigtablepb.Mutation) *bigtablepb.Mutation {
	m.TimestampOrigin = bigtablepb.Mutation_CLIENT_AUTO_GENERATED
	return m
}

func list(t testing.TB, muts ...*bigtablepb.Mutation) List {
	t.Helper()
	r, err := ParseMutateRow(marshal(t, &bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: muts}))
	if err != nil {
		t.Fatal(err)
	}
	return r.Mutations
}

// dump writes a record in readable form.
func dump(t testing.TB, record []byte) string {
	t.Helper()
	r, err := Decode(record)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "row %q\n", r.Row)
	it := r.Ops()
	var op RecordOp
	for it.Next(&op) {
		fmt.Fprintf(&b, "kind %d family %d qualifier %q timestamp %d server %v value %x\n", op.Kind, op.Family, op.Qualifier, op.Timestamp, op.ServerTime, op.Value)
	}
	return b.String()
}

func allKinds(t testing.TB) List {
	return list(t,
		deleteRow(), deleteFamily("g"), deleteColumn("f", "q", nil),
		deleteColumn("f", "", &bigtablepb.TimestampRange{StartTimestampMicros: 1000, EndTimestampMicros: 9000}),
		setCell("f", "q", -1, "now"), setCell("g", "\x00\xff", 0, ""), clientTime(setCell("f", "q", 1234567, "truncated")),
		addCell("sum", raw("n"), micros(2000), integer(-2)), mergeCell("max", raw("n"), micros(2000), raw("\x00\x00\x00\x00\x00\x00\x00\x07")),
		mergeCell("max", raw("n"), micros(2000), nil), clientTime(addCell("sum", raw("n"), micros(2001), integer(1))))
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden guards the format of stored records: a change needs a new version.
func TestGolden(t *testing.T) {
	rec, n, err := AppendRecord(nil, []byte("row\x00key"), allKinds(t), testSchema())
	if err != nil {
		t.Fatal(err)
	}
	if n != 10 || !NeedsTime(rec) {
		t.Fatalf("%d ops, needs time %v", n, NeedsTime(rec))
	}
	if _, err := Decode(rec); !errors.Is(err, base.ErrCorrupt) {
		t.Fatalf("decoding a record without its timestamps: %v", err)
	}
	if err := AssignTime(rec, 1_700_000_000_123_000); err != nil {
		t.Fatal(err)
	}
	if NeedsTime(rec) {
		t.Fatal("needs time after AssignTime")
	}
	got := hex.Dump(rec) + "\n" + dump(t, rec)
	const name = "testdata/record.golden"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAppendRecordErrors(t *testing.T) {
	ok := setCell("f", "q", 0, "v")
	for _, c := range []struct {
		name     string
		mut      *bigtablepb.Mutation
		sentinel error
		text     string
	}{
		{"unset", &bigtablepb.Mutation{}, base.ErrInvalid, "Error in element #1 : mutation must be set"},
		{"family", setCell("nope", "q", 0, ""), base.ErrFamilyNotFound, "Error while mutating the row 'r' : Requested column family not found"},
		{"delete family", deleteFamily("nope"), base.ErrFamilyNotFound, "Requested column family not found"},
		{"delete column", deleteColumn("nope", "", nil), base.ErrFamilyNotFound, "Requested column family not found"},
		{"granularity", setCell("f", "q", 1001, ""), base.ErrInvalid,
			"Error in Mutation list : Error in element #1 : Timestamp granularity mismatch. Expected a multiple of 1000 (millisecond granularity), but got 1001."},
		{"negative", setCell("f", "q", -2, ""), base.ErrInvalid, "Invalid timestamp -2"},
		{"qualifier", setCell("f", strings.Repeat("q", MaxQualifier+1), 0, ""), base.ErrInvalid, "exceeds the limit of 16384 bytes"},
		{"range", deleteColumn("f", "q", &bigtablepb.TimestampRange{StartTimestampMicros: 2000, EndTimestampMicros: 2000}), base.ErrInvalid, "inverted"},
		{"range start", deleteColumn("f", "q", &bigtablepb.TimestampRange{StartTimestampMicros: 1}), base.ErrInvalid, "granularity mismatch"},
		{"range end", deleteColumn("f", "q", &bigtablepb.TimestampRange{EndTimestampMicros: -1000}), base.ErrInvalid, "Invalid timestamp -1000"},
		{"set aggregate", setCell("sum", "q", 0, ""), base.ErrInvalid, "not allowed in aggregate column family 'sum'"},
		{"add plain", addCell("f", raw("q"), micros(0), integer(1)), base.ErrInvalid, "'f' is not one"},
		{"merge plain", mergeCell("f", raw("q"), micros(0), raw("12345678")), base.ErrInvalid, "'f' is not one"},
		{"add now", addCell("sum", raw("q"), micros(-1), integer(1)), base.ErrInvalid, "Invalid timestamp -1"},
		{"add granularity", addCell("sum", raw("q"), micros(7), integer(1)), base.ErrInvalid, "multiple of 1000"},
		{"add raw", addCell("sum", raw("q"), micros(0), raw("12345678")), base.ErrInvalid, "takes an int_value"},
		{"add null", addCell("sum", raw("q"), micros(0), nil), base.ErrInvalid, "takes an int_value"},
		{"add qualifier", addCell("sum", integer(1), micros(0), integer(1)), base.ErrInvalid, "column_qualifier"},
		{"add timestamp", addCell("sum", raw("q"), nil, integer(1)), base.ErrInvalid, "timestamp"},
		{"merge short", mergeCell("sum", raw("q"), micros(0), raw("1234567")), base.ErrInvalid, "has 7 bytes"},
		{"merge bool", mergeCell("sum", raw("q"), micros(0), &bigtablepb.Value{Kind: &bigtablepb.Value_BoolValue{}}), base.ErrInvalid, "takes a raw_value"},
		{"hll", addCell("hll", raw("q"), micros(0), integer(1)), base.ErrUnimplemented, "hllpp_unique_count"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := []byte("before")
			out, n, err := AppendRecord(dst, []byte("r"), list(t, ok, c.mut), testSchema())
			wantError(t, err, c.sentinel, c.text)
			if string(out) != "before" || n != 0 {
				t.Fatalf("left %q, %d ops", out, n)
			}
		})
	}
}

func TestMicrosecondTable(t *testing.T) {
	s := testSchema()
	s.Unit = UnitMicros
	rec, n, err := AppendRecord(nil, []byte("r"), list(t, setCell("f", "q", 1001, "")), s)
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if d := dump(t, rec); !strings.Contains(d, "timestamp 1001") {
		t.Fatal(d)
	}
}

func TestOnlyNullMerges(t *testing.T) {
	out, n, err := AppendRecord([]byte("x"), []byte("r"), list(t, mergeCell("sum", raw("q"), micros(0), nil)), testSchema())
	if err != nil || n != 0 || string(out) != "x" {
		t.Fatalf("%q, %d, %v", out, n, err)
	}
}

func TestDecodeCorrupt(t *testing.T) {
	rec, _, err := AppendRecord(nil, []byte("r"), allKinds(t), testSchema())
	if err != nil {
		t.Fatal(err)
	}
	if err := AssignTime(rec, 1000); err != nil {
		t.Fatal(err)
	}
	good := 0
	for i := range len(rec) {
		if _, err := Decode(rec[:i]); err == nil {
			good++ // cut between two ops
		} else if !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
	}
	if good > 9 {
		t.Fatalf("%d prefixes decode", good)
	}
}

func FuzzDecode(f *testing.F) {
	rec, _, err := AppendRecord(nil, []byte("r"), allKinds(f), testSchema())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(rec))
	AssignTime(rec, 1000)
	f.Add(rec)
	f.Fuzz(func(t *testing.T, b []byte) {
		AssignTime(bytes.Clone(b), 1)
		r, err := Decode(b)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again := NewBuilder(nil, r.Row)
		it := r.Ops()
		var op RecordOp
		for it.Next(&op) {
			switch {
			case op.Kind == base.KindDeleteRow:
				again.DeleteRow()
			case op.Kind == base.KindDeleteFamily:
				again.DeleteFamily(op.Family)
			case op.Kind == base.KindDeleteColumn:
				s, e, err := base.DecodeTimeRange(op.Value)
				if err != nil {
					t.Fatal(err)
				}
				again.DeleteColumn(op.Family, op.Qualifier, s, e)
			case op.ServerTime:
				again.buf[again.start+1] = flagServerTime | flagAssigned
				again.cell(byte(op.Kind)|opServerTime, op.Family, op.Qualifier, op.Timestamp, op.Value)
			default:
				again.Cell(op.Kind, op.Family, op.Qualifier, op.Timestamp, op.Value)
			}
		}
		if !bytes.Equal(again.Bytes(), b) || again.Len() != r.Len {
			t.Fatalf("%x decodes and encodes to %x", b, again.Bytes())
		}
	})
}

func BenchmarkMutateRow(b *testing.B) {
	schema := testSchema()
	value := strings.Repeat("v", 1000)
	for _, c := range []struct {
		name string
		muts []*bigtablepb.Mutation
	}{
		{"SetCell1000", []*bigtablepb.Mutation{setCell("f", "qualifier", 1_700_000_000_000_000, value)}},
		{"SetCell1000Now", []*bigtablepb.Mutation{setCell("f", "qualifier", -1, value)}},
		{"AddToCell", []*bigtablepb.Mutation{addCell("sum", raw("q"), micros(0), integer(1))}},
	} {
		b.Run(c.name, func(b *testing.B) {
			req := marshal(b, &bigtablepb.MutateRowRequest{TableName: "projects/project/instances/instance/tables/table", RowKey: []byte("user0123456789012345"), Mutations: c.muts})
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				r, err := ParseMutateRow(req)
				if err != nil {
					b.Fatal(err)
				}
				if dst, _, err = AppendRecord(dst[:0], r.Row, r.Mutations, schema); err != nil {
					b.Fatal(err)
				}
				if err := AssignTime(dst, 1_700_000_000_000_000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	rec, _, err := AppendRecord(nil, []byte("r"), list(b, setCell("f", "qualifier", 1000, strings.Repeat("v", 1000))), testSchema())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := Decode(rec)
		if err != nil {
			b.Fatal(err)
		}
		it := r.Ops()
		var op RecordOp
		for it.Next(&op) {
		}
	}
}
