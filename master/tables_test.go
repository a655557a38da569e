package master_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

type reportDead = controlpb.ReportDeadRequest

func deleteRequest() *adminpb.DeleteTableRequest { return &adminpb.DeleteTableRequest{Name: tblName} }

func TestTables(t *testing.T) {
	bubble(t, func(c *cluster) {
		s := c.start("s1")
		c.start("s2")
		m := c.master("m1", nil)
		c.create(m, 6)
		want := func(what string, err error, code codes.Code) {
			t.Helper()
			if status.Code(err) != code {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := m.client.CreateTable(c.ctx, createRequest(3))
		want("again", err, codes.AlreadyExists)
		_, err = m.client.CreateTable(c.ctx, &adminpb.CreateTableRequest{Parent: "garbage", TableId: "bad table id!!"})
		want("garbage", err, codes.InvalidArgument)
		_, err = m.client.GetTable(c.ctx, &adminpb.GetTableRequest{Name: parent + "/tables/x"})
		want("get unknown", err, codes.NotFound)
		_, err = m.client.DeleteTable(c.ctx, &adminpb.DeleteTableRequest{Name: parent + "/tables/x"})
		want("delete unknown", err, codes.NotFound)

		add := &adminpb.ModifyColumnFamiliesRequest{Name: tblName, Modifications: []*adminpb.ModifyColumnFamiliesRequest_Modification{
			{Id: "g", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: &adminpb.ColumnFamily{}}},
		}}
		tbl, err := m.client.ModifyColumnFamilies(c.ctx, add)
		if err != nil || len(tbl.ColumnFamilies) != 2 {
			t.Fatalf("%v %v", tbl, err)
		}
		rec, err := c.meta.TableByName(c.ctx, tblName)
		if err != nil || uint64(rec.Revision) != s.mu.schemas {
			t.Errorf("server knows revision %d of %d, %v", s.mu.schemas, rec.Revision, err)
		}
		_, err = m.client.ModifyColumnFamilies(c.ctx, add)
		want("family again", err, codes.AlreadyExists)
		list, err := m.client.ListTables(c.ctx, &adminpb.ListTablesRequest{Parent: parent})
		if err != nil || len(list.Tables) != 1 || list.Tables[0].Name != tblName || list.Tables[0].ColumnFamilies != nil {
			t.Errorf("%v %v", list, err)
		}
		got, err := m.client.GetTable(c.ctx, &adminpb.GetTableRequest{Name: tblName})
		if err != nil || len(got.ColumnFamilies) != 2 || got.Granularity != adminpb.Table_MILLIS {
			t.Errorf("%v %v", got, err)
		}

		if _, err := m.client.DeleteTable(c.ctx, deleteRequest()); err != nil {
			t.Fatal(err)
		}
		_, err = m.client.GetTable(c.ctx, &adminpb.GetTableRequest{Name: tblName})
		want("deleted", err, codes.NotFound)
		if _, err := m.client.CreateTable(c.ctx, createRequest(2)); err != nil { // the name is free at once
			t.Fatal(err)
		}
		c.await("old tablets gone", time.Minute, func() bool { return len(c.tablets()) == 3 })
		if rec, err := c.meta.TableByName(c.ctx, tblName); err != nil || rec.ID == 1 || len(rec.Record.Families) != 1 {
			t.Errorf("%v %v", rec, err)
		}
	})
}

func TestProtectedTable(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		m := c.master("m1", nil)
		c.await("active", time.Minute, m.Active)
		req := createRequest(0)
		req.Table.DeletionProtection = true
		if _, err := m.client.CreateTable(c.ctx, req); err != nil {
			t.Fatal(err)
		}
		if _, err := m.client.DeleteTable(c.ctx, deleteRequest()); status.Code(err) != codes.FailedPrecondition {
			t.Error(err)
		}
	})
}

func TestListTablesByPage(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		m := c.master("m1", nil)
		c.await("active", time.Minute, m.Active)
		for _, id := range []string{"c", "a", "b"} {
			req := createRequest(0)
			req.TableId = id
			if _, err := m.client.CreateTable(c.ctx, req); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		page := &adminpb.ListTablesRequest{Parent: parent, PageSize: 2}
		for {
			r, err := m.client.ListTables(c.ctx, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, tbl := range r.Tables {
				names = append(names, tbl.Name[len(parent+"/tables/"):])
			}
			if page.PageToken = r.NextPageToken; page.PageToken == "" {
				break
			}
		}
		if len(names) != 3 || names[0] != "a" || names[2] != "c" {
			t.Error(names)
		}
	})
}

// A deleted table comes back with its tablets for a while, unless its name was
// given away; then it goes.
func TestUndeleteTable(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		m := c.master("m1", func(cfg *master.Config) { cfg.Options.KeepDeleted = 10 * time.Minute })
		c.create(m, 4)
		c.writeAll()
		undelete := func(want codes.Code) {
			t.Helper()
			if _, err := m.client.UndeleteTable(c.ctx, &adminpb.UndeleteTableRequest{Name: tblName}); status.Code(err) != want {
				t.Errorf("undelete: %v, want %v", err, want)
			}
		}
		drop := func() {
			t.Helper()
			if _, err := m.client.DeleteTable(c.ctx, deleteRequest()); err != nil {
				t.Fatal(err)
			}
		}
		released := func() bool {
			return !slices.ContainsFunc(c.tablets(), func(tb meta.Tablet) bool { return tb.Table == 1 && tb.State != meta.Unassigned })
		}
		undelete(codes.NotFound)
		drop()
		undelete(codes.OK) // at once, while owners are asked to let go
		c.await("served again", time.Minute, c.allServed)
		drop()
		c.await("released", time.Minute, released)
		time.Sleep(5 * time.Minute)
		if n := len(c.tablets()); n != 4 {
			t.Errorf("%d tablets are kept of 4", n)
		}
		if _, err := m.client.CreateTable(c.ctx, createRequest(0)); err != nil {
			t.Fatal(err)
		}
		undelete(codes.AlreadyExists)
		drop() // the other: it was deleted last
		c.await("released", time.Minute, func() bool {
			return released() && !slices.ContainsFunc(c.tablets(), func(tb meta.Tablet) bool { return tb.State != meta.Unassigned })
		})
		time.Sleep(4 * time.Minute)
		c.await("the first gone", 2*time.Minute, func() bool { return len(c.tablets()) == 1 })
		undelete(codes.OK)
		if rec, err := c.meta.TableByName(c.ctx, tblName); err != nil || rec.ID != 2 {
			t.Errorf("%v, %v", rec.ID, err)
		}
		c.await("served again", time.Minute, c.allServed)
	})
}

// A server that died with tablets of a deleted table does not keep it.
func TestDeleteTableOfDeadServer(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		c.start("s2")
		m := c.master("m1", nil)
		c.create(m, 8)
		c.writeAll()
		c.servers[0].crash()
		if _, err := m.client.DeleteTable(c.ctx, deleteRequest()); err != nil {
			t.Fatal(err)
		}
		c.await("no tablets", time.Minute, func() bool { return len(c.tablets()) == 0 })
		c.collectAll(c.servers[0].e())
	})
}

// A server that is cut off from the master holds a schema change up until its
// session ends, or it answers again.
func TestSchemaChangeWaitsForTheSlow(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		slow := c.start("s2")
		m := c.master("m1", nil)
		c.create(m, 2)
		c.net.Partition("m1", "s2")
		time.AfterFunc(4*time.Second, func() { c.net.Join("m1", "s2") })
		start := time.Now()
		req := &adminpb.ModifyColumnFamiliesRequest{Name: tblName, Modifications: []*adminpb.ModifyColumnFamiliesRequest_Modification{
			{Id: "f", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Drop{Drop: true}},
		}}
		if _, err := m.client.ModifyColumnFamilies(c.ctx, req); err != nil {
			t.Fatal(err)
		}
		slow.mu.Lock()
		defer slow.mu.Unlock()
		if d := time.Since(start); d < 4*time.Second || d > 8*time.Second || slow.mu.schemas == 0 {
			t.Errorf("took %v; server knows %d", d, slow.mu.schemas)
		}
	})
}

func TestStandby(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		m1 := c.master("m1", nil)
		c.create(m1, 2)
		m2 := c.master("m2", nil)
		time.Sleep(time.Second)
		var leader *base.LeaderError
		_, err := m2.client.ListTables(c.ctx, &adminpb.ListTablesRequest{Parent: parent})
		if !errors.As(rpc.FromStatus(err), &leader) || leader.Leader != "m1:1" {
			t.Fatalf("standby: %v", err)
		}
		start := time.Now()
		m1.close()
		c.await("hand-over", time.Minute, m2.Active)
		if d := time.Since(start); d > time.Second {
			t.Errorf("hand-over took %v", d)
		}
		m3 := c.master("m3", nil)
		time.Sleep(time.Second)
		m2.crash()
		if d := c.await("take-over", time.Minute, m3.Active); d < 5*time.Second || d > 15*time.Second {
			t.Errorf("take-over took %v", d)
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if _, err := m3.client.DeleteTable(ctx, deleteRequest()); err != nil {
			t.Error(err)
		}
	})
}

// A master that is cut off from the lock service stops when its session ends,
// and stands by when it is back.
func TestMasterLosesItsSession(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.start("s1")
		m1 := c.master("m1", nil)
		c.create(m1, 2)
		m2 := c.master("m2", nil)
		time.Sleep(time.Second)
		m1.ls.Partition(true)
		c.await("take-over", time.Minute, m2.Active)
		m1.ls.Partition(false)
		c.await("stand-by", 15*time.Second, func() bool { return !m1.Active() })
		m2.close()
		c.await("again", time.Minute, m1.Active)
	})
}
