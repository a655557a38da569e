package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// defaultProfile is the id of the app profile that every instance has.
const defaultProfile = "default"

// implicitProfile describes the default profile where it was never changed.
func (c *catalog) implicitProfile(ctx context.Context, instance string) (*adminpb.AppProfile, error) {
	clusters, err := c.clustersOf(ctx, instance)
	if err != nil {
		return nil, err
	}
	p := &adminpb.AppProfile{
		Description: "requests go to the tablet servers",
		RoutingPolicy: &adminpb.AppProfile_SingleClusterRouting_{SingleClusterRouting: &adminpb.AppProfile_SingleClusterRouting{
			ClusterId: lastSegment(clusters[0].Name), AllowTransactionalWrites: true,
		}},
	}
	return p, completeProfile(p)
}

// completeProfile checks a profile and fills in what was left out.
func completeProfile(p *adminpb.AppProfile) error {
	if p.RoutingPolicy == nil {
		return base.Invalidf("Error in field 'routing_policy' : must be set")
	}
	switch i := p.Isolation.(type) {
	case nil:
		p.Isolation = standard(adminpb.AppProfile_PRIORITY_HIGH)
	case *adminpb.AppProfile_Priority_: // the former name of the same
		p.Isolation = standard(i.Priority)
	case *adminpb.AppProfile_DataBoostIsolationReadOnly_:
		if i.DataBoostIsolationReadOnly.GetComputeBillingOwner() != adminpb.AppProfile_DataBoostIsolationReadOnly_HOST_PAYS {
			return base.Invalidf("Error in field 'compute_billing_owner' : must be HOST_PAYS")
		}
		if p.GetSingleClusterRouting().GetAllowTransactionalWrites() {
			return base.Invalidf("Error in field 'data_boost_isolation_read_only' : not with allow_transactional_writes")
		}
	}
	if s := p.GetStandardIsolation(); s != nil && s.Priority == adminpb.AppProfile_PRIORITY_UNSPECIFIED {
		s.Priority = adminpb.AppProfile_PRIORITY_HIGH
	}
	return nil
}

func standard(p adminpb.AppProfile_Priority) *adminpb.AppProfile_StandardIsolation_ {
	return &adminpb.AppProfile_StandardIsolation_{StandardIsolation: &adminpb.AppProfile_StandardIsolation{Priority: p}}
}

// checkRouting checks that the clusters a profile names exist.
func (c *catalog) checkRouting(ctx context.Context, instance string, p *adminpb.AppProfile) error {
	ids := slices.Clone(p.GetMultiClusterRoutingUseAny().GetClusterIds())
	if s := p.GetSingleClusterRouting(); s != nil {
		ids = append(ids, s.ClusterId)
	}
	for _, id := range ids {
		if _, err := c.cluster(ctx, instance+"/clusters/"+id); err != nil {
			return base.Textf(err, "Error in field 'routing_policy' : %s", err)
		}
	}
	return nil
}

// profile reads an app profile. The API's etag stays empty, as the service
// leaves it.
func (c *catalog) profile(ctx context.Context, name string) (*adminpb.AppProfile, error) {
	parent, id, err := child(name, "appProfiles")
	if err != nil {
		return nil, err
	}
	it, err := c.profiles.Get(ctx, name)
	p := it.Value
	if errors.Is(err, base.ErrNotFound) && id == defaultProfile {
		p, err = c.implicitProfile(ctx, parent)
	}
	if err != nil {
		return nil, err
	}
	p.Name = name
	return p, nil
}

// CreateAppProfile implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) CreateAppProfile(ctx context.Context, req *adminpb.CreateAppProfileRequest) (*adminpb.AppProfile, error) {
	if _, _, err := a.instance(ctx, req.Parent); err != nil {
		return nil, err
	}
	if err := schema.CheckID("app profile", req.AppProfileId, 50); err != nil {
		return nil, err
	}
	p := proto.CloneOf(req.AppProfile)
	if p == nil {
		p = &adminpb.AppProfile{}
	}
	p.Name, p.Etag = "", ""
	if err := completeProfile(p); err != nil {
		return nil, err
	}
	if err := a.checkRouting(ctx, req.Parent, p); err != nil {
		return nil, err
	}
	name := req.Parent + "/appProfiles/" + req.AppProfileId
	if req.AppProfileId == defaultProfile {
		return nil, a.profiles.Exists(name)
	}
	if _, err := a.profiles.Create(ctx, name, 0, p); err != nil {
		return nil, err
	}
	p.Name = name
	return p, nil
}

// GetAppProfile implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetAppProfile(ctx context.Context, req *adminpb.GetAppProfileRequest) (*adminpb.AppProfile, error) {
	return a.profile(ctx, req.Name)
}

// ListAppProfiles implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) ListAppProfiles(ctx context.Context, req *adminpb.ListAppProfilesRequest) (*adminpb.ListAppProfilesResponse, error) {
	if _, err := schema.ParseParent(req.Parent); err != nil {
		return nil, err
	}
	items, err := a.profiles.List(ctx, req.Parent+"/appProfiles/")
	if err != nil {
		return nil, err
	}
	var out []*adminpb.AppProfile
	for _, it := range items {
		it.Value.Name = it.Name
		out = append(out, it.Value)
	}
	name := req.Parent + "/appProfiles/" + defaultProfile
	if !slices.ContainsFunc(out, func(p *adminpb.AppProfile) bool { return p.Name == name }) {
		p, err := a.profile(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(x, y *adminpb.AppProfile) int { return strings.Compare(x.Name, y.Name) })
	out, next, err := page(out, (*adminpb.AppProfile).GetName, req.PageSize, req.PageToken)
	return &adminpb.ListAppProfilesResponse{AppProfiles: out, NextPageToken: next}, err
}

// UpdateAppProfile implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) UpdateAppProfile(ctx context.Context, req *adminpb.UpdateAppProfileRequest) (*longrunningpb.Operation, error) {
	name := req.GetAppProfile().GetName()
	parent, id, err := child(name, "appProfiles")
	if err != nil {
		return nil, err
	}
	if id == defaultProfile { // from now on it is stored
		p, err := a.implicitProfile(ctx, parent)
		if err != nil {
			return nil, err
		}
		if _, err := a.profiles.Create(ctx, name, 0, p); err != nil && !errors.Is(err, base.ErrExists) {
			return nil, err
		}
	}
	it, err := a.profiles.Update(ctx, name, func(it adminstore.Item[*adminpb.AppProfile], p *adminpb.AppProfile) error {
		if err := it.CheckEtag(req.AppProfile.Etag); err != nil {
			return err
		}
		err := adminstore.ApplyMask(p, req.AppProfile, req.GetUpdateMask().GetPaths(), "description", "multi_cluster_routing_use_any",
			"single_cluster_routing", "priority", "standard_isolation", "data_boost_isolation_read_only")
		if err != nil {
			return err
		}
		if err := completeProfile(p); err != nil {
			return err
		}
		return a.checkRouting(ctx, parent, p)
	})
	if err != nil {
		return nil, err
	}
	it.Value.Name = name
	return a.g.ops.done(ctx, name, &adminpb.UpdateAppProfileMetadata{}, it.Value)
}

// DeleteAppProfile implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) DeleteAppProfile(ctx context.Context, req *adminpb.DeleteAppProfileRequest) (*emptypb.Empty, error) {
	_, id, err := child(req.Name, "appProfiles")
	if err != nil {
		return nil, err
	}
	if id == defaultProfile {
		return nil, base.Textf(base.ErrPrecondition, "The app profile %s cannot be deleted", req.Name)
	}
	return &emptypb.Empty{}, a.profiles.Delete(ctx, req.Name, nil)
}
