package schema_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

const parent = "projects/p/instances/i"

func maxVersions(n int32) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: n}}
}

func sum() *adminpb.Type {
	i64 := &adminpb.Type{Kind: &adminpb.Type_Int64Type{Int64Type: &adminpb.Type_Int64{}}}
	return &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: &adminpb.Type_Aggregate{
		InputType: i64, Aggregator: &adminpb.Type_Aggregate_Sum_{Sum: &adminpb.Type_Aggregate_Sum{}},
	}}}
}

func stringType() *adminpb.Type {
	return &adminpb.Type{Kind: &adminpb.Type_StringType{StringType: &adminpb.Type_String{}}}
}

func create(t *testing.T, families map[string]*adminpb.ColumnFamily) *metapb.TableRecord {
	t.Helper()
	rec, _, err := schema.New(&adminpb.CreateTableRequest{
		Parent: parent, TableId: "t", Table: &adminpb.Table{ColumnFamilies: families},
	}, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestNewRefuses(t *testing.T) {
	split := func(keys ...string) (s []*adminpb.CreateTableRequest_Split) {
		for _, k := range keys {
			s = append(s, &adminpb.CreateTableRequest_Split{Key: []byte(k)})
		}
		return s
	}
	family := func(name string, cf *adminpb.ColumnFamily) *adminpb.Table {
		return &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{name: cf}}
	}
	many := &adminpb.GcRule_Union{}
	for range 300 {
		many.Rules = append(many.Rules, maxVersions(1))
	}
	for name, req := range map[string]*adminpb.CreateTableRequest{
		"parent":        {Parent: "garbage", TableId: "t"},
		"project":       {Parent: "projects//instances/i", TableId: "t"},
		"no id":         {Parent: parent},
		"bad id":        {Parent: parent, TableId: "bad table id!!"},
		"dash":          {Parent: parent, TableId: "-t"},
		"long id":       {Parent: parent, TableId: strings.Repeat("t", 51)},
		"family":        {Parent: parent, TableId: "t", Table: family("a:b", nil)},
		"no family":     {Parent: parent, TableId: "t", Table: family("", nil)},
		"long family":   {Parent: parent, TableId: "t", Table: family(strings.Repeat("f", 65), nil)},
		"gc rule":       {Parent: parent, TableId: "t", Table: family("f", &adminpb.ColumnFamily{GcRule: maxVersions(0)})},
		"long gc rule":  {Parent: parent, TableId: "t", Table: family("f", &adminpb.ColumnFamily{GcRule: &adminpb.GcRule{Rule: &adminpb.GcRule_Union_{Union: many}}})},
		"empty split":   {Parent: parent, TableId: "t", InitialSplits: split("a", "")},
		"long split":    {Parent: parent, TableId: "t", InitialSplits: split(strings.Repeat("a", 4097))},
		"granularity":   {Parent: parent, TableId: "t", Table: &adminpb.Table{Granularity: 9}},
		"no aggregator": {Parent: parent, TableId: "t", Table: family("f", &adminpb.ColumnFamily{ValueType: &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: &adminpb.Type_Aggregate{}}}})},
	} {
		if _, _, err := schema.New(req, time.Now()); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewSortsSplitsAndShows(t *testing.T) {
	req := &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{
		Granularity: adminpb.Table_MICROS, DeletionProtection: true,
		ColumnFamilies: map[string]*adminpb.ColumnFamily{"b": {}, "a": {GcRule: maxVersions(2)}},
	}}
	for _, k := range []string{"m", "c", "m", "z"} {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(k)})
	}
	rec, splits, err := schema.New(req, time.Unix(7, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range splits {
		got = append(got, string(s))
	}
	if strings.Join(got, ",") != "c,m,z" {
		t.Errorf("splits %q", got)
	}
	if rec.Families[0].Name != "a" || rec.Families[0].Id != 1 || rec.Families[1].Id != 2 || rec.NextFamily != 3 {
		t.Errorf("families %v", rec.Families)
	}
	want := proto.CloneOf(req.Table)
	want.Name = parent + "/tables/t"
	if shown := schema.Table(rec, adminpb.Table_SCHEMA_VIEW); !proto.Equal(shown, want) {
		t.Errorf("shown %v, want %v", shown, want)
	}
	if shown := schema.Table(rec, adminpb.Table_NAME_ONLY); !proto.Equal(shown, &adminpb.Table{Name: want.Name}) {
		t.Errorf("name only: %v", shown)
	}
	if err := schema.CheckDelete(rec); !errors.Is(err, base.ErrPrecondition) {
		t.Errorf("protected: %v", err)
	}
}

func TestModify(t *testing.T) {
	type mod = adminpb.ModifyColumnFamiliesRequest_Modification
	add := func(id string, cf *adminpb.ColumnFamily) *mod {
		return &mod{Id: id, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: cf}}
	}
	drop := func(id string) *mod {
		return &mod{Id: id, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Drop{Drop: true}}
	}
	update := func(id string, cf *adminpb.ColumnFamily, paths ...string) *mod {
		m := &mod{Id: id, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Update{Update: cf}}
		if len(paths) > 0 {
			m.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
		}
		return m
	}
	rec := create(t, map[string]*adminpb.ColumnFamily{"f": {GcRule: maxVersions(1)}, "agg": {ValueType: sum()}})
	for name, c := range map[string]struct {
		mods []*mod
		want error
		text string
	}{
		"exists":         {[]*mod{add("f", nil)}, base.ErrExists, ""},
		"unknown drop":   {[]*mod{drop("x")}, base.ErrFamilyNotFound, ""},
		"unknown update": {[]*mod{update("x", nil)}, base.ErrFamilyNotFound, ""},
		"no mod":         {[]*mod{{Id: "f"}}, base.ErrInvalid, ""},
		"mask":           {[]*mod{update("f", nil, "stats")}, base.ErrInvalid, ""},
		"gc rule":        {[]*mod{update("f", &adminpb.ColumnFamily{GcRule: maxVersions(-1)})}, base.ErrInvalid, ""},
		"aggregate gone": {[]*mod{update("agg", &adminpb.ColumnFamily{ValueType: stringType()}, "value_type")}, base.ErrInvalid, "Immutable fields 'value_type.aggregate_type.*' cannot be updated"},
		"aggregate new":  {[]*mod{update("f", &adminpb.ColumnFamily{ValueType: sum()}, "value_type")}, base.ErrInvalid, "Immutable fields"},
		"second of two":  {[]*mod{drop("f"), drop("f")}, base.ErrFamilyNotFound, "element #1"},
	} {
		before := proto.CloneOf(rec)
		_, err := schema.Modify(rec, c.mods)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if !proto.Equal(before, rec) {
			t.Errorf("%s: changed the record", name)
		}
	}
	next, err := schema.Modify(rec, []*mod{
		drop("f"), add("f", nil), update("f", &adminpb.ColumnFamily{GcRule: maxVersions(3)}),
		update("f", &adminpb.ColumnFamily{ValueType: stringType()}, "value_type"),
		update("agg", &adminpb.ColumnFamily{ValueType: sum(), GcRule: maxVersions(4)}, "value_type", "gc_rule"),
	})
	if err != nil {
		t.Fatal(err)
	}
	f, agg := schema.Family(next, "f"), schema.Family(next, "agg")
	if f.Id != 3 || f.GcRule.GetMaxNumVersions() != 3 || f.ValueType.GetStringType() == nil || next.NextFamily != 4 {
		t.Errorf("f is %v, next %d", f, next.NextFamily)
	}
	if agg.Id != 1 || agg.GcRule.GetMaxNumVersions() != 4 {
		t.Errorf("agg is %v", agg)
	}
}

func TestProtectedTableKeepsItsFamilies(t *testing.T) {
	rec := create(t, map[string]*adminpb.ColumnFamily{"f": {}})
	rec.Spec.DeletionProtection = true
	_, err := schema.Modify(rec, []*adminpb.ModifyColumnFamiliesRequest_Modification{
		{Id: "f", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Drop{Drop: true}},
	})
	if !errors.Is(err, base.ErrPrecondition) {
		t.Error(err)
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("projects/p/instances/i/tables/t")
	f.Add("projects/{{projectId}}/instances/i/tables/_t.x-1")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := schema.ParseName(s); err == nil && n.String() != s {
			t.Errorf("%q became %q", s, n)
		}
	})
}
