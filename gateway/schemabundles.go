package gateway

import (
	"context"
	"strings"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// maxBundle is the most bytes of descriptors in a schema bundle.
const maxBundle = 4 << 20

// checkBundle checks that a bundle holds a FileDescriptorSet that is complete:
// all its imports are in it.
func checkBundle(b *adminpb.SchemaBundle) error {
	p := b.GetProtoSchema()
	if p == nil {
		return base.Invalidf("Error in field 'proto_schema' : must be set; other kinds of schemas are not offered")
	}
	if n := len(p.ProtoDescriptors); n == 0 || n > maxBundle {
		return base.Invalidf("Error in field 'proto_descriptors' : must have 1 to %d bytes, but has %d", maxBundle, n)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(p.ProtoDescriptors, &set); err != nil {
		return base.Invalidf("Error in field 'proto_descriptors' : not a FileDescriptorSet: %v", err)
	}
	if len(set.File) == 0 {
		return base.Invalidf("Error in field 'proto_descriptors' : no file in it")
	}
	if _, err := protodesc.NewFiles(&set); err != nil {
		return base.Invalidf("Error in field 'proto_descriptors' : %v", err)
	}
	return nil
}

// ofTable splits projects/P/instances/I/tables/T/<kind>/<id>.
func ofTable(name, kind string) (table, id string, err error) {
	table, id, ok := strings.Cut(name, "/"+kind+"/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return "", "", base.Invalidf("Invalid name %q. Should be of the form projects/<project>/instances/<instance>/tables/<table>/%s/<id>", name, kind)
	}
	return table, id, nil
}

// bundle reads a schema bundle of a table that exists.
func (c *catalog) bundle(ctx context.Context, name string) (adminstore.Item[*adminpb.SchemaBundle], error) {
	none := adminstore.Item[*adminpb.SchemaBundle]{}
	table, _, err := ofTable(name, "schemaBundles")
	if err != nil {
		return none, err
	}
	t, err := c.table(ctx, table)
	if err != nil {
		return none, err
	}
	it, err := c.bundles.Get(ctx, name)
	if err == nil && it.Table != t.ID {
		err = c.bundles.NotFound(name)
	}
	return it, err
}

func shownBundle(it adminstore.Item[*adminpb.SchemaBundle]) *adminpb.SchemaBundle {
	it.Value.Name, it.Value.Etag = it.Name, it.Etag()
	return it.Value
}

// CreateSchemaBundle implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) CreateSchemaBundle(ctx context.Context, req *adminpb.CreateSchemaBundleRequest) (*longrunningpb.Operation, error) {
	s := begin()
	t, err := a.table(ctx, req.Parent)
	if err != nil {
		return nil, err
	}
	if err := schema.CheckID("schema bundle", req.SchemaBundleId, 128); err != nil {
		return nil, err
	}
	if err := checkBundle(req.SchemaBundle); err != nil {
		return nil, err
	}
	b := proto.CloneOf(req.SchemaBundle)
	b.Name, b.Etag = "", ""
	it, err := a.bundles.Create(ctx, req.Parent+"/schemaBundles/"+req.SchemaBundleId, t.ID, b)
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, it.Name, &adminpb.CreateSchemaBundleMetadata{Name: it.Name, StartTime: s.began, EndTime: s.ended}, shownBundle(it))
}

// GetSchemaBundle implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) GetSchemaBundle(ctx context.Context, req *adminpb.GetSchemaBundleRequest) (*adminpb.SchemaBundle, error) {
	it, err := a.bundle(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return shownBundle(it), nil
}

// ListSchemaBundles implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) ListSchemaBundles(ctx context.Context, req *adminpb.ListSchemaBundlesRequest) (*adminpb.ListSchemaBundlesResponse, error) {
	t, err := a.table(ctx, req.Parent)
	if err != nil {
		return nil, err
	}
	items, err := a.bundles.List(ctx, req.Parent+"/schemaBundles/")
	if err != nil {
		return nil, err
	}
	items, next, err := page(items, func(i adminstore.Item[*adminpb.SchemaBundle]) string { return i.Name }, req.PageSize, req.PageToken)
	resp := &adminpb.ListSchemaBundlesResponse{NextPageToken: next}
	for _, it := range items {
		if it.Table == t.ID {
			resp.SchemaBundles = append(resp.SchemaBundles, shownBundle(it))
		}
	}
	return resp, err
}

// UpdateSchemaBundle implements adminpb.BigtableTableAdminServer. Whether
// readers can do with the new schema is not checked: ignore_warnings is implied.
func (a *tableAdmin) UpdateSchemaBundle(ctx context.Context, req *adminpb.UpdateSchemaBundleRequest) (*longrunningpb.Operation, error) {
	s := begin()
	name := req.GetSchemaBundle().GetName()
	if _, err := a.bundle(ctx, name); err != nil {
		return nil, err
	}
	it, err := a.bundles.Update(ctx, name, func(it adminstore.Item[*adminpb.SchemaBundle], b *adminpb.SchemaBundle) error {
		if err := it.CheckEtag(req.SchemaBundle.Etag); err != nil {
			return err
		}
		if err := adminstore.ApplyMask(b, req.SchemaBundle, req.GetUpdateMask().GetPaths(), "proto_schema"); err != nil {
			return err
		}
		return checkBundle(b)
	})
	if err != nil {
		return nil, err
	}
	s = s.end()
	return a.g.ops.done(ctx, name, &adminpb.UpdateSchemaBundleMetadata{Name: name, StartTime: s.began, EndTime: s.ended}, shownBundle(it))
}

// DeleteSchemaBundle implements adminpb.BigtableTableAdminServer.
func (a *tableAdmin) DeleteSchemaBundle(ctx context.Context, req *adminpb.DeleteSchemaBundleRequest) (*emptypb.Empty, error) {
	if _, err := a.bundle(ctx, req.Name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, a.bundles.Delete(ctx, req.Name, func(it adminstore.Item[*adminpb.SchemaBundle]) error { return it.CheckEtag(req.Etag) })
}
