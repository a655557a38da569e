package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	storemem "github.com/tabletdb/tabletdb/objstore/mem"
)

const (
	parent  = "projects/p/instances/i"
	backups = parent + "/clusters/i-c1"
)

// system is a whole cluster in a bubble and Google's services on it.
type system struct {
	*testing.T
	ctx    context.Context
	c      *cluster.Cluster
	tables adminpb.BigtableTableAdminClient
	inst   adminpb.BigtableInstanceAdminClient
	data   bigtablepb.BigtableClient
	ops    longrunningpb.OperationsClient
}

func inSystem(t *testing.T, f func(s *system)) {
	synctest.Test(t, func(t *testing.T) {
		network, store, start := memnet.New(), storemem.New(), time.Now()
		c, err := cluster.Open(t.Context(), cluster.Config{
			Store: store, LockServers: 1, Masters: 1, TabletServers: 3, Node: func(n string) rpc.Network { return network.Node(n) }, Host: "mem",
			Clock: func() time.Duration { return time.Since(start) }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		defer c.Kill()
		cc, err := rpc.Dial(network.Node("user"), c.Gateway())
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		f(&system{T: t, ctx: ctx, c: c, tables: adminpb.NewBigtableTableAdminClient(cc), inst: adminpb.NewBigtableInstanceAdminClient(cc), data: bigtablepb.NewBigtableClient(cc), ops: longrunningpb.NewOperationsClient(cc)})
	})
}

func (s *system) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *system) write(table, row, value string) {
	s.Helper()
	_, err := s.data.MutateRow(s.ctx, &bigtablepb.MutateRowRequest{TableName: parent + "/tables/" + table, RowKey: []byte(row), Mutations: []*bigtablepb.Mutation{{
		Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{FamilyName: "f", ColumnQualifier: []byte("q"), TimestampMicros: -1, Value: []byte(value)}}}}})
	s.must(err)
}

// read returns the newest value of each row.
func (s *system) read(table string) map[string]string {
	s.Helper()
	st, err := s.data.ReadRows(s.ctx, &bigtablepb.ReadRowsRequest{TableName: parent + "/tables/" + table,
		Filter: &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_CellsPerColumnLimitFilter{CellsPerColumnLimitFilter: 1}}})
	s.must(err)
	rows := map[string]string{}
	for {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return rows
		}
		s.must(err)
		for _, c := range m.Chunks {
			rows[string(c.RowKey)] = string(c.Value)
		}
	}
}

func (s *system) expect(table string, n int, value string) {
	s.Helper()
	rows := s.read(table)
	if len(rows) != n {
		s.Errorf("%s has %d rows, want %d", table, len(rows), n)
	}
	for r, v := range rows {
		if v != value {
			s.Errorf("%s: row %q is %q, want %q", table, r, v, value)
		}
	}
}

func (s *system) backup(table, id string) *adminpb.Backup {
	s.Helper()
	op, err := s.tables.CreateBackup(s.ctx, &adminpb.CreateBackupRequest{Parent: backups, BackupId: id,
		Backup: &adminpb.Backup{SourceTable: parent + "/tables/" + table, ExpireTime: timestamppb.New(time.Now().Add(8 * time.Hour))}})
	s.must(err)
	var b adminpb.Backup
	s.must(op.GetResponse().UnmarshalTo(&b))
	if kept, err := s.ops.GetOperation(s.ctx, &longrunningpb.GetOperationRequest{Name: op.Name}); err != nil || !kept.Done {
		s.Errorf("%v, %v", kept, err)
	}
	return &b
}

func (s *system) restore(backup, table string) {
	s.Helper()
	op, err := s.tables.RestoreTable(s.ctx, &adminpb.RestoreTableRequest{Parent: parent, TableId: table, Source: &adminpb.RestoreTableRequest_Backup{Backup: backup}})
	s.must(err)
	var tbl adminpb.Table
	s.must(op.GetResponse().UnmarshalTo(&tbl))
	if tbl.GetRestoreInfo().GetBackupInfo().GetBackup() != backup || tbl.ColumnFamilies["f"] == nil {
		s.Errorf("%v", &tbl)
	}
}

func (s *system) createTable(id string, splits ...string) {
	s.Helper()
	req := &adminpb.CreateTableRequest{Parent: parent, TableId: id, Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{"e": {}, "f": {}}}}
	for _, k := range splits {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(k)})
	}
	_, err := s.tables.CreateTable(s.ctx, req)
	s.must(err)
}

// TestBackup: a backup holds what was there when it was taken, whatever
// becomes of the table, its tablets and its owners, and so does a copy; tables
// that are restored from it are tables like others.
func TestBackup(t *testing.T) {
	inSystem(t, func(s *system) {
		s.createTable("t", "k3", "k6")
		const rows = 10
		write := func(table, value string) {
			for i := range rows {
				s.write(table, fmt.Sprint("k", i), value)
			}
		}
		write("t", "old")
		b := s.backup("t", "b")
		if b.State != adminpb.Backup_READY || b.BackupType != adminpb.Backup_STANDARD || b.SizeBytes <= 0 || b.Name != backups+"/backups/b" {
			t.Errorf("%v", b)
		}
		write("t", "new")
		_, err := s.tables.DropRowRange(s.ctx, &adminpb.DropRowRangeRequest{Name: parent + "/tables/t", Target: &adminpb.DropRowRangeRequest_RowKeyPrefix{RowKeyPrefix: []byte("k1")}})
		s.must(err)
		s.restore(b.Name, "r1")
		s.expect("r1", rows, "old")
		s.expect("t", rows-1, "new")

		// The restored table is written, flushed and backed up itself, and
		// survives the death of a server.
		write("r1", "mine")
		b2 := s.backup("r1", "b2")
		s.c.KillTabletServer(s.c.TabletServers()[0])
		s.expect("r1", rows, "mine")
		s.restore(b2.Name, "r2")
		s.expect("r2", rows, "mine")

		_, err = s.tables.CopyBackup(s.ctx, &adminpb.CopyBackupRequest{Parent: "projects/p/instances/other/clusters/c", BackupId: "copy", SourceBackup: b.Name,
			ExpireTime: timestamppb.New(time.Now().Add(100 * time.Hour))})
		s.must(err)
		_, err = s.tables.DeleteBackup(s.ctx, &adminpb.DeleteBackupRequest{Name: b.Name})
		s.must(err)
		_, err = s.tables.DeleteTable(s.ctx, &adminpb.DeleteTableRequest{Name: parent + "/tables/t"})
		s.must(err)
		s.restore("projects/p/instances/other/clusters/c/backups/copy", "t")
		s.expect("t", rows, "old")
	})
}

func TestBackupRules(t *testing.T) {
	inSystem(t, func(s *system) {
		s.createTable("t")
		b := s.backup("t", "b") // of an empty table
		s.restore(b.Name, "r")
		s.expect("r", 0, "")
		in := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(d)) }
		create := func(id string, b *adminpb.Backup) error {
			_, err := s.tables.CreateBackup(s.ctx, &adminpb.CreateBackupRequest{Parent: backups, BackupId: id, Backup: b})
			return err
		}
		update := func(b *adminpb.Backup, paths ...string) error {
			_, err := s.tables.UpdateBackup(s.ctx, &adminpb.UpdateBackupRequest{Backup: b, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
		src := parent + "/tables/t"
		for name, c := range map[string]struct {
			err  error
			code codes.Code
		}{
			"exists":         {create("b", &adminpb.Backup{SourceTable: src, ExpireTime: in(8 * time.Hour)}), codes.AlreadyExists},
			"no table":       {create("x", &adminpb.Backup{SourceTable: src + "x", ExpireTime: in(8 * time.Hour)}), codes.NotFound},
			"other instance": {create("x", &adminpb.Backup{SourceTable: "projects/p/instances/j/tables/t", ExpireTime: in(8 * time.Hour)}), codes.InvalidArgument},
			"no time":        {create("x", &adminpb.Backup{SourceTable: src}), codes.InvalidArgument},
			"too short":      {create("x", &adminpb.Backup{SourceTable: src, ExpireTime: in(time.Hour)}), codes.InvalidArgument},
			"too long":       {create("x", &adminpb.Backup{SourceTable: src, ExpireTime: in(91 * 24 * time.Hour)}), codes.InvalidArgument},
			"standard cools": {create("x", &adminpb.Backup{SourceTable: src, ExpireTime: in(8 * time.Hour), HotToStandardTime: in(48 * time.Hour)}), codes.InvalidArgument},
			"bad id":         {create("x y", &adminpb.Backup{SourceTable: src, ExpireTime: in(8 * time.Hour)}), codes.InvalidArgument},
			"type":           {update(&adminpb.Backup{Name: b.Name, BackupType: adminpb.Backup_HOT}, "backup_type"), codes.InvalidArgument},
			"update short":   {update(&adminpb.Backup{Name: b.Name, ExpireTime: in(time.Minute)}, "expire_time"), codes.InvalidArgument},
			"update":         {update(&adminpb.Backup{Name: b.Name, ExpireTime: in(7 * time.Hour)}, "expire_time"), codes.OK},
		} {
			if status.Code(c.err) != c.code {
				t.Errorf("%s: %v", name, c.err)
			}
		}
		if _, err := s.tables.RestoreTable(s.ctx, &adminpb.RestoreTableRequest{Parent: parent, TableId: "t", Source: &adminpb.RestoreTableRequest_Backup{Backup: b.Name}}); status.Code(err) != codes.AlreadyExists {
			t.Errorf("%v", err)
		}
	})
}

// TestAutomatedBackups: a table with a policy gets one backup, however many
// gateways there are.
func TestAutomatedBackups(t *testing.T) {
	inSystem(t, func(s *system) {
		ctx := context.WithoutCancel(s.ctx) // it takes longer
		_, err := s.tables.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{
			ColumnFamilies: map[string]*adminpb.ColumnFamily{"f": {}},
			AutomatedBackupConfig: &adminpb.Table_AutomatedBackupPolicy_{AutomatedBackupPolicy: &adminpb.Table_AutomatedBackupPolicy{
				RetentionPeriod: durationpb.New(4 * 24 * time.Hour), KeepHotDuration: durationpb.New(24 * time.Hour)}}}})
		s.must(err)
		_, err = s.tables.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: "without", Table: &adminpb.Table{}})
		s.must(err)
		s.write("t", "r", "v1")
		time.Sleep(20 * time.Minute)
		list, err := s.tables.ListBackups(ctx, &adminpb.ListBackupsRequest{Parent: backups})
		s.must(err)
		if len(list.Backups) < 1 || len(list.Backups) > 2 { // two where a day ends meanwhile
			s.Fatalf("%d backups: %v", len(list.Backups), list.Backups)
		}
		b := list.Backups[0]
		if b.SourceTable != parent+"/tables/t" || b.BackupType != adminpb.Backup_HOT || b.ExpireTime.AsTime().Sub(b.StartTime.AsTime()).Round(time.Hour) != 4*24*time.Hour {
			s.Errorf("backup %v", b)
		}
		_, err = s.tables.RestoreTable(ctx, &adminpb.RestoreTableRequest{Parent: parent, TableId: "again", Source: &adminpb.RestoreTableRequest_Backup{Backup: b.Name}})
		s.must(err)
	})
}
