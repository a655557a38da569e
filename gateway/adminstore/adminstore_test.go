package adminstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
)

func open(t *testing.T) lockservice.Client {
	s := mem.New(mem.Options{})
	t.Cleanup(func() { s.Close() })
	ls := s.Client()
	t.Cleanup(func() { ls.Close() })
	return ls
}

func TestCollection(t *testing.T) {
	ctx, ls := context.Background(), open(t)
	c := adminstore.Of[*adminpb.LogicalView](ls, adminstore.LogicalView, "Logical view")
	if _, err := c.Get(ctx, "i/v"); !errors.Is(err, base.ErrNotFound) || err.Error() != "Logical view not found: i/v" {
		t.Error(err)
	}
	it, err := c.Create(ctx, "i/v", 0, &adminpb.LogicalView{Query: "q"})
	if err != nil || it.Value.Query != "q" || it.Etag() == "" || it.Created.IsZero() {
		t.Fatalf("%+v, %v", it, err)
	}
	if _, err := c.Create(ctx, "i/v", 0, &adminpb.LogicalView{}); !errors.Is(err, base.ErrExists) {
		t.Error(err)
	}
	up, err := c.Update(ctx, "i/v", func(_ adminstore.Item[*adminpb.LogicalView], v *adminpb.LogicalView) error { v.Query = "r"; return nil })
	if err != nil || up.Etag() == it.Etag() || !up.Created.Equal(it.Created) || up.Value.Query != "r" {
		t.Fatalf("%+v, %v", up, err)
	}
	if err := up.CheckEtag(it.Etag()); !errors.Is(err, base.ErrAborted) {
		t.Error(err)
	}
	if err := errors.Join(up.CheckEtag(up.Etag()), up.CheckEtag("")); err != nil {
		t.Error(err)
	}
	// What was read before a change cannot be put any more.
	w, err := c.Put(it, it.Value, it.Created)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adminstore.Commit(ctx, ls, []adminstore.Write{w}); !errors.Is(err, base.ErrAborted) {
		t.Error(err)
	}
	if _, err := c.Create(ctx, "i2/w", 0, &adminpb.LogicalView{}); err != nil {
		t.Fatal(err)
	}
	if l, err := c.List(ctx, "i/"); err != nil || len(l) != 1 || l[0].Name != "i/v" {
		t.Errorf("%v, %v", l, err)
	}
	if err := adminstore.Forget(ctx, ls, "i/", adminstore.Kinds()...); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Names(ctx, ""); err != nil || len(n) != 1 || n[0] != "i2/w" {
		t.Errorf("%v, %v", n, err)
	}
}

// TestOfAnotherTable: an object that a deleted table left behind is in
// nobody's way.
func TestOfAnotherTable(t *testing.T) {
	ctx := context.Background()
	c := adminstore.Of[*adminpb.SchemaBundle](open(t), adminstore.SchemaBundle, "Schema bundle")
	for _, table := range []base.TableID{1, 2} {
		if _, err := c.Create(ctx, "t/b", table, &adminpb.SchemaBundle{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Create(ctx, "t/b", 2, &adminpb.SchemaBundle{}); !errors.Is(err, base.ErrExists) {
		t.Error(err)
	}
}

// TestConcurrentUpdates loses none.
func TestConcurrentUpdates(t *testing.T) {
	ctx := context.Background()
	c := adminstore.Of[*adminpb.Instance](open(t), adminstore.Instance, "Instance")
	if _, err := c.Create(ctx, "i", 0, &adminpb.Instance{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, err := c.Update(ctx, "i", func(_ adminstore.Item[*adminpb.Instance], in *adminpb.Instance) error {
				if in.Labels == nil {
					in.Labels = map[string]string{}
				}
				in.Labels[fmt.Sprint(i)] = "x"
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if it, err := c.Get(ctx, "i"); err != nil || len(it.Value.Labels) != 10 {
		t.Errorf("%v, %v", it.Value, err)
	}
}

func TestApplyMask(t *testing.T) {
	policy := func(retention, frequency int64) *adminpb.Table_AutomatedBackupPolicy_ {
		p := &adminpb.Table_AutomatedBackupPolicy{}
		if retention > 0 {
			p.RetentionPeriod = &durationpb.Duration{Seconds: retention}
		}
		if frequency > 0 {
			p.Frequency = &durationpb.Duration{Seconds: frequency}
		}
		return &adminpb.Table_AutomatedBackupPolicy_{AutomatedBackupPolicy: p}
	}
	allowed := []string{"deletion_protection", "change_stream_config", "automated_backup_policy", "row_key_schema"}
	for _, c := range []struct {
		dst, src *adminpb.Table
		paths    []string
		want     *adminpb.Table // nil: an error
	}{
		{&adminpb.Table{}, &adminpb.Table{DeletionProtection: true}, []string{"deletion_protection"}, &adminpb.Table{DeletionProtection: true}},
		{&adminpb.Table{DeletionProtection: true}, &adminpb.Table{}, []string{"deletion_protection"}, &adminpb.Table{}},
		{&adminpb.Table{AutomatedBackupConfig: policy(1, 2)}, &adminpb.Table{AutomatedBackupConfig: policy(3, 4)}, []string{"automated_backup_policy.frequency"}, &adminpb.Table{AutomatedBackupConfig: policy(1, 4)}},
		{&adminpb.Table{}, &adminpb.Table{AutomatedBackupConfig: policy(3, 4)}, []string{"automated_backup_policy.frequency"}, &adminpb.Table{AutomatedBackupConfig: policy(0, 4)}},
		{&adminpb.Table{AutomatedBackupConfig: policy(1, 2)}, &adminpb.Table{}, []string{"automated_backup_policy"}, &adminpb.Table{}},
		{&adminpb.Table{}, &adminpb.Table{}, []string{"change_stream_config.retention_period"}, &adminpb.Table{}},
		{&adminpb.Table{}, &adminpb.Table{}, []string{"change_stream_config.nonsense"}, nil},
		{&adminpb.Table{}, &adminpb.Table{}, []string{"granularity"}, nil},
		{&adminpb.Table{}, &adminpb.Table{}, nil, nil},
	} {
		err := adminstore.ApplyMask(c.dst, c.src, c.paths, allowed...)
		if (c.want == nil) != (err != nil) || err != nil && !errors.Is(err, base.ErrInvalid) || err == nil && !proto.Equal(c.dst, c.want) {
			t.Errorf("%v: %v, %v; want %v", c.paths, c.dst, err, c.want)
		}
	}
}
