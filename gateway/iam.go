package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// Policies are kept and shown; nothing enforces them: who reaches a gateway is
// decided by the network, and may do everything.

// noPolicyEtag is the etag of the empty policy, as Google's services have it.
const noPolicyEtag = "ACAB"

// resource finds what a policy belongs to and returns the id of its table, 0
// for what belongs to none.
func (c *catalog) resource(ctx context.Context, name string) (base.TableID, error) {
	p := strings.Split(name, "/")
	if len(p) < 4 {
		_, err := schema.ParseParent(name)
		return 0, err
	}
	kind := ""
	for i := 4; i < len(p); i += 2 {
		kind += "/" + p[i]
	}
	var err error
	switch kind {
	case "":
		_, _, err = c.instance(ctx, name)
		return 0, err
	case "/clusters/backups":
		_, err = c.backup(ctx, name)
		return 0, err
	case "/appProfiles":
		_, err = c.profile(ctx, name)
		return 0, err
	case "/logicalViews":
		_, err = c.logical.Get(ctx, name)
		return 0, err
	case "/materializedViews":
		_, err = c.material.Get(ctx, name)
		return 0, err
	case "/tables", "/tables/authorizedViews", "/tables/schemaBundles":
	default:
		return 0, base.Invalidf("Invalid resource name %q", name)
	}
	t, err := c.table(ctx, strings.Join(p[:min(6, len(p))], "/"))
	if err != nil {
		return 0, err
	}
	switch kind {
	case "/tables/authorizedViews":
		_, err = c.authorizedView(ctx, name)
	case "/tables/schemaBundles":
		_, err = c.bundle(ctx, name)
	}
	return t.ID, err
}

// policy reads a policy; the zero Item where none was set.
func (c *catalog) policy(ctx context.Context, name string) (adminstore.Item[*iampb.Policy], error) {
	table, err := c.resource(ctx, name)
	if err != nil {
		return adminstore.Item[*iampb.Policy]{}, err
	}
	it, err := c.policies.Get(ctx, name)
	if errors.Is(err, base.ErrNotFound) {
		return adminstore.Item[*iampb.Policy]{Name: name, Table: table, Value: &iampb.Policy{}}, nil
	}
	if err == nil && it.Table != table { // of a table of this name that was deleted
		it.Table, it.Value = table, &iampb.Policy{}
	}
	return it, err
}

func etagOf(it adminstore.Item[*iampb.Policy]) string {
	if it.Revision == 0 {
		return noPolicyEtag
	}
	return it.Etag()
}

func (c *catalog) getPolicy(ctx context.Context, name string) (*iampb.Policy, error) {
	it, err := c.policy(ctx, name)
	if err != nil {
		return nil, err
	}
	it.Value.Etag = []byte(etagOf(it))
	return it.Value, nil
}

func (c *catalog) setPolicy(ctx context.Context, req *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	it, err := c.policy(ctx, req.Resource)
	if err != nil {
		return nil, err
	}
	if req.Policy == nil {
		return nil, base.Invalidf("Error in field 'policy' : must be set")
	}
	if e := string(req.Policy.Etag); e != "" && e != etagOf(it) {
		return nil, base.Textf(base.ErrAborted, "Etag mismatch: the policy of %s was changed; read it again", req.Resource)
	}
	value := proto.CloneOf(it.Value)
	if m := req.GetUpdateMask().GetPaths(); len(m) > 0 {
		err = adminstore.ApplyMask(value, req.Policy, m, "bindings", "etag", "version", "audit_configs")
	} else {
		value = proto.CloneOf(req.Policy)
	}
	if err != nil {
		return nil, err
	}
	value.Etag = nil
	w, err := c.policies.Put(it, value, time.Now())
	if err != nil {
		return nil, err
	}
	if _, err := adminstore.Commit(ctx, c.ls, []adminstore.Write{w}); err != nil {
		return nil, err
	}
	return c.getPolicy(ctx, req.Resource)
}

// testPermissions returns all of them: whoever asks may do it.
func (c *catalog) testPermissions(ctx context.Context, req *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	if _, err := c.resource(ctx, req.Resource); err != nil {
		return nil, err
	}
	for _, p := range req.Permissions {
		if strings.Contains(p, "*") || !strings.HasPrefix(p, "bigtable.") {
			return nil, base.Invalidf("Invalid permission %q", p)
		}
	}
	return &iampb.TestIamPermissionsResponse{Permissions: req.Permissions}, nil
}

// GetIamPolicy implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GetIamPolicy(ctx context.Context, req *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	return a.getPolicy(ctx, req.Resource)
}

// SetIamPolicy implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) SetIamPolicy(ctx context.Context, req *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return a.setPolicy(ctx, req)
}

// TestIamPermissions implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) TestIamPermissions(ctx context.Context, req *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	return a.testPermissions(ctx, req)
}

// GetIamPolicy implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) GetIamPolicy(ctx context.Context, req *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	return a.getPolicy(ctx, req.Resource)
}

// SetIamPolicy implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) SetIamPolicy(ctx context.Context, req *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return a.setPolicy(ctx, req)
}

// TestIamPermissions implements adminpb.BigtableInstanceAdminServer.
func (a *instanceAdmin) TestIamPermissions(ctx context.Context, req *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	return a.testPermissions(ctx, req)
}
