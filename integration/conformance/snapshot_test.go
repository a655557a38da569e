package conformance

import (
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func (s *system) snapshot(table, id string, ttl time.Duration) (*adminpb.Snapshot, error) {
	req := &adminpb.SnapshotTableRequest{Name: parent + "/tables/" + table, Cluster: backups, SnapshotId: id, Description: "of " + table}
	if ttl != 0 {
		req.Ttl = durationpb.New(ttl)
	}
	op, err := s.tables.SnapshotTable(s.ctx, req)
	if err != nil {
		return nil, err
	}
	if kept, err := s.ops.GetOperation(s.ctx, &longrunningpb.GetOperationRequest{Name: op.Name}); err != nil || !kept.Done || !proto.Equal(kept, op) {
		s.Errorf("%v, %v", kept, err)
	}
	var m adminpb.SnapshotTableMetadata
	s.must(op.Metadata.UnmarshalTo(&m))
	if !proto.Equal(m.OriginalRequest, req) || m.RequestTime == nil || m.FinishTime.AsTime().Before(m.RequestTime.AsTime()) {
		s.Errorf("metadata %v", &m)
	}
	var snap adminpb.Snapshot
	s.must(op.GetResponse().UnmarshalTo(&snap))
	return &snap, nil
}

func (s *system) fromSnapshot(name, table string) error {
	req := &adminpb.CreateTableFromSnapshotRequest{Parent: parent, TableId: table, SourceSnapshot: name}
	op, err := s.tables.CreateTableFromSnapshot(s.ctx, req)
	if err != nil {
		return err
	}
	var m adminpb.CreateTableFromSnapshotMetadata
	s.must(op.Metadata.UnmarshalTo(&m))
	var t adminpb.Table
	s.must(op.GetResponse().UnmarshalTo(&t))
	if !op.Done || !proto.Equal(m.OriginalRequest, req) || m.FinishTime == nil || t.Name != parent+"/tables/"+table || t.ColumnFamilies["f"].GetGcRule().GetMaxNumVersions() != 3 {
		s.Errorf("%v of %v", op, &t)
	}
	return nil
}

// TestSnapshots: a snapshot holds what was there when it was taken, with the
// schema of that time, whatever becomes of the table.
func TestSnapshots(t *testing.T) {
	inSystem(t, func(s *system) {
		rule := func(n int32) *adminpb.GcRule {
			return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: n}}
		}
		req := &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{DeletionProtection: true, Granularity: adminpb.Table_MICROS,
			ColumnFamilies: map[string]*adminpb.ColumnFamily{"f": {GcRule: rule(3)}}}}
		for _, k := range []string{"k3", "k6"} {
			req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(k)})
		}
		_, err := s.tables.CreateTable(s.ctx, req)
		s.must(err)
		const rows = 10
		write := func(table, value string) {
			for i := range rows {
				s.write(table, fmt.Sprint("k", i), value)
			}
		}
		write("t", "old")
		snap, err := s.snapshot("t", "s", 48*time.Hour)
		s.must(err)
		if snap.State != adminpb.Snapshot_READY || snap.DataSizeBytes <= 0 || snap.Name != backups+"/snapshots/s" || snap.Description != "of t" || time.Since(snap.CreateTime.AsTime()) > time.Minute ||
			snap.DeleteTime.AsTime().Sub(snap.CreateTime.AsTime()) != 48*time.Hour || snap.SourceTable.GetName() != parent+"/tables/t" || snap.SourceTable.Granularity != adminpb.Table_MICROS {
			t.Errorf("%v", snap)
		}
		if got, err := s.tables.GetSnapshot(s.ctx, &adminpb.GetSnapshotRequest{Name: snap.Name}); err != nil || !proto.Equal(got, snap) {
			t.Errorf("%v, %v; want %v", got, err, snap)
		}
		write("t", "new")
		_, err = s.tables.ModifyColumnFamilies(s.ctx, &adminpb.ModifyColumnFamiliesRequest{Name: parent + "/tables/t", Modifications: []*adminpb.ModifyColumnFamiliesRequest_Modification{
			{Id: "f", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Update{Update: &adminpb.ColumnFamily{GcRule: rule(1)}}},
			{Id: "g", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: &adminpb.ColumnFamily{}}}}})
		s.must(err)
		s.must(s.fromSnapshot(snap.Name, "clone"))
		s.expect("clone", rows, "old")
		s.expect("t", rows, "new")
		// The clone lives by itself, also when the snapshot is gone, and may go:
		// its protection did not come along.
		write("clone", "mine")
		short, err := s.snapshot("clone", "short", 0)
		s.must(err)
		if d := short.DeleteTime.AsTime().Sub(short.CreateTime.AsTime()); d != 24*time.Hour {
			t.Errorf("kept for %v by default", d)
		}
		s.c.KillTabletServer(s.c.TabletServers()[0])
		s.expect("clone", rows, "mine")
		_, err = s.tables.DeleteTable(s.ctx, &adminpb.DeleteTableRequest{Name: parent + "/tables/clone"})
		s.must(err)
		s.must(s.fromSnapshot(snap.Name, "clone"))
		list, err := s.tables.ListSnapshots(s.ctx, &adminpb.ListSnapshotsRequest{Parent: parent + "/clusters/-", PageSize: 1})
		if err != nil || len(list.Snapshots) != 1 || list.Snapshots[0].Name != snap.Name || list.NextPageToken == "" {
			t.Errorf("%v, %v", list, err)
		}
		list, err = s.tables.ListSnapshots(s.ctx, &adminpb.ListSnapshotsRequest{Parent: backups, PageToken: list.GetNextPageToken()})
		if err != nil || len(list.Snapshots) != 1 || !proto.Equal(list.Snapshots[0], short) || list.NextPageToken != "" {
			t.Errorf("%v, %v", list, err)
		}
		_, err = s.inst.DeleteInstance(s.ctx, &adminpb.DeleteInstanceRequest{Name: parent})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("an instance with snapshots: %v", err)
		}
		_, err = s.tables.DeleteSnapshot(s.ctx, &adminpb.DeleteSnapshotRequest{Name: snap.Name})
		s.must(err)
		s.expect("clone", rows, "old")
	})
}

func TestSnapshotRules(t *testing.T) {
	inSystem(t, func(s *system) {
		s.createTable("t")
		snap, err := s.snapshot("t", "s", time.Minute) // of an empty table
		s.must(err)
		take := func(req *adminpb.SnapshotTableRequest) error {
			_, err := s.tables.SnapshotTable(s.ctx, req)
			return err
		}
		get := func(name string) error {
			_, err := s.tables.GetSnapshot(s.ctx, &adminpb.GetSnapshotRequest{Name: name})
			return err
		}
		list := func(parent string) error {
			_, err := s.tables.ListSnapshots(s.ctx, &adminpb.ListSnapshotsRequest{Parent: parent})
			return err
		}
		drop := func(name string) error {
			_, err := s.tables.DeleteSnapshot(s.ctx, &adminpb.DeleteSnapshotRequest{Name: name})
			return err
		}
		make := func(in, table, name string) error {
			_, err := s.tables.CreateTableFromSnapshot(s.ctx, &adminpb.CreateTableFromSnapshotRequest{Parent: in, TableId: table, SourceSnapshot: name})
			return err
		}
		src := parent + "/tables/t"
		for name, c := range map[string]struct {
			err  error
			code codes.Code
		}{
			"exists":           {take(&adminpb.SnapshotTableRequest{Name: src, Cluster: backups, SnapshotId: "s"}), codes.AlreadyExists},
			"no table":         {take(&adminpb.SnapshotTableRequest{Name: src + "x", Cluster: backups, SnapshotId: "x"}), codes.NotFound},
			"other instance":   {take(&adminpb.SnapshotTableRequest{Name: "projects/p/instances/j/tables/t", Cluster: backups, SnapshotId: "x"}), codes.InvalidArgument},
			"no cluster":       {take(&adminpb.SnapshotTableRequest{Name: src, SnapshotId: "x"}), codes.InvalidArgument},
			"bad id":           {take(&adminpb.SnapshotTableRequest{Name: src, Cluster: backups, SnapshotId: "x y"}), codes.InvalidArgument},
			"no id":            {take(&adminpb.SnapshotTableRequest{Name: src, Cluster: backups}), codes.InvalidArgument},
			"negative ttl":     {take(&adminpb.SnapshotTableRequest{Name: src, Cluster: backups, SnapshotId: "x", Ttl: durationpb.New(-1)}), codes.InvalidArgument},
			"long ttl":         {take(&adminpb.SnapshotTableRequest{Name: src, Cluster: backups, SnapshotId: "x", Ttl: durationpb.New(366 * 24 * time.Hour)}), codes.InvalidArgument},
			"long description": {take(&adminpb.SnapshotTableRequest{Name: src, Cluster: backups, SnapshotId: "x", Description: string(append([]byte(nil), fmt.Sprintf("%5000d", 1)...))}), codes.InvalidArgument},
			"get none":         {get(backups + "/snapshots/none"), codes.NotFound},
			"get badly":        {get("s"), codes.InvalidArgument},
			"list badly":       {list("x"), codes.InvalidArgument},
			"delete none":      {drop(backups + "/snapshots/none"), codes.NotFound},
			"delete badly":     {drop("s"), codes.InvalidArgument},
			"table exists":     {make(parent, "t", snap.Name), codes.AlreadyExists},
			"no snapshot":      {make(parent, "x", backups+"/snapshots/none"), codes.NotFound},
			"elsewhere":        {make("projects/p/instances/other", "x", snap.Name), codes.InvalidArgument},
			"bad table":        {make(parent, "x y", snap.Name), codes.InvalidArgument},
			"bad snapshot":     {make(parent, "x", "s"), codes.InvalidArgument},
		} {
			if status.Code(c.err) != c.code {
				t.Errorf("%s: %v, want %v", name, c.err, c.code)
			}
		}
		time.Sleep(time.Minute)
		if err := get(snap.Name); status.Code(err) != codes.NotFound {
			t.Errorf("a snapshot whose time is over: %v", err)
		}
		if err := make(parent, "x", snap.Name); status.Code(err) != codes.NotFound {
			t.Errorf("a table of a snapshot whose time is over: %v", err)
		}
		if _, err := s.snapshot("t", "s", 0); err != nil {
			t.Errorf("in the place of one whose time is over: %v", err)
		}
	})
}
