package meta_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

func TestRestoreTable(t *testing.T) {
	ctx := context.Background()
	service := mem.New(mem.Options{})
	defer service.Close()
	ls := service.Client()
	defer ls.Close()
	s := meta.NewStore(ls)
	if _, err := ls.Txn(ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Put("backup", nil)}}); err != nil {
		t.Fatal(err)
	}
	kv, _, _, err := ls.Get(ctx, "backup", lockservice.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there := lockservice.ModRevisionIs("backup", kv.ModRevision)
	file := base.FileNumber{Creator: base.Incarnation{Generation: 1, Index: 2}, Number: 3}
	tablets := []meta.Tablet{
		{End: []byte("m"), Manifest: file, ManifestVersion: 4, Flushed: 5, NextSeq: 6},
		{Start: []byte("m"), NextSeq: 1},
	}
	rec := func(table string) *metapb.TableRecord {
		return &metapb.TableRecord{Id: 99, Deleted: true, Name: "projects/p/instances/i/tables/" + table, NextFamily: 8, Families: []*metapb.Family{{Id: 7, Name: "f"}}}
	}
	restored, err := s.RestoreTable(ctx, rec("t"), tablets, time.Now(), there)
	if err != nil {
		t.Fatal(err)
	}
	if r := restored.Record; r.Id == 99 || r.Deleted || r.NextFamily != 8 || r.Families[0].Id != 7 {
		t.Errorf("%v", r)
	}
	got, err := s.Tablets(ctx, restored.ID, lockservice.ReadOptions{})
	if err != nil || len(got) != 2 || len(meta.CheckTiling(got)) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if a := got[0]; a.Manifest != file || a.ManifestVersion != 4 || a.Flushed != 5 || a.NextSeq != 6 || a.State != meta.Unassigned || a.ID == got[1].ID || len(a.Logs) != 0 {
		t.Errorf("%+v", a)
	}
	if !got[1].Manifest.IsZero() {
		t.Errorf("%+v", got[1])
	}

	if _, err := s.RestoreTable(ctx, rec("t"), tablets, time.Now(), there); !errors.Is(err, base.ErrExists) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := s.RestoreTable(ctx, rec("u"), tablets[:1], time.Now(), there); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("a hole: %v", err)
	}
	if _, err := s.RestoreTable(ctx, rec("u"), tablets, time.Now(), lockservice.Absent("backup")); !errors.Is(err, base.ErrAborted) {
		t.Errorf("a backup that is gone: %v", err)
	}
	if _, err := s.TableByName(ctx, rec("u").Name); !errors.Is(err, base.ErrNotFound) {
		t.Errorf("a table that was not restored: %v", err)
	}
}
