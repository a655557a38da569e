package schema_test

import (
	"errors"
	"fmt"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// storageOf writes how the families are stored: name=group, with * in memory.
func storageOf(rec *metapb.TableRecord) string {
	out := ""
	for _, f := range rec.Families {
		out += " " + f.Name + "=" + f.GetStorage().GetLocalityGroup()
		if f.GetStorage().GetInMemory() {
			out += "*"
		}
	}
	return out
}

func TestSetStorage(t *testing.T) {
	rec := create(t, map[string]*adminpb.ColumnFamily{"a": nil, "b": nil, "c": nil})
	group := func(f, g string) *controlpb.FamilyStorage {
		return &controlpb.FamilyStorage{Family: f, LocalityGroup: proto.String(g)}
	}
	memory := func(f string, on bool) *controlpb.FamilyStorage {
		return &controlpb.FamilyStorage{Family: f, InMemory: proto.Bool(on)}
	}
	for _, s := range []struct {
		change *controlpb.FamilyStorage
		want   string
	}{
		{group("a", "g"), " a=g b= c="},
		{memory("a", true), " a=g* b= c="},
		{group("b", "g"), " a=g* b=g* c="}, // takes over what the group is
		{memory("b", false), " a=g b=g c="},
		{memory("a", true), " a=g* b=g* c="},
		{group("b", "h"), " a=g* b=h* c="}, // alone there: it stays what it was
		{group("a", ""), " a= b=h* c="},
		{memory("c", true), " a=* b=h* c=*"},
	} {
		next, err := schema.SetStorage(rec, []*controlpb.FamilyStorage{s.change})
		if err != nil {
			t.Fatal(err)
		}
		if got := storageOf(next); got != s.want {
			t.Errorf("after %v:%s, want%s", s.change, got, s.want)
		}
		rec = next
	}
	// A new family is of the default group, and is what that is.
	rec, err := schema.Modify(rec, []*adminpb.ModifyColumnFamiliesRequest_Modification{
		{Id: "d", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: &adminpb.ColumnFamily{}}},
		{Id: "a", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Update{Update: &adminpb.ColumnFamily{GcRule: maxVersions(1)}}},
	})
	if err != nil || storageOf(rec) != " a=* b=h* c=* d=*" {
		t.Errorf("%s, %v", storageOf(rec), err)
	}
	rec, err = schema.SetStorage(rec, []*controlpb.FamilyStorage{memory("a", false), group("b", ""), memory("b", false)})
	if err != nil || rec.Families[0].Storage != nil || rec.Families[1].Storage != nil {
		t.Errorf("what is as by default is kept: %v, %v", rec, err)
	}
}

func TestSetStorageRefuses(t *testing.T) {
	rec := create(t, map[string]*adminpb.ColumnFamily{"a": nil})
	many := map[string]*adminpb.ColumnFamily{}
	var apart []*controlpb.FamilyStorage
	for i := range schema.MaxLocalityGroups + 1 {
		f := fmt.Sprintf("f%d", i)
		many[f] = nil
		apart = append(apart, &controlpb.FamilyStorage{Family: f, LocalityGroup: &f})
	}
	wide := create(t, many)
	if _, err := schema.SetStorage(wide, apart[2:]); err != nil {
		t.Errorf("%d groups: %v", schema.MaxLocalityGroups, err)
	}
	for name, c := range map[string]struct {
		rec     *metapb.TableRecord
		changes []*controlpb.FamilyStorage
		want    error
	}{
		"nothing":     {rec, nil, base.ErrInvalid},
		"no family":   {rec, []*controlpb.FamilyStorage{{Family: "x"}}, base.ErrFamilyNotFound},
		"bad name":    {rec, []*controlpb.FamilyStorage{{Family: "a", LocalityGroup: proto.String("a b")}}, base.ErrInvalid},
		"compression": {rec, []*controlpb.FamilyStorage{{Family: "a", Compression: metapb.Storage_Compression(99).Enum()}}, base.ErrInvalid},
		"bloom":       {rec, []*controlpb.FamilyStorage{{Family: "a", Bloom: metapb.Storage_Bloom(99).Enum()}}, base.ErrInvalid},
		"many groups": {wide, apart, base.ErrInvalid},
	} {
		before := proto.CloneOf(c.rec)
		if _, err := schema.SetStorage(c.rec, c.changes); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if !proto.Equal(before, c.rec) {
			t.Errorf("%s: the record was changed", name)
		}
	}
}
