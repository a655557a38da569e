package gateway_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/gateway"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

const parent = "projects/local/instances/main"

// fixture is a cluster with a gateway in the first of its servers, and a plain
// Bigtable client's connection to it.
type fixture struct {
	*testing.T
	*tabletstest.Cluster
	servers []*tabletstest.Server
	master  *tabletstest.Master
	gw      *gateway.Gateway
	r       *router.Router
	data    bigtablepb.BigtableClient
	tables  adminpb.BigtableTableAdminClient
	inst    adminpb.BigtableInstanceAdminClient
	ops     longrunningpb.OperationsClient
	closers []func() error
}

func inBubble(t *testing.T, f func(context.Context, *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, Cluster: tabletstest.New(t)}
		defer x.Cluster.Close()
		x.r = router.New(router.Config{Meta: x.Meta, Network: x.Net.Node("server0"), Local: func(addr string) route.Server {
			if addr != "server0" { // as in a tablet server: only itself
				return nil
			}
			return x.Local(addr)
		}})
		defer x.r.Close()
		x.gw = gateway.New(gateway.Config{Router: x.r, Meta: x.Meta, Network: x.Net.Node("server0")})
		defer x.gw.Close()
		x.servers = append(x.servers, x.AddServer("server0", x.gw, x.gw.Register), x.AddServer("server1", nil))
		x.master = x.AddMaster("master0")
		defer func() { x.master.Stop() }()
		cc, err := rpc.Dial(x.Net.Node("client"), "server0")
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		x.data, x.tables = bigtablepb.NewBigtableClient(cc), adminpb.NewBigtableTableAdminClient(cc)
		x.inst, x.ops = adminpb.NewBigtableInstanceAdminClient(cc), longrunningpb.NewOperationsClient(cc)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		f(ctx, x)
		for _, c := range x.closers {
			c()
		}
	})
}

func (x *fixture) create(ctx context.Context, id string, splits ...string) string {
	x.Helper()
	req := &adminpb.CreateTableRequest{Parent: parent, TableId: id, Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{"f": {}, "g": {}}}}
	for _, s := range splits {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(s)})
	}
	t, err := x.tables.CreateTable(ctx, req)
	if err != nil {
		x.Fatal(err)
	}
	return t.Name
}

func set(value string) []*bigtablepb.Mutation {
	return []*bigtablepb.Mutation{{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: &bigtablepb.Mutation_SetCell{
		FamilyName: "f", ColumnQualifier: []byte("q"), TimestampMicros: 1000, Value: []byte(value)}}}}
}

func (x *fixture) write(ctx context.Context, table, row string) {
	x.Helper()
	if _, err := x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte(row), Mutations: set(row)}); err != nil {
		x.Fatal(err)
	}
}

func all[M any](st grpc.ServerStreamingClient[M], err error) ([]*M, error) {
	if err != nil {
		return nil, err
	}
	var out []*M
	for {
		m, err := st.Recv()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
}

func (x *fixture) read(ctx context.Context, req *bigtablepb.ReadRowsRequest) (rows []string, err error) {
	resps, err := all(x.data.ReadRows(ctx, req))
	for _, r := range resps {
		for _, c := range r.Chunks {
			if len(c.RowKey) > 0 {
				rows = append(rows, string(c.RowKey))
			}
		}
	}
	return rows, err
}

func TestData(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t", "b", "c")
		for _, r := range strings.Split("a b c d", " ") {
			x.write(ctx, table, r)
		}
		rows, err := x.read(ctx, &bigtablepb.ReadRowsRequest{TableName: table})
		if err != nil || !slices.Equal(rows, []string{"a", "b", "c", "d"}) {
			t.Errorf("read %q, %v", rows, err)
		}
		resps, err := all(x.data.MutateRows(ctx, &bigtablepb.MutateRowsRequest{TableName: table, Entries: []*bigtablepb.MutateRowsRequest_Entry{
			{RowKey: []byte("a"), Mutations: set("1")}, {RowKey: []byte("e")}, {RowKey: []byte("z"), Mutations: set("2")}}}))
		if err != nil || len(resps) != 1 || len(resps[0].Entries) != 3 || resps[0].Entries[0].Status.Code != 0 || resps[0].Entries[2].Index != 2 {
			t.Errorf("MutateRows: %v, %v", resps, err)
		}
		cam, err := x.data.CheckAndMutateRow(ctx, &bigtablepb.CheckAndMutateRowRequest{TableName: table, RowKey: []byte("a"), TrueMutations: set("3")})
		if err != nil || !cam.PredicateMatched {
			t.Errorf("CheckAndMutateRow: %v, %v", cam, err)
		}
		rmw, err := x.data.ReadModifyWriteRow(ctx, &bigtablepb.ReadModifyWriteRowRequest{TableName: table, RowKey: []byte("a"), Rules: []*bigtablepb.ReadModifyWriteRule{
			{FamilyName: "f", ColumnQualifier: []byte("q"), Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("!")}}}})
		if err != nil || string(rmw.Row.Families[0].Columns[0].Cells[0].Value) != "3!" {
			t.Errorf("ReadModifyWriteRow: %v, %v", rmw, err)
		}
		keys := func(req *bigtablepb.SampleRowKeysRequest) (out []string) {
			samples, err := all(x.data.SampleRowKeys(ctx, req))
			if err != nil {
				t.Error(err)
			}
			for _, s := range samples {
				out = append(out, string(s.RowKey))
			}
			return out
		}
		if k := keys(&bigtablepb.SampleRowKeysRequest{TableName: table}); !slices.Equal(k, []string{"b", "c", ""}) {
			t.Errorf("samples %q", k)
		}
		if k := keys(&bigtablepb.SampleRowKeysRequest{TableName: table, RowRange: &bigtablepb.RowRange{
			StartKey: &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: []byte("b")}, EndKey: &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte("c5")}}}); !slices.Equal(k, []string{"c", "c5"}) {
			t.Errorf("samples of a range %q", k)
		}
		if _, err := x.data.PingAndWarm(ctx, &bigtablepb.PingAndWarmRequest{Name: parent}); err != nil {
			t.Error(err)
		}
	})
}

func TestReversedScansNeedTheFeature(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t", "b")
		x.write(ctx, table, "a")
		x.write(ctx, table, "b")
		req := &bigtablepb.ReadRowsRequest{TableName: table, Reversed: true}
		if _, err := x.read(ctx, req); status.Code(err) != codes.Unimplemented {
			t.Errorf("without the header: %v", err)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "bigtable-features", "CAE=")
		if rows, err := x.read(ctx, req); err != nil || !slices.Equal(rows, []string{"b", "a"}) {
			t.Errorf("%q, %v", rows, err)
		}
	})
}

func TestErrors(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t")
		for _, c := range []struct {
			name string
			code codes.Code
			do   func() error
		}{
			{"no such table", codes.NotFound, func() error {
				_, err := x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: parent + "/tables/none", RowKey: []byte("a"), Mutations: set("")})
				return err
			}},
			{"no table name", codes.InvalidArgument, func() error {
				_, err := x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{RowKey: []byte("a"), Mutations: set("")})
				return err
			}},
			{"bad table name", codes.InvalidArgument, func() error {
				_, err := x.read(ctx, &bigtablepb.ReadRowsRequest{TableName: "garbage"})
				return err
			}},
			{"empty row key", codes.InvalidArgument, func() error {
				_, err := x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, Mutations: set("")})
				return err
			}},
			{"negative limit", codes.InvalidArgument, func() error {
				_, err := x.read(ctx, &bigtablepb.ReadRowsRequest{TableName: table, RowsLimit: -1})
				return err
			}},
			{"no such family", codes.NotFound, func() error {
				ms := set("")
				ms[0].GetSetCell().FamilyName = "none"
				_, err := x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte("a"), Mutations: ms})
				return err
			}},
			{"view", codes.NotFound, func() error {
				_, err := x.read(ctx, &bigtablepb.ReadRowsRequest{AuthorizedViewName: table + "/authorizedViews/v"})
				return err
			}},
			{"a call we do not have", codes.Unimplemented, func() error {
				_, err := x.data.GetClientConfiguration(ctx, &bigtablepb.GetClientConfigurationRequest{})
				return err
			}},
			{"a stream we do not have", codes.Unimplemented, func() error {
				_, err := all(x.data.ReadChangeStream(ctx, &bigtablepb.ReadChangeStreamRequest{}))
				return err
			}},
			{"an admin call we do not have", codes.Unimplemented, func() error {
				_, err := x.inst.GetMemoryLayer(ctx, &adminpb.GetMemoryLayerRequest{})
				return err
			}},
		} {
			if err := c.do(); status.Code(err) != c.code {
				t.Errorf("%s: %v", c.name, err)
			} else if c.code == codes.Unimplemented && !strings.Contains(err.Error(), "not") {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	})
}

func TestTablets(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t")
		x.write(ctx, table, "a")
		tbl, err := x.Meta.TableByName(ctx, table)
		if err != nil {
			t.Fatal(err)
		}
		// A write that official clients would not send again is held.
		tb := x.Stop(x.TabletOf(tbl.ID, "a"))
		time.AfterFunc(5*time.Second, func() { x.Serve(tb, x.servers[1]) })
		ms := set("v")
		ms[0].GetSetCell().TimestampMicros = -1
		if _, err := x.data.MutateRow(ctx, &bigtablepb.MutateRowRequest{TableName: table, RowKey: []byte("a"), Mutations: ms}); err != nil {
			t.Error(err)
		}
	})
}

func TestTableAdmin(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		for i := range 5 {
			x.create(ctx, fmt.Sprint("t", i))
		}
		if _, err := x.tables.CreateTable(ctx, &adminpb.CreateTableRequest{Parent: parent, TableId: "t0", Table: &adminpb.Table{}}); status.Code(err) != codes.AlreadyExists {
			t.Errorf("create again: %v", err)
		}
		var names []string
		req := &adminpb.ListTablesRequest{Parent: parent, PageSize: 2}
		for {
			resp, err := x.tables.ListTables(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			for _, tb := range resp.Tables {
				names = append(names, tb.Name[len(parent+"/tables/"):])
			}
			if req.PageToken = resp.NextPageToken; req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(names, []string{"t0", "t1", "t2", "t3", "t4"}) {
			t.Errorf("listed %q", names)
		}

		name := parent + "/tables/t0"
		mod := &adminpb.ModifyColumnFamiliesRequest{Name: name, Modifications: []*adminpb.ModifyColumnFamiliesRequest_Modification{
			{Id: "h", Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: &adminpb.ColumnFamily{}}}}}
		if tb, err := x.tables.ModifyColumnFamilies(ctx, mod); err != nil || tb.ColumnFamilies["h"] == nil {
			t.Errorf("%v, %v", tb, err)
		}
		if tb, err := x.tables.GetTable(ctx, &adminpb.GetTableRequest{Name: name}); err != nil || len(tb.ColumnFamilies) != 3 {
			t.Errorf("%v, %v", tb, err)
		}
		if tb, err := x.tables.GetTable(ctx, &adminpb.GetTableRequest{Name: name, View: adminpb.Table_NAME_ONLY}); err != nil || len(tb.ColumnFamilies) != 0 {
			t.Errorf("%v, %v", tb, err)
		}

		protect := func(on bool) {
			op, err := x.tables.UpdateTable(ctx, &adminpb.UpdateTableRequest{Table: &adminpb.Table{Name: name, DeletionProtection: on},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"deletion_protection"}}})
			if err != nil || !op.Done {
				t.Fatal(op, err)
			}
			var tb adminpb.Table
			if err := op.GetResponse().UnmarshalTo(&tb); err != nil || tb.DeletionProtection != on {
				t.Errorf("%v, %v", &tb, err)
			}
			if got, err := x.ops.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: op.Name}); err != nil || !got.Done {
				t.Errorf("%v, %v", got, err)
			}
		}
		protect(true)
		if _, err := x.tables.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: name}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("delete a protected table: %v", err)
		}
		protect(false)
		x.write(ctx, name, "a")
		if _, err := x.tables.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: name}); err != nil {
			t.Error(err)
		}
		if _, err := x.tables.GetTable(ctx, &adminpb.GetTableRequest{Name: name}); status.Code(err) != codes.NotFound {
			t.Errorf("get a deleted table: %v", err)
		}
		if _, err := x.read(ctx, &bigtablepb.ReadRowsRequest{TableName: name}); status.Code(err) != codes.NotFound {
			t.Errorf("read a deleted table: %v", err)
		}

		tok, err := x.tables.GenerateConsistencyToken(ctx, &adminpb.GenerateConsistencyTokenRequest{Name: parent + "/tables/t1"})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := x.tables.CheckConsistency(ctx, &adminpb.CheckConsistencyRequest{Name: parent + "/tables/t1", ConsistencyToken: tok.ConsistencyToken}); err != nil || !c.Consistent {
			t.Errorf("%v, %v", c, err)
		}
	})
}

func TestDropRowRange(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		table := x.create(ctx, "t", "ab", "b")
		for _, r := range strings.Split("a aa ab abc b ba c", " ") {
			x.write(ctx, table, r)
		}
		drop := func(req *adminpb.DropRowRangeRequest, want ...string) {
			t.Helper()
			req.Name = table
			if _, err := x.tables.DropRowRange(ctx, req); err != nil {
				t.Fatal(err)
			}
			if rows, err := x.read(ctx, &bigtablepb.ReadRowsRequest{TableName: table}); err != nil || !slices.Equal(rows, want) {
				t.Errorf("left %q, %v", rows, err)
			}
		}
		drop(&adminpb.DropRowRangeRequest{Target: &adminpb.DropRowRangeRequest_RowKeyPrefix{RowKeyPrefix: []byte("a")}}, "b", "ba", "c")
		drop(&adminpb.DropRowRangeRequest{Target: &adminpb.DropRowRangeRequest_DeleteAllDataFromTable{DeleteAllDataFromTable: true}})
	})
}

func TestMasterChanges(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		x.create(ctx, "t0")
		m1 := x.AddMaster("master1")
		x.master.Depose("master1") // whom nobody asked yet
		go func() {
			time.Sleep(3 * time.Second)
			m1.Activate()
		}()
		x.create(ctx, "t1")
		x.master.Stop()
		x.master = m1
		x.create(ctx, "t2")

		m1.Stop()
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := x.tables.CreateTable(short, &adminpb.CreateTableRequest{Parent: parent, TableId: "t3", Table: &adminpb.Table{}})
		if c := status.Code(err); (c != codes.DeadlineExceeded && c != codes.Unavailable) || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// Reads need no master.
		if resp, err := x.tables.ListTables(ctx, &adminpb.ListTablesRequest{Parent: parent}); err != nil || len(resp.Tables) != 3 {
			t.Errorf("%v, %v", resp, err)
		}
		x.master = x.AddMaster("master2")
	})
}

func TestInstanceAdmin(t *testing.T) {
	inBubble(t, func(ctx context.Context, x *fixture) {
		x.create(ctx, "t")
		if i, err := x.inst.GetInstance(ctx, &adminpb.GetInstanceRequest{Name: "projects/p/instances/any"}); err != nil || i.DisplayName != "any" {
			t.Errorf("%v, %v", i, err)
		}
		if l, err := x.inst.ListInstances(ctx, &adminpb.ListInstancesRequest{Parent: "projects/local"}); err != nil || len(l.Instances) != 1 || l.Instances[0].Name != parent {
			t.Errorf("%v, %v", l, err)
		}
		l, err := x.inst.ListClusters(ctx, &adminpb.ListClustersRequest{Parent: parent})
		if err != nil || len(l.Clusters) != 1 || l.Clusters[0].ServeNodes != 2 {
			t.Fatalf("%v, %v", l, err)
		}
		if c, err := x.inst.GetCluster(ctx, &adminpb.GetClusterRequest{Name: l.Clusters[0].Name}); err != nil || c.State != adminpb.Cluster_READY {
			t.Errorf("%v, %v", c, err)
		}
		// The one cluster goes by any name until there are others.
		if c, err := x.inst.GetCluster(ctx, &adminpb.GetClusterRequest{Name: parent + "/clusters/other"}); err != nil || c.ServeNodes != 2 {
			t.Errorf("%v, %v", c, err)
		}
		if _, err := x.inst.CreateCluster(ctx, &adminpb.CreateClusterRequest{Parent: parent, ClusterId: "c2", Cluster: &adminpb.Cluster{ServeNodes: 3}}); err != nil {
			t.Error(err)
		}
		if _, err := x.inst.GetCluster(ctx, &adminpb.GetClusterRequest{Name: parent + "/clusters/other"}); status.Code(err) != codes.NotFound {
			t.Error(err)
		}
		if p, err := x.inst.ListAppProfiles(ctx, &adminpb.ListAppProfilesRequest{Parent: parent}); err != nil || len(p.AppProfiles) != 1 {
			t.Errorf("%v, %v", p, err)
		}
	})
}
