package mutation

import (
	"bytes"
	"math"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
)

func TestReadModifyWrite(t *testing.T) {
	inc := func(f string, v int64) *bigtablepb.ReadModifyWriteRule {
		return &bigtablepb.ReadModifyWriteRule{FamilyName: f, ColumnQualifier: []byte("n"), Rule: &bigtablepb.ReadModifyWriteRule_IncrementAmount{IncrementAmount: v}}
	}
	app := &bigtablepb.ReadModifyWriteRule{FamilyName: "f", ColumnQualifier: []byte("s"), Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("xy")}}
	parse := func(rules ...*bigtablepb.ReadModifyWriteRule) (ReadModifyWriteRow, error) {
		return ParseReadModifyWriteRow(marshal(t, &bigtablepb.ReadModifyWriteRowRequest{TableName: "t", AppProfileId: "a", RowKey: []byte("r"), Rules: rules}))
	}
	r, err := parse(inc("f", -3), app, inc("f", 0))
	if err != nil || string(r.Table) != "t" || r.Rules.Len() != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := CheckRules(r.Row, r.Rules, testSchema()); err != nil {
		t.Fatal(err)
	}
	it := r.Rules.Iter()
	var rule Rule
	next := func() {
		t.Helper()
		if ok, err := it.Next(&rule); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	apply := func(old []byte, want []byte) {
		t.Helper()
		got, err := ApplyRule([]byte("d"), old, &rule)
		if err != nil || !bytes.Equal(got[1:], want) {
			t.Fatalf("%x -> %x, %v; want %x", old, got, err, want)
		}
	}
	n := func(v int64) []byte { return aggregate.AppendState(nil, v) }
	next()
	apply(nil, n(-3))
	apply(n(10), n(7))
	apply(n(math.MinInt64), n(math.MaxInt64-2))
	got, err := ApplyRule([]byte("d"), []byte("7"), &rule)
	wantError(t, err, base.ErrInvalid, "Cannot increment column 'f:n'")
	if string(got) != "d" {
		t.Fatalf("dst %q", got)
	}
	next()
	apply(nil, []byte("xy"))
	apply([]byte("ab"), []byte("abxy"))
	next()
	if !rule.Increment {
		t.Fatal("an increment by 0 is an increment")
	}

	_, err = parse()
	wantError(t, err, base.ErrInvalid, "No rules provided")
	r, _ = parse(app, &bigtablepb.ReadModifyWriteRule{FamilyName: "f"})
	wantError(t, CheckRules(r.Row, r.Rules, testSchema()), base.ErrInvalid, "element #1 : rule must be set")
	r, _ = parse(app, inc("nope", 1))
	wantError(t, CheckRules(r.Row, r.Rules, testSchema()), base.ErrFamilyNotFound, "Requested column family not found")
	r, _ = parse(inc("sum", 1))
	wantError(t, CheckRules(r.Row, r.Rules, testSchema()), base.ErrInvalid, "not allowed in aggregate column family")
}
