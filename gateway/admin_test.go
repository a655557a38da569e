package gateway_test

import (
	"context"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tabletdb/tabletdb/gateway"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// other starts a second gateway and returns clients of it.
func (x *fixture) other(strict bool) (adminpb.BigtableTableAdminClient, adminpb.BigtableInstanceAdminClient, longrunningpb.OperationsClient) {
	x.Helper()
	gw := gateway.New(gateway.Config{Router: x.r, Meta: x.Meta, Network: x.Net.Node("gateway2"), Strict: strict})
	x.AddServer("gateway2", gw, gw.Register)
	cc, err := rpc.Dial(x.Net.Node("client"), "gateway2")
	if err != nil {
		x.Fatal(err)
	}
	x.closers = append(x.closers, cc.Close, gw.Close)
	return adminpb.NewBigtableTableAdminClient(cc), adminpb.NewBigtableInstanceAdminClient(cc), longrunningpb.NewOperationsClient(cc)
}

func (x *fixture) code(what string, err error, want codes.Code) {
	x.Helper()
	if status.Code(err) != want {
		x.Errorf("%s: %v; want %v", what, err, want)
	}
}

// TestOperationsAreShared: what one gateway did another one can tell.
func TestOperationsAreShared(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		_, inst, ops := x.other(false)
		op, err := x.inst.CreateInstance(ctx, &adminpb.CreateInstanceRequest{Parent: "projects/p", InstanceId: "new",
			Instance: &adminpb.Instance{DisplayName: "New", Labels: map[string]string{"k": "v"}}, Clusters: map[string]*adminpb.Cluster{"c": {}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ops.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: op.Name})
		if err != nil {
			t.Fatal(err)
		}
		var in adminpb.Instance
		var m adminpb.CreateInstanceMetadata
		if err := got.GetResponse().UnmarshalTo(&in); err != nil || in.DisplayName != "New" || in.Name != "projects/p/instances/new" {
			t.Errorf("%v, %v", &in, err)
		}
		if err := got.GetMetadata().UnmarshalTo(&m); err != nil || m.OriginalRequest.GetInstanceId() != "new" || m.FinishTime == nil {
			t.Errorf("%v, %v", &m, err)
		}
		if i, err := inst.GetInstance(ctx, &adminpb.GetInstanceRequest{Name: in.Name}); err != nil || i.Labels["k"] != "v" {
			t.Errorf("%v, %v", i, err)
		}
		if l, err := ops.ListOperations(ctx, &longrunningpb.ListOperationsRequest{Name: "operations/" + in.Name}); err != nil || len(l.Operations) != 1 {
			t.Errorf("%v, %v", l, err)
		}
		if _, err := ops.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: op.Name}); err != nil {
			t.Error(err)
		}
		_, err = x.ops.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: op.Name})
		x.code("deleted operation", err, codes.NotFound)
	})
}

func TestStrict(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		tables, inst, _ := x.other(true)
		_, err := inst.GetInstance(ctx, &adminpb.GetInstanceRequest{Name: parent})
		x.code("instance", err, codes.NotFound)
		_, err = inst.GetCluster(ctx, &adminpb.GetClusterRequest{Name: parent + "/clusters/c"})
		x.code("cluster", err, codes.NotFound)
		create := func() error {
			_, err := tables.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: "t", Table: &adminpb.Table{}})
			return err
		}
		x.code("table", create(), codes.NotFound)
		_, err = inst.CreateInstance(ctx, &adminpb.CreateInstanceRequest{Parent: "projects/local", InstanceId: "main", Clusters: map[string]*adminpb.Cluster{
			"c": {EncryptionConfig: &adminpb.Cluster_EncryptionConfig{KmsKeyName: "k"}}}})
		x.code("key", err, codes.Unimplemented)
		_, err = inst.CreateInstance(ctx, &adminpb.CreateInstanceRequest{Parent: "projects/local", InstanceId: "main", Clusters: map[string]*adminpb.Cluster{"c": {}}})
		x.code("create", err, codes.OK)
		x.code("table of an instance", create(), codes.OK)
	})
}

func TestDeleteInstance(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t")
		if _, err := x.tables.UpdateTable(ctx, &adminpb.UpdateTableRequest{Table: &adminpb.Table{Name: table, DeletionProtection: true},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"deletion_protection"}}}); err != nil {
			t.Fatal(err)
		}
		_, err := x.inst.DeleteInstance(ctx, &adminpb.DeleteInstanceRequest{Name: parent})
		x.code("protected", err, codes.FailedPrecondition)
		if _, err := x.tables.UpdateTable(ctx, &adminpb.UpdateTableRequest{Table: &adminpb.Table{Name: table},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"deletion_protection"}}}); err != nil {
			t.Fatal(err)
		}
		_, err = x.inst.DeleteInstance(ctx, &adminpb.DeleteInstanceRequest{Name: parent})
		x.code("delete", err, codes.OK)
		_, err = x.tables.GetTable(ctx, &adminpb.GetTableRequest{Name: table})
		x.code("table", err, codes.NotFound)
	})
}

// TestTableSpec: what cannot be is refused when a table is made and when it is
// updated.
func TestTableSpec(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t")
		days := func(n int64) *durationpb.Duration { return &durationpb.Duration{Seconds: n * 24 * 3600} }
		stream := func(n int64) *adminpb.Table {
			return &adminpb.Table{ChangeStreamConfig: &adminpb.ChangeStreamConfig{RetentionPeriod: days(n)}}
		}
		backup := func(n int64) *adminpb.Table {
			return &adminpb.Table{AutomatedBackupConfig: &adminpb.Table_AutomatedBackupPolicy_{AutomatedBackupPolicy: &adminpb.Table_AutomatedBackupPolicy{RetentionPeriod: days(n), Frequency: days(1)}}}
		}
		tier := func(n int64) *adminpb.Table {
			return &adminpb.Table{TieredStorageConfig: &adminpb.TieredStorageConfig{InfrequentAccess: &adminpb.TieredStorageRule{Rule: &adminpb.TieredStorageRule_IncludeIfOlderThan{IncludeIfOlderThan: days(n)}}}}
		}
		for _, c := range []struct {
			what, path string
			table      *adminpb.Table
			ok         bool
		}{
			{"stream 0", "change_stream_config", stream(0), false}, {"stream 1", "change_stream_config", stream(1), true}, {"stream 8", "change_stream_config", stream(8), false},
			{"backup 2", "automated_backup_policy", backup(2), false}, {"backup 3", "automated_backup_policy", backup(3), true}, {"backup 91", "automated_backup_policy", backup(91), false},
			{"tier 29", "tiered_storage_config", tier(29), false}, {"tier 30", "tiered_storage_config", tier(30), true},
		} {
			want := codes.InvalidArgument
			if c.ok {
				want = codes.OK
			}
			_, err := x.tables.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: strings.ReplaceAll(c.what, " ", "-"), Table: c.table})
			x.code("create with "+c.what, err, want)
			c.table.Name = table
			_, err = x.tables.UpdateTable(ctx, &adminpb.UpdateTableRequest{Table: c.table, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{c.path}}})
			x.code("update to "+c.what, err, want)
		}
		_, err := x.tables.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: table})
		x.code("delete with a change stream", err, codes.FailedPrecondition)
		_, err = x.tables.UpdateTable(ctx, &adminpb.UpdateTableRequest{Table: &adminpb.Table{Name: table}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"column_families"}}})
		x.code("families", err, codes.InvalidArgument)
		if full, err := x.tables.GetTable(ctx, &adminpb.GetTableRequest{Name: table, View: adminpb.Table_FULL}); err != nil || len(full.ClusterStates) != 1 ||
			full.ClusterStates["main-c1"].ReplicationState != adminpb.Table_ClusterState_READY || full.EffectiveAutomatedBackupPolicy == nil {
			t.Errorf("%v, %v", full, err)
		}
	})
}

// TestPoliciesGoWithTables: a table of the name of one that was deleted has
// none of its policies and views.
func TestPoliciesGoWithTables(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t")
		p, err := x.tables.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: table})
		if err != nil {
			t.Fatal(err)
		}
		stale := p.Etag
		p.Bindings = []*iampb.Binding{{Role: "r", Members: []string{"m"}}}
		if _, err := x.tables.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: table, Policy: p}); err != nil {
			t.Fatal(err)
		}
		_, err = x.tables.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: table, Policy: &iampb.Policy{Etag: stale}})
		x.code("stale etag", err, codes.Aborted)
		view := &adminpb.CreateAuthorizedViewRequest{Parent: table, AuthorizedViewId: "v", AuthorizedView: &adminpb.AuthorizedView{DeletionProtection: true,
			AuthorizedView: &adminpb.AuthorizedView_SubsetView_{SubsetView: &adminpb.AuthorizedView_SubsetView{}}}}
		if _, err := x.tables.CreateAuthorizedView(ctx, view); err != nil {
			t.Fatal(err)
		}
		_, err = x.tables.CreateAuthorizedView(ctx, view)
		x.code("twice", err, codes.AlreadyExists)
		_, err = x.tables.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: table})
		x.code("a protected view", err, codes.FailedPrecondition)
		if _, err := x.tables.UpdateAuthorizedView(ctx, &adminpb.UpdateAuthorizedViewRequest{AuthorizedView: &adminpb.AuthorizedView{Name: table + "/authorizedViews/v"},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"deletion_protection"}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.tables.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: table}); err != nil {
			t.Fatal(err)
		}
		x.create(ctx, "t")
		if p, err = x.tables.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: table}); err != nil || len(p.Bindings) != 0 {
			t.Errorf("%v, %v", p, err)
		}
		_, err = x.tables.GetAuthorizedView(ctx, &adminpb.GetAuthorizedViewRequest{Name: table + "/authorizedViews/v"})
		x.code("view", err, codes.NotFound)
	})
}

// TestAppProfiles: a profile forbids what it does not allow; one that nobody
// created forbids nothing unless the gateway is strict.
func TestAppProfiles(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t")
		cluster := &adminpb.AppProfile_SingleClusterRouting_{SingleClusterRouting: &adminpb.AppProfile_SingleClusterRouting{ClusterId: "main-c1"}}
		boost := adminpb.AppProfile_DataBoostIsolationReadOnly_HOST_PAYS
		for id, p := range map[string]*adminpb.AppProfile{
			"plain": {RoutingPolicy: cluster},
			"boost": {RoutingPolicy: cluster, Isolation: &adminpb.AppProfile_DataBoostIsolationReadOnly_{DataBoostIsolationReadOnly: &adminpb.AppProfile_DataBoostIsolationReadOnly{ComputeBillingOwner: &boost}}},
		} {
			_, err := x.inst.CreateAppProfile(ctx, &adminpb.CreateAppProfileRequest{Parent: parent, AppProfileId: id, AppProfile: p})
			x.code("create "+id, err, codes.OK)
		}
		for _, c := range []struct {
			profile             string
			read, write, modify codes.Code
		}{
			{"", codes.OK, codes.OK, codes.OK},
			{"default", codes.OK, codes.OK, codes.OK},
			{"unknown", codes.OK, codes.OK, codes.OK},
			{"plain", codes.OK, codes.OK, codes.FailedPrecondition},
			{"boost", codes.OK, codes.FailedPrecondition, codes.FailedPrecondition},
		} {
			_, err := x.read(ctx, &bigtablepb.ReadRowsRequest{TableName: table, AppProfileId: c.profile})
			x.code("read with "+c.profile, err, c.read)
			_, err = x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte("r"), Mutations: set("v"), AppProfileId: c.profile})
			x.code("write with "+c.profile, err, c.write)
			_, err = all(x.data.MutateRows(ctx, &bigtablepb.MutateRowsRequest{TableName: table, AppProfileId: c.profile, Entries: []*bigtablepb.MutateRowsRequest_Entry{{RowKey: []byte("r"), Mutations: set("v")}}}))
			x.code("bulk write with "+c.profile, err, c.write)
			_, err = x.data.ReadModifyWriteRow(ctx, &bigtablepb.ReadModifyWriteRowRequest{TableName: table, RowKey: []byte("r"), AppProfileId: c.profile, Rules: []*bigtablepb.ReadModifyWriteRule{{
				FamilyName: "f", ColumnQualifier: []byte("n"), Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("x")}}}})
			x.code("modify with "+c.profile, err, c.modify)
		}
	})
}
