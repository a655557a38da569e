package mutation

import (
	"bytes"
	"errors"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

func setAt(ts int64) *bigtablepb.Mutation {
	return &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: "f", ColumnQualifier: []byte("q"), TimestampMicros: ts, Value: []byte("v")}}}
}

func TestRepeatable(t *testing.T) {
	del := &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}
	add := &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_AddToCell_{AddToCell: &bigtablepb.Mutation_AddToCell{FamilyName: "s"}}}
	merge := &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_MergeToCell_{MergeToCell: &bigtablepb.Mutation_MergeToCell{FamilyName: "s"}}}
	tricky := setAt(1000)
	tricky.GetSetCell().Value = minusOne // looks like the server's time, and is not
	generated := setAt(1000)
	generated.TimestampOrigin = bigtablepb.Mutation_CLIENT_AUTO_GENERATED
	token := &bigtablepb.Idempotency{Token: []byte("12345678")}
	for i, c := range []struct {
		ms          []*bigtablepb.Mutation
		token       *bigtablepb.Idempotency
		ok, tokened bool
	}{
		{ms: []*bigtablepb.Mutation{setAt(0), setAt(1000), del, tricky, generated}, ok: true},
		{ms: []*bigtablepb.Mutation{setAt(1000), setAt(-1)}},
		{ms: []*bigtablepb.Mutation{del, add}},
		{ms: []*bigtablepb.Mutation{merge}},
		{ms: []*bigtablepb.Mutation{merge, setAt(-1)}, token: token, ok: true, tokened: true},
		{ms: []*bigtablepb.Mutation{del}, token: token, ok: true},
	} {
		row, err := proto.Marshal(&bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: c.ms, Idempotency: c.token})
		if err != nil {
			t.Fatal(err)
		}
		entry, err := proto.Marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("r"), Mutations: c.ms, Idempotency: c.token})
		if err != nil {
			t.Fatal(err)
		}
		for f, raw := range map[Form][]byte{FormMutateRow: row, FormEntry: entry} {
			if ok, tokened := Repeatable(raw, f); ok != c.ok || tokened != c.tokened {
				t.Errorf("case %d, form %d: %v, %v", i, f, ok, tokened)
			}
		}
	}
	if ok, _ := Repeatable(nil, FormReadModifyWriteRow); ok {
		t.Error("a read-modify-write may be applied twice")
	}
}

// TestIDs: every message carries an id, of several the last counts, and a
// message of the API with one is still that message.
func TestIDs(t *testing.T) {
	marshal := func(m proto.Message) []byte {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		raw = AppendID(raw, ID{9}, 9)
		n := len(raw)
		if raw = AppendID(raw, ID{1, 2}, 7); len(raw) != n+IDSize {
			t.Fatalf("an id takes %d bytes", len(raw)-n)
		}
		if err := proto.Unmarshal(raw, m); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var got []Once
	row, err := ParseMutateRow(marshal(&bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: []*bigtablepb.Mutation{setAt(-1)}}))
	got = append(got, row.Once)
	var entry Entry
	err = errors.Join(err, ParseEntry(marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("r"), Mutations: []*bigtablepb.Mutation{setAt(-1)}}), &entry))
	got = append(got, entry.Once)
	check, err2 := ParseCheckAndMutateRow(marshal(&bigtablepb.CheckAndMutateRowRequest{RowKey: []byte("r"), TrueMutations: []*bigtablepb.Mutation{setAt(-1)}}))
	got = append(got, check.Once)
	rmw, err3 := ParseReadModifyWriteRow(marshal(&bigtablepb.ReadModifyWriteRowRequest{RowKey: []byte("r"), Rules: []*bigtablepb.ReadModifyWriteRule{{FamilyName: "f"}}}))
	got = append(got, rmw.Once)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	for i, o := range got {
		if want := (ID{1, 2}); !bytes.Equal(o.ID, want[:]) || o.Attempt != 7 {
			t.Errorf("message %d: %+v", i, o)
		}
	}
	bad := append([]byte{0x0a, 1, 'r'}, 0xca, 0xa9, 0x07, 1, 'x')
	if err := ParseEntry(bad, &entry); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("a malformed id: %v", err)
	}
}

// TestAppendOnce: the op that remembers a write is part of its record.
func TestAppendOnce(t *testing.T) {
	b := NewBuilder(nil, []byte("r"))
	b.Cell(base.KindSet, 1, []byte("q"), 1000, []byte("v"))
	o := Once{ID: bytes.Repeat([]byte{7}, 16)}
	rec := AppendOnce(b.Bytes(), o.AppendKey(nil), []byte("answer"))
	if _, err := Decode(rec); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("a record without its time: %v", err)
	}
	if err := AssignTime(rec, 5000); err != nil {
		t.Fatal(err)
	}
	r, err := Decode(rec)
	if err != nil || r.Len != 2 {
		t.Fatalf("%d ops, %v", r.Len, err)
	}
	var op RecordOp
	for it := r.Ops(); it.Next(&op); {
	}
	if op.Family != base.SystemFamily || !bytes.Equal(op.Qualifier, append([]byte{0}, o.ID...)) || op.Timestamp != 5000 || string(op.Value) != "answer" {
		t.Errorf("%+v", op)
	}
}

// TestDropRecord: a drop of rows is a record of its own.
func TestDropRecord(t *testing.T) {
	b := NewBuilder(nil, []byte("a"))
	b.DropRows([]byte("m"))
	if err := AssignTime(b.Bytes(), 7000); err != nil {
		t.Fatal(err)
	}
	r, err := Decode(b.Bytes())
	var op RecordOp
	it := r.Ops()
	if err != nil || !it.Next(&op) || op.Kind != base.KindDropRows || string(r.Row) != "a" || string(op.Value) != "m" || op.Timestamp != 7000 || it.Next(&op) {
		t.Fatalf("%+v, %+v, %v", r, op, err)
	}
	for i := range len(b.Bytes()) - 3 {
		if _, err := Decode(b.Bytes()[:i+3]); err == nil && i+3 < len(b.Bytes()) {
			t.Errorf("a record cut at %d is read", i+3)
		}
	}
	b.DeleteRow()
	if _, err := Decode(b.Bytes()); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("a drop beside another op: %v", err)
	}
}
