package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// instanceAdmin is google.bigtable.admin.v2.BigtableInstanceAdmin. Instances
// and clusters are names and settings: all tables of all of them are served by
// the same tablet servers. What it does not have is UNIMPLEMENTED.
type instanceAdmin struct {
	adminpb.UnsafeBigtableInstanceAdminServer
	*catalog
	g *Gateway
}

// defaultInstanceID is shown where nothing makes another one known.
const defaultInstanceID = "main"

// project checks projects/P and returns P.
func project(name string) (string, error) {
	p, ok := strings.CutPrefix(name, "projects/")
	if !ok || p == "" || strings.Contains(p, "/") {
		return "", base.Invalidf("Invalid project name %q. Should be of the form projects/<project>", name)
	}
	return p, nil
}

// CreateInstance implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) CreateInstance(ctx context.Context, req *adminpb.CreateInstanceRequest) (*longrunningpb.Operation, error) {
	s := begin()
	if _, err := project(req.Parent); err != nil {
		return nil, err
	}
	if err := schema.CheckID("instance", req.InstanceId, 64); err != nil {
		return nil, err
	}
	if len(req.Clusters) == 0 {
		return nil, base.Invalidf("Error in field 'clusters' : an instance needs at least one cluster")
	}
	name := req.Parent + "/instances/" + req.InstanceId
	in := proto.CloneOf(req.Instance)
	if in == nil {
		in = &adminpb.Instance{}
	}
	in.Name, in.State, in.CreateTime = "", adminpb.Instance_READY, s.began
	if in.DisplayName == "" {
		in.DisplayName = req.InstanceId
	}
	if in.Type == adminpb.Instance_TYPE_UNSPECIFIED {
		in.Type = adminpb.Instance_PRODUCTION
	}
	if in.Edition == adminpb.Instance_EDITION_UNSPECIFIED {
		in.Edition = adminpb.Instance_ENTERPRISE
	}
	w, err := a.instances.Put(adminstore.Item[*adminpb.Instance]{Name: name}, in, s.began.AsTime())
	if err != nil {
		return nil, err
	}
	writes := []adminstore.Write{w}
	for _, id := range slices.Sorted(maps.Keys(req.Clusters)) {
		cl, err := a.newCluster(id, req.Clusters[id])
		if err != nil {
			return nil, err
		}
		w, err := a.clusters.Put(adminstore.Item[*adminpb.Cluster]{Name: name + "/clusters/" + id}, cl, s.began.AsTime())
		if err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	if _, err := adminstore.Commit(ctx, a.ls, writes); errors.Is(err, base.ErrAborted) {
		return nil, a.instances.Exists(name)
	} else if err != nil {
		return nil, err
	}
	in.Name = name
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.CreateInstanceMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, in)
}

// GetInstance implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetInstance(ctx context.Context, req *adminpb.GetInstanceRequest) (*adminpb.Instance, error) {
	in, _, err := a.instance(ctx, req.Name)
	return in, err
}

// ListInstances implements adminpb.BigtableInstanceAdminServer: those that were
// created and, unless strict, those in which there are tables.
func (a *instanceAdmin) ListInstances(ctx context.Context, req *adminpb.ListInstancesRequest) (*adminpb.ListInstancesResponse, error) {
	if _, err := project(req.Parent); err != nil {
		return nil, err
	}
	items, err := a.instances.List(ctx, req.Parent+"/instances/")
	if err != nil {
		return nil, err
	}
	known := map[string]*adminpb.Instance{}
	for _, it := range items {
		it.Value.Name = it.Name
		known[it.Name] = it.Value
	}
	if !a.strict {
		if err := a.addImplicit(ctx, req.Parent, known); err != nil {
			return nil, err
		}
	}
	resp := &adminpb.ListInstancesResponse{}
	for _, n := range slices.Sorted(maps.Keys(known)) {
		resp.Instances = append(resp.Instances, known[n])
	}
	return resp, nil
}

// addImplicit adds the instances of a project that exist by use.
func (a *instanceAdmin) addImplicit(ctx context.Context, parent string, known map[string]*adminpb.Instance) error {
	tables, _, err := a.meta.ListTables(ctx, parent+"/instances/", lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	var names []string
	for _, t := range tables {
		if n, err := schema.ParseName(t.Name); err == nil {
			names = append(names, n.Parent())
		}
	}
	if len(names) == 0 && len(known) == 0 {
		names = append(names, parent+"/instances/"+defaultInstanceID)
	}
	for _, n := range names {
		if known[n] == nil {
			known[n] = a.defaultInstance(n)
			known[n].Name = n
		}
	}
	return nil
}

// changeInstance applies change to an instance, which is created for that
// where it exists by use only.
func (a *instanceAdmin) changeInstance(ctx context.Context, name string, change func(in *adminpb.Instance) error) (*adminpb.Instance, error) {
	if err := a.materialise(ctx, name, ""); err != nil {
		return nil, err
	}
	it, err := a.instances.Update(ctx, name, func(_ adminstore.Item[*adminpb.Instance], in *adminpb.Instance) error { return change(in) })
	if err != nil {
		return nil, err
	}
	it.Value.Name = name
	return it.Value, nil
}

// UpdateInstance implements adminpb.BigtableInstanceAdminServer: it replaces
// what can be updated.
func (a *instanceAdmin) UpdateInstance(ctx context.Context, req *adminpb.Instance) (*adminpb.Instance, error) {
	return a.changeInstance(ctx, req.GetName(), func(in *adminpb.Instance) error {
		if req.DisplayName == "" {
			return base.Invalidf("Error in field 'display_name' : must not be empty")
		}
		in.DisplayName, in.Labels = req.DisplayName, req.Labels
		return upgrade(in, req)
	})
}

// upgrade changes the type of an instance, which only goes one way.
func upgrade(in, req *adminpb.Instance) error {
	if req.Type == adminpb.Instance_TYPE_UNSPECIFIED || req.Type == in.Type {
		return nil
	}
	if in.Type == adminpb.Instance_PRODUCTION {
		return base.Invalidf("Error in field 'type' : a production instance cannot become another one")
	}
	in.Type = req.Type
	return nil
}

// PartialUpdateInstance implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) PartialUpdateInstance(ctx context.Context, req *adminpb.PartialUpdateInstanceRequest) (*longrunningpb.Operation, error) {
	s := begin()
	name := req.GetInstance().GetName()
	in, err := a.changeInstance(ctx, name, func(in *adminpb.Instance) error {
		before := in.Type
		if err := adminstore.ApplyMask(in, req.Instance, req.GetUpdateMask().GetPaths(), "display_name", "labels", "type", "edition", "tags"); err != nil {
			return err
		}
		if in.DisplayName == "" {
			return base.Invalidf("Error in field 'display_name' : must not be empty")
		}
		after := in.Type
		in.Type = before
		return upgrade(in, &adminpb.Instance{Type: after})
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.UpdateInstanceMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, in)
}

// DeleteInstance implements adminpb.BigtableInstanceAdminServer: with its
// tables, all or none of which are protected. While there are backups or
// snapshots it is refused.
func (a *instanceAdmin) DeleteInstance(ctx context.Context, req *adminpb.DeleteInstanceRequest) (*emptypb.Empty, error) {
	if _, _, err := a.instance(ctx, req.Name); err != nil {
		return nil, err
	}
	if err := a.noBackups(ctx, req.Name+"/clusters/"); err != nil {
		return nil, err
	}
	if err := a.noSnapshots(ctx, req.Name+"/clusters/"); err != nil {
		return nil, err
	}
	tables, _, err := a.meta.ListTables(ctx, req.Name+"/tables/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := schema.CheckDelete(t.Record); err != nil {
			return nil, err
		}
	}
	for _, t := range tables {
		_, err := a.g.tables.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: t.Name})
		if err != nil && !errors.Is(err, base.ErrNotFound) {
			return nil, err
		}
	}
	err = adminstore.Forget(ctx, a.ls, req.Name+"/", adminstore.Cluster, adminstore.AppProfile, adminstore.LogicalView,
		adminstore.MaterializedView, adminstore.AuthorizedView, adminstore.SchemaBundle, adminstore.Policy)
	if err != nil {
		return nil, err
	}
	for _, forget := range []func(context.Context, string) error{
		func(ctx context.Context, n string) error { return a.instances.Delete(ctx, n, nil) },
		func(ctx context.Context, n string) error { return a.policies.Delete(ctx, n, nil) },
	} {
		if err := forget(ctx, req.Name); err != nil && !errors.Is(err, base.ErrNotFound) {
			return nil, err
		}
	}
	return &emptypb.Empty{}, nil
}

// noBackups returns an error that wraps base.ErrPrecondition where there are
// backups whose names start with prefix.
func (a *instanceAdmin) noBackups(ctx context.Context, prefix string) error {
	backups, err := a.backups.List(ctx, prefix)
	if err != nil {
		return err
	}
	for _, b := range backups {
		if !expired(b.Value, time.Now()) {
			return base.Textf(base.ErrPrecondition, "Cannot be deleted while it holds backups; delete %s first", b.Name)
		}
	}
	return nil
}
