package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
)

// catalog is everything of the admin API that is not a table, and the rule of
// what exists without having been created: unless strict, every instance does,
// with one cluster, until somebody creates it with other ones.
type catalog struct {
	ls     lockservice.Client
	meta   *meta.Store
	strict bool

	instances  adminstore.Collection[*adminpb.Instance]
	clusters   adminstore.Collection[*adminpb.Cluster]
	profiles   adminstore.Collection[*adminpb.AppProfile]
	logical    adminstore.Collection[*adminpb.LogicalView]
	material   adminstore.Collection[*adminpb.MaterializedView]
	views      adminstore.Collection[*adminpb.AuthorizedView]
	bundles    adminstore.Collection[*adminpb.SchemaBundle]
	policies   adminstore.Collection[*iampb.Policy]
	operations adminstore.Collection[*longrunningpb.Operation]
	backups    adminstore.Collection[*adminstorepb.Backup]
	snapshots  *snapshot.Service
	images     *snapshot.Taker
}

func newCatalog(m *meta.Store, network rpc.Network, strict bool) *catalog {
	ls := m.LockService()
	return &catalog{
		ls: ls, meta: m, strict: strict,
		instances:  adminstore.Of[*adminpb.Instance](ls, adminstore.Instance, "Instance"),
		clusters:   adminstore.Of[*adminpb.Cluster](ls, adminstore.Cluster, "Cluster"),
		profiles:   adminstore.Of[*adminpb.AppProfile](ls, adminstore.AppProfile, "App profile"),
		logical:    adminstore.Of[*adminpb.LogicalView](ls, adminstore.LogicalView, "Logical view"),
		material:   adminstore.Of[*adminpb.MaterializedView](ls, adminstore.MaterializedView, "Materialized view"),
		views:      adminstore.Of[*adminpb.AuthorizedView](ls, adminstore.AuthorizedView, "Authorized view"),
		bundles:    adminstore.Of[*adminpb.SchemaBundle](ls, adminstore.SchemaBundle, "Schema bundle"),
		policies:   adminstore.Of[*iampb.Policy](ls, adminstore.Policy, "Policy"),
		operations: adminstore.Of[*longrunningpb.Operation](ls, adminstore.Operation, "Operation"),
		backups:    adminstore.Of[*adminstorepb.Backup](ls, adminstore.Backup, "Backup"),
		snapshots:  snapshot.New(m, network),
		images:     snapshot.NewTaker(m, network),
	}
}

// lastSegment returns what follows the last slash of a name.
func lastSegment(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// child splits projects/P/instances/I/<kind>/<id> and checks it.
func child(name, kind string) (parent, id string, err error) {
	parent, id, ok := strings.Cut(name, "/"+kind+"/")
	if _, perr := schema.ParseParent(parent); perr != nil || !ok || id == "" || strings.Contains(id, "/") {
		return "", "", base.Invalidf("Invalid name %q. Should be of the form projects/<project>/instances/<instance>/%s/<id>", name, kind)
	}
	return parent, id, nil
}

// defaultInstance describes an instance that was never created.
func (c *catalog) defaultInstance(name string) *adminpb.Instance {
	return &adminpb.Instance{DisplayName: lastSegment(name), State: adminpb.Instance_READY, Type: adminpb.Instance_PRODUCTION, Edition: adminpb.Instance_ENTERPRISE}
}

// defaultCluster describes the one cluster of an instance that was never
// created: the tablet servers.
func (c *catalog) defaultCluster(ctx context.Context, instance string) (*adminpb.Cluster, error) {
	servers, err := c.meta.Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	n, err := schema.ParseParent(instance)
	if err != nil {
		return nil, err
	}
	return &adminpb.Cluster{
		Location: "projects/" + n.Project + "/locations/local", State: adminpb.Cluster_READY,
		ServeNodes: int32(max(1, len(servers))), DefaultStorageType: adminpb.StorageType_SSD,
		NodeScalingFactor: adminpb.Cluster_NODE_SCALING_FACTOR_1X,
	}, nil
}

// instance reads an instance; stored is false where it was never created.
func (c *catalog) instance(ctx context.Context, name string) (in *adminpb.Instance, stored bool, err error) {
	if _, err := schema.ParseParent(name); err != nil {
		return nil, false, err
	}
	it, err := c.instances.Get(ctx, name)
	switch {
	case err == nil:
		in, stored = it.Value, true
	case !errors.Is(err, base.ErrNotFound) || c.strict:
		return nil, false, err
	default:
		in = c.defaultInstance(name)
	}
	in.Name = name
	return in, stored, nil
}

// clustersOf lists the clusters of an instance, never none.
func (c *catalog) clustersOf(ctx context.Context, instance string) ([]*adminpb.Cluster, error) {
	_, stored, err := c.instance(ctx, instance)
	if err != nil {
		return nil, err
	}
	if !stored {
		cl, err := c.defaultCluster(ctx, instance)
		if err != nil {
			return nil, err
		}
		cl.Name = instance + "/clusters/" + snapshot.DefaultClusterID(instance)
		return []*adminpb.Cluster{cl}, nil
	}
	items, err := c.clusters.List(ctx, instance+"/clusters/")
	if err != nil {
		return nil, err
	}
	var out []*adminpb.Cluster
	for _, it := range items {
		it.Value.Name = it.Name
		out = append(out, it.Value)
	}
	return out, nil
}

// cluster reads one cluster. That of an instance that was never created goes
// by any name.
func (c *catalog) cluster(ctx context.Context, name string) (*adminpb.Cluster, error) {
	parent, _, err := child(name, "clusters")
	if err != nil {
		return nil, err
	}
	it, err := c.clusters.Get(ctx, name)
	if err == nil {
		it.Value.Name = name
		return it.Value, nil
	}
	if !errors.Is(err, base.ErrNotFound) || c.strict {
		return nil, err
	}
	if _, stored, ierr := c.instance(ctx, parent); stored || ierr != nil {
		return nil, err
	}
	cl, err := c.defaultCluster(ctx, parent)
	if err != nil {
		return nil, err
	}
	cl.Name = name
	return cl, nil
}

// materialise stores an instance that was never created, with its one cluster
// under the given id ("": its usual one), so that it can be changed.
func (c *catalog) materialise(ctx context.Context, instance, clusterID string) error {
	_, stored, err := c.instance(ctx, instance)
	if stored || err != nil {
		return err
	}
	if clusterID == "" {
		clusterID = snapshot.DefaultClusterID(instance)
	}
	cl, err := c.defaultCluster(ctx, instance)
	if err != nil {
		return err
	}
	now := time.Now()
	w1, err := c.instances.Put(adminstore.Item[*adminpb.Instance]{Name: instance}, c.defaultInstance(instance), now)
	if err != nil {
		return err
	}
	w2, err := c.clusters.Put(adminstore.Item[*adminpb.Cluster]{Name: instance + "/clusters/" + clusterID}, cl, now)
	if err != nil {
		return err
	}
	_, err = adminstore.Commit(ctx, c.ls, []adminstore.Write{w1, w2})
	if errors.Is(err, base.ErrAborted) { // somebody else did
		return nil
	}
	return err
}

// page cuts a list to one page. A page token is the last name of the page
// before.
func page[T any](list []T, name func(T) string, size int32, token string) ([]T, string, error) {
	if size < 0 {
		return nil, "", base.Invalidf("Error in field 'page_size' : must not be negative")
	}
	if token != "" {
		var rest []T
		for _, x := range list {
			if name(x) > token {
				rest = append(rest, x)
			}
		}
		list = rest
	}
	if n := int(size); n > 0 && len(list) > n {
		return list[:n], name(list[n-1]), nil
	}
	return list, "", nil
}
