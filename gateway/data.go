package gateway

import (
	"context"
	"encoding/base64"
	"strings"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// data is google.bigtable.v2. What it does not have is UNIMPLEMENTED.
type data struct {
	bigtablepb.UnimplementedBigtableServer
	router  *router.Router
	catalog *catalog
	views   *views

	profiles *profiles

	rowMemory *membudget.Account // for rows that are put together; nil: no limit
}

// of returns what a request names that begins with its instance.
func of(r *router.Request) []byte {
	if len(r.AuthorizedView) > 0 {
		return r.AuthorizedView
	}
	return r.Table
}

// target returns the table of a request that names no authorized view.
// Definitions of materialized views are kept, but nothing fills them.
func (d *data) target(ctx context.Context, r *router.Request) ([]byte, error) {
	if len(r.MaterializedView) > 0 {
		if _, err := d.catalog.material.Get(ctx, string(r.MaterializedView)); err != nil {
			return nil, err
		}
		return nil, base.Textf(base.ErrUnimplemented, "Reading of materialized views is not offered: %s", r.MaterializedView)
	}
	if len(r.Table) == 0 {
		return nil, base.Invalidf("Missing table_name")
	}
	return r.Table, nil
}

// RawReadRows implements route.Frontend.
func (d *data) RawReadRows(ctx context.Context, req []byte, send func(...mem.Buffer) error) error {
	r, err := router.ParseReadRows(req)
	if err != nil {
		return err
	}
	if err := d.profiles.check(ctx, of(&r), r.AppProfile, reads); err != nil {
		return err
	}
	if len(r.AuthorizedView) > 0 {
		return d.viewReadRows(ctx, r.AuthorizedView, req, send)
	}
	table, err := d.target(ctx, &r)
	if err != nil {
		return err
	}
	return d.readRows(ctx, table, r, req, send)
}

func (d *data) readRows(ctx context.Context, table []byte, r router.Request, req []byte, send func(...mem.Buffer) error) error {
	if r.Scan.Reversed && !features(ctx).GetReverseScans() {
		return base.Textf(base.ErrUnimplemented, "Reversed scans need a client that announces the feature reverse_scans in the header %s", featuresHeader)
	}
	w := newWholeRows(ctx, d.rowMemory, send)
	if err := d.router.ReadRows(ctx, table, r.Scan, req, w.frame); err != nil {
		w.abort()
		return err
	}
	return w.flush()
}

// featuresHeader carries the FeatureFlags of the client.
const featuresHeader = "bigtable-features"

// features returns what the client says it understands.
func features(ctx context.Context) *bigtablepb.FeatureFlags {
	f := &bigtablepb.FeatureFlags{}
	for _, v := range metadata.ValueFromIncomingContext(ctx, featuresHeader) {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(v, "="))
		if err != nil || proto.Unmarshal(raw, f) != nil {
			return &bigtablepb.FeatureFlags{} // as if nothing was announced
		}
	}
	return f
}

// RawMutateRow implements route.Frontend.
func (d *data) RawMutateRow(ctx context.Context, req []byte) error {
	r, err := router.ParseMutateRow(req)
	if err != nil {
		return err
	}
	if err := d.profiles.check(ctx, of(&r), r.AppProfile, writes); err != nil {
		return err
	}
	if len(r.AuthorizedView) > 0 {
		return d.viewMutateRow(ctx, r.AuthorizedView, req)
	}
	table, err := d.target(ctx, &r)
	if err != nil {
		return err
	}
	return d.router.MutateRow(ctx, table, r.Row, req)
}

// RawMutateRows implements route.Frontend.
func (d *data) RawMutateRows(ctx context.Context, req []byte, send func([]byte) error) error {
	r, err := mutation.ParseMutateRows(req)
	if err != nil {
		return err
	}
	if err := d.profiles.check(ctx, of(&router.Request{Table: r.Table, AuthorizedView: r.AuthorizedView}), r.AppProfile, writes); err != nil {
		return err
	}
	if len(r.AuthorizedView) > 0 {
		return d.viewMutateRows(ctx, r.AuthorizedView, req, send)
	}
	table, err := d.target(ctx, &router.Request{Table: r.Table})
	if err != nil {
		return err
	}
	entries, err := route.SplitEntries(req)
	if err != nil {
		return err
	}
	errs, err := d.router.MutateRows(ctx, table, entries)
	if err != nil {
		return err
	}
	return send(route.AppendStatuses(nil, len(entries), errs))
}

// RawCheckAndMutateRow implements route.Frontend.
func (d *data) RawCheckAndMutateRow(ctx context.Context, req []byte) ([]byte, error) {
	r, err := router.ParseCheckAndMutateRow(req)
	if err != nil {
		return nil, err
	}
	if err := d.profiles.check(ctx, of(&r), r.AppProfile, transacts); err != nil {
		return nil, err
	}
	var matched bool
	if len(r.AuthorizedView) > 0 {
		matched, err = d.viewCheckAndMutateRow(ctx, r.AuthorizedView, req)
	} else {
		var table []byte
		if table, err = d.target(ctx, &r); err == nil {
			matched, err = d.router.CheckAndMutateRow(ctx, table, r.Row, req)
		}
	}
	if err != nil || !matched {
		return nil, err // an empty message: not matched
	}
	return []byte{1 << 3, 1}, nil // predicate_matched
}

// RawReadModifyWriteRow implements route.Frontend.
func (d *data) RawReadModifyWriteRow(ctx context.Context, req []byte) ([]byte, error) {
	r, err := router.ParseReadModifyWriteRow(req)
	if err != nil {
		return nil, err
	}
	if err := d.profiles.check(ctx, of(&r), r.AppProfile, transacts); err != nil {
		return nil, err
	}
	if len(r.AuthorizedView) > 0 {
		return d.viewReadModifyWriteRow(ctx, r.AuthorizedView, req)
	}
	table, err := d.target(ctx, &r)
	if err != nil {
		return nil, err
	}
	return d.router.ReadModifyWriteRow(ctx, table, r.Row, req)
}

// SampleRowKeys implements bigtablepb.BigtableServer.
func (d *data) SampleRowKeys(req *bigtablepb.SampleRowKeysRequest, ss bigtablepb.Bigtable_SampleRowKeysServer) error {
	ctx := ss.Context()
	named := router.Request{Table: []byte(req.TableName), AuthorizedView: []byte(req.AuthorizedViewName)}
	if err := d.profiles.check(ctx, of(&named), []byte(req.AppProfileId), reads); err != nil {
		return err
	}
	rows := rowset.All()
	var table []byte
	var err error
	if req.AuthorizedViewName != "" {
		v, t, verr := d.views.get(ctx, req.AuthorizedViewName)
		if verr != nil {
			return verr
		}
		table, rows = t, v.Rows()
	} else if table, err = d.target(ctx, &router.Request{Table: []byte(req.TableName), MaterializedView: []byte(req.MaterializedViewName)}); err != nil {
		return err
	}
	within, err := sampleRange(req.RowRange)
	if err != nil {
		return err
	}
	samples, err := d.router.SampleRowKeys(ctx, table)
	if err != nil {
		return err
	}
	for _, s := range viewSamples(samples, rows.Intersect(within)) {
		if err := ss.Send(&bigtablepb.SampleRowKeysResponse{RowKey: s.Key, OffsetBytes: s.Offset}); err != nil {
			return err
		}
	}
	return nil
}

func sampleRange(r *bigtablepb.RowRange) (rowset.Range, error) {
	if r == nil {
		return rowset.Range{}, nil
	}
	return rowset.FromRange(r)
}

// clip returns the samples within the range, and its end as the last.
func clip(samples []route.Sample, r rowset.Range) []route.Sample {
	if len(r.Start) == 0 && len(r.End) == 0 {
		return samples
	}
	var out []route.Sample
	base := int64(0) // offset at the start of the range, as far as is known
	for _, s := range samples {
		if len(s.Key) > 0 && string(s.Key) <= string(r.Start) {
			base = s.Offset
			continue
		}
		s.Offset -= base
		if len(r.End) > 0 && (len(s.Key) == 0 || string(s.Key) >= string(r.End)) {
			return append(out, route.Sample{Key: r.End, Offset: s.Offset})
		}
		out = append(out, s)
	}
	return out
}

// PingAndWarm implements bigtablepb.BigtableServer.
func (d *data) PingAndWarm(_ context.Context, req *bigtablepb.PingAndWarmRequest) (*bigtablepb.PingAndWarmResponse, error) {
	if _, err := schema.ParseParent(req.Name); err != nil {
		return nil, err
	}
	return &bigtablepb.PingAndWarmResponse{}, nil
}
