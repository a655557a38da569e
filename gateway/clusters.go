package gateway

import (
	"context"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// newCluster checks what is asked of a new cluster and returns what to store.
func (c *catalog) newCluster(id string, req *adminpb.Cluster) (*adminpb.Cluster, error) {
	if err := schema.CheckID("cluster", id, 64); err != nil {
		return nil, err
	}
	cl := proto.CloneOf(req)
	if cl == nil {
		cl = &adminpb.Cluster{}
	}
	cl.Name, cl.State = "", adminpb.Cluster_READY
	if cl.DefaultStorageType == adminpb.StorageType_STORAGE_TYPE_UNSPECIFIED {
		cl.DefaultStorageType = adminpb.StorageType_SSD
	}
	if cl.GetEncryptionConfig().GetKmsKeyName() == "" {
		cl.EncryptionConfig = nil
	} else if c.strict {
		return nil, base.Textf(base.ErrUnimplemented, "CMEK: TabletDB does not encrypt with keys of the cluster; have the bucket encrypted, and leave encryption_config empty")
	}
	return cl, completeCluster(cl)
}

// completeCluster checks the size of a cluster and fills it in.
func completeCluster(cl *adminpb.Cluster) error {
	auto := cl.GetClusterConfig().GetClusterAutoscalingConfig()
	if auto == nil {
		cl.Config = nil
		if cl.ServeNodes < 0 {
			return base.Invalidf("Error in field 'serve_nodes' : must not be negative")
		}
		cl.ServeNodes = max(1, cl.ServeNodes)
		return nil
	}
	l := auto.GetAutoscalingLimits()
	if l.GetMinServeNodes() < 1 || l.GetMaxServeNodes() < l.GetMinServeNodes() {
		return base.Invalidf("Error in field 'autoscaling_limits' : needs 1 <= min_serve_nodes <= max_serve_nodes, but they are %d and %d", l.GetMinServeNodes(), l.GetMaxServeNodes())
	}
	if p := auto.GetAutoscalingTargets().GetCpuUtilizationPercent(); p < 10 || p > 80 {
		return base.Invalidf("Error in field 'cpu_utilization_percent' : must be between 10 and 80, but is %d", p)
	}
	cl.ServeNodes = min(max(cl.ServeNodes, l.MinServeNodes), l.MaxServeNodes)
	return nil
}

// CreateCluster implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) CreateCluster(ctx context.Context, req *adminpb.CreateClusterRequest) (*longrunningpb.Operation, error) {
	s := begin()
	cl, err := a.newCluster(req.ClusterId, req.Cluster)
	if err != nil {
		return nil, err
	}
	if err := a.materialise(ctx, req.Parent, ""); err != nil {
		return nil, err
	}
	name := req.Parent + "/clusters/" + req.ClusterId
	if _, err := a.clusters.Create(ctx, name, 0, cl); err != nil {
		return nil, err
	}
	cl.Name, s = name, s.end()
	return a.g.ops.done(ctx, name, &adminpb.CreateClusterMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, cl)
}

// GetCluster implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetCluster(ctx context.Context, req *adminpb.GetClusterRequest) (*adminpb.Cluster, error) {
	return a.cluster(ctx, req.Name)
}

// ListClusters implements adminpb.BigtableInstanceAdminServer. The instance
// "-" stands for all that were created.
func (a *instanceAdmin) ListClusters(ctx context.Context, req *adminpb.ListClustersRequest) (*adminpb.ListClustersResponse, error) {
	n, err := schema.ParseParent(req.Parent)
	if err != nil {
		return nil, err
	}
	parents := []string{req.Parent}
	if n.Instance == "-" {
		instances, err := a.ListInstances(ctx, &adminpb.ListInstancesRequest{Parent: "projects/" + n.Project})
		if err != nil {
			return nil, err
		}
		parents = nil
		for _, in := range instances.Instances {
			parents = append(parents, in.Name)
		}
	}
	resp := &adminpb.ListClustersResponse{}
	for _, p := range parents {
		clusters, err := a.clustersOf(ctx, p)
		if err != nil {
			return nil, err
		}
		resp.Clusters = append(resp.Clusters, clusters...)
	}
	return resp, nil
}

func (a *instanceAdmin) changeCluster(ctx context.Context, name string, change func(cl *adminpb.Cluster) error) (*adminpb.Cluster, error) {
	parent, id, err := child(name, "clusters")
	if err != nil {
		return nil, err
	}
	if err := a.materialise(ctx, parent, id); err != nil {
		return nil, err
	}
	it, err := a.clusters.Update(ctx, name, func(_ adminstore.Item[*adminpb.Cluster], cl *adminpb.Cluster) error {
		if err := change(cl); err != nil {
			return err
		}
		return completeCluster(cl)
	})
	if err != nil {
		return nil, err
	}
	it.Value.Name = name
	return it.Value, nil
}

// UpdateCluster implements adminpb.BigtableInstanceAdminServer: it sets
// serve_nodes; for the rest there is PartialUpdateCluster.
func (a *instanceAdmin) UpdateCluster(ctx context.Context, req *adminpb.Cluster) (*longrunningpb.Operation, error) {
	s := begin()
	cl, err := a.changeCluster(ctx, req.GetName(), func(cl *adminpb.Cluster) error {
		if req.ServeNodes <= 0 {
			return base.Invalidf("Error in field 'serve_nodes' : must be positive")
		}
		cl.ServeNodes = req.ServeNodes
		return nil
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, cl.Name, &adminpb.UpdateClusterMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, cl)
}

// PartialUpdateCluster implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) PartialUpdateCluster(ctx context.Context, req *adminpb.PartialUpdateClusterRequest) (*longrunningpb.Operation, error) {
	s := begin()
	cl, err := a.changeCluster(ctx, req.GetCluster().GetName(), func(cl *adminpb.Cluster) error {
		return adminstore.ApplyMask(cl, req.Cluster, req.GetUpdateMask().GetPaths(), "serve_nodes", "cluster_config")
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, cl.Name, &adminpb.PartialUpdateClusterMetadata{OriginalRequest: req, RequestTime: s.began, FinishTime: s.ended}, cl)
}

// DeleteCluster implements adminpb.BigtableInstanceAdminServer. The last one
// goes with its instance only.
func (a *instanceAdmin) DeleteCluster(ctx context.Context, req *adminpb.DeleteClusterRequest) (*emptypb.Empty, error) {
	parent, _, err := child(req.Name, "clusters")
	if err != nil {
		return nil, err
	}
	if _, err := a.cluster(ctx, req.Name); err != nil {
		return nil, err
	}
	all, err := a.clustersOf(ctx, parent)
	if err != nil {
		return nil, err
	}
	if len(all) < 2 {
		return nil, base.Textf(base.ErrPrecondition, "Cannot delete %s, the last cluster of its instance", req.Name)
	}
	if err := a.noBackups(ctx, req.Name+"/backups/"); err != nil {
		return nil, err
	}
	if err := a.noSnapshots(ctx, req.Name+"/snapshots/"); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, a.clusters.Delete(ctx, req.Name, nil)
}
