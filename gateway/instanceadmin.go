package gateway

import (
	"context"
	"slices"
	"strings"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// instanceAdmin is google.bigtable.admin.v2.BigtableInstanceAdmin. Instances
// need not be made: every name is one, of one cluster, which is this.
type instanceAdmin struct {
	adminpb.UnimplementedBigtableInstanceAdminServer
	g *Gateway
}

const (
	// clusterID is the name of the one cluster.
	clusterID = "tabletdb"
	// defaultInstance is shown where no table makes another one known.
	defaultInstance = "main"
	// defaultProfile is the name of the one app profile.
	defaultProfile = "default"
)

func instance(name string) *adminpb.Instance {
	return &adminpb.Instance{
		Name: name, DisplayName: name[strings.LastIndexByte(name, '/')+1:],
		State: adminpb.Instance_READY, Type: adminpb.Instance_PRODUCTION,
	}
}

// GetInstance implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetInstance(_ context.Context, req *adminpb.GetInstanceRequest) (*adminpb.Instance, error) {
	if _, err := schema.ParseParent(req.Name); err != nil {
		return nil, err
	}
	return instance(req.Name), nil
}

// project checks projects/P and returns P.
func project(name string) (string, error) {
	p, ok := strings.CutPrefix(name, "projects/")
	if !ok || p == "" || strings.Contains(p, "/") {
		return "", base.Invalidf("Invalid project name %q. Should be of the form projects/<project>", name)
	}
	return p, nil
}

// ListInstances implements adminpb.BigtableInstanceAdminServer: those in which
// there are tables.
func (a *instanceAdmin) ListInstances(ctx context.Context, req *adminpb.ListInstancesRequest) (*adminpb.ListInstancesResponse, error) {
	if _, err := project(req.Parent); err != nil {
		return nil, err
	}
	tables, _, err := a.g.meta.ListTables(ctx, req.Parent+"/instances/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range tables {
		if n, err := schema.ParseName(t.Name); err == nil {
			names = append(names, n.Parent())
		}
	}
	if len(names) == 0 {
		names = append(names, req.Parent+"/instances/"+defaultInstance)
	}
	slices.Sort(names)
	resp := &adminpb.ListInstancesResponse{}
	for _, n := range slices.Compact(names) {
		resp.Instances = append(resp.Instances, instance(n))
	}
	return resp, nil
}

// cluster describes the one cluster as that of an instance.
func (a *instanceAdmin) cluster(ctx context.Context, parent schema.Name) (*adminpb.Cluster, error) {
	servers, err := a.g.meta.Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	return &adminpb.Cluster{
		Name: parent.Parent() + "/clusters/" + clusterID, Location: "projects/" + parent.Project + "/locations/local",
		State: adminpb.Cluster_READY, ServeNodes: int32(max(1, len(servers))), DefaultStorageType: adminpb.StorageType_SSD,
	}, nil
}

// GetCluster implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetCluster(ctx context.Context, req *adminpb.GetClusterRequest) (*adminpb.Cluster, error) {
	parent, id, ok := strings.Cut(req.Name, "/clusters/")
	n, err := schema.ParseParent(parent)
	if err != nil || !ok {
		return nil, base.Invalidf("Invalid cluster name %q. Should be of the form projects/<project>/instances/<instance>/clusters/<cluster>", req.Name)
	}
	c, err := a.cluster(ctx, n)
	if err == nil && id != clusterID {
		return nil, base.Textf(base.ErrNotFound, "Cluster not found: %s", req.Name)
	}
	return c, err
}

// ListClusters implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) ListClusters(ctx context.Context, req *adminpb.ListClustersRequest) (*adminpb.ListClustersResponse, error) {
	n, err := schema.ParseParent(req.Parent)
	if err != nil {
		return nil, err
	}
	if n.Instance == "-" { // all instances: each has the same one
		n.Instance = defaultInstance
	}
	c, err := a.cluster(ctx, n)
	if err != nil {
		return nil, err
	}
	return &adminpb.ListClustersResponse{Clusters: []*adminpb.Cluster{c}}, nil
}

func profile(parent string) *adminpb.AppProfile {
	return &adminpb.AppProfile{
		Name: parent + "/appProfiles/" + defaultProfile, Description: "requests go to the one cluster",
		RoutingPolicy: &adminpb.AppProfile_SingleClusterRouting_{SingleClusterRouting: &adminpb.AppProfile_SingleClusterRouting{
			ClusterId: clusterID, AllowTransactionalWrites: true,
		}},
	}
}

// GetAppProfile implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetAppProfile(_ context.Context, req *adminpb.GetAppProfileRequest) (*adminpb.AppProfile, error) {
	parent, id, ok := strings.Cut(req.Name, "/appProfiles/")
	if _, err := schema.ParseParent(parent); err != nil || !ok {
		return nil, base.Invalidf("Invalid app profile name %q. Should be of the form projects/<project>/instances/<instance>/appProfiles/<profile>", req.Name)
	}
	if id != defaultProfile {
		return nil, base.Textf(base.ErrNotFound, "App profile not found: %s", req.Name)
	}
	return profile(parent), nil
}

// ListAppProfiles implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) ListAppProfiles(_ context.Context, req *adminpb.ListAppProfilesRequest) (*adminpb.ListAppProfilesResponse, error) {
	if _, err := schema.ParseParent(req.Parent); err != nil {
		return nil, err
	}
	return &adminpb.ListAppProfilesResponse{AppProfiles: []*adminpb.AppProfile{profile(req.Parent)}}, nil
}
