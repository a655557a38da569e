package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/gateway/view"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// viewTTL is how long a gateway may go on with a view that was changed or
// deleted elsewhere.
const viewTTL = time.Second

// views are the compiled authorized views that were used lately.
type views struct {
	c  *catalog
	mu struct {
		sync.Mutex
		views map[string]cachedView
	}
}

type cachedView struct {
	view  *view.View
	table []byte
	until time.Time
}

func newViews(c *catalog) *views {
	v := &views{c: c}
	v.mu.views = map[string]cachedView{}
	return v
}

// get returns a view and the name of its table. That there is no such view is
// not remembered.
func (v *views) get(ctx context.Context, name string) (*view.View, []byte, error) {
	now := time.Now()
	v.mu.Lock()
	c, ok := v.mu.views[name]
	v.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.view, c.table, nil
	}
	it, err := v.c.authorizedView(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	table, _, err := ofTable(name, "authorizedViews")
	if err != nil {
		return nil, nil, err
	}
	compiled, err := view.Compile(name, it.Value.GetSubsetView())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: stored authorized view %s: %v", base.ErrCorrupt, name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for n, c := range v.mu.views {
		if now.After(c.until) {
			delete(v.mu.views, n)
		}
	}
	v.mu.views[name] = cachedView{compiled, []byte(table), now.Add(viewTTL)}
	return compiled, []byte(table), nil
}

// The data calls through a view become calls to the table: reads with the
// view's filter before theirs and of the view's rows only, writes unchanged
// after a check.

func malformed(m proto.Message, err error) error {
	return base.Invalidf("malformed %s: %v", m.ProtoReflect().Descriptor().Name(), err)
}

func (d *data) viewReadRows(ctx context.Context, name []byte, raw []byte, send func(...mem.Buffer) error) error {
	v, table, err := d.views.get(ctx, string(name))
	if err != nil {
		return err
	}
	var req bigtablepb.ReadRowsRequest
	if err := proto.Unmarshal(raw, &req); err != nil {
		return malformed(&req, err)
	}
	rows, err := rowset.FromProto(req.Rows)
	if err != nil {
		return err
	}
	rows = rows.IntersectSet(v.Rows())
	req.TableName, req.AuthorizedViewName = string(table), ""
	req.Filter = v.Filter(req.Filter)
	req.Rows = rows.Proto()
	if raw, err = proto.Marshal(&req); err != nil {
		return malformed(&req, err)
	}
	r, err := router.ParseReadRows(raw)
	if err != nil {
		return err
	}
	if rows.IsEmpty() { // which no RowSet says; the router then asks nobody
		r.Scan.Rows, r.Scan.Point = rows, nil
	}
	return d.readRows(ctx, table, r, raw, send)
}

func (d *data) viewMutateRow(ctx context.Context, name []byte, raw []byte) error {
	v, table, err := d.views.get(ctx, string(name))
	if err != nil {
		return err
	}
	m, err := mutation.ParseMutateRow(raw)
	if err != nil {
		return err
	}
	if err := v.CheckMutations(m.Row, m.Mutations); err != nil {
		return err
	}
	return d.router.MutateRow(ctx, table, m.Row, raw)
}

// viewMutateRows applies the entries that the view allows; the others fail by
// themselves.
func (d *data) viewMutateRows(ctx context.Context, name []byte, raw []byte, send func([]byte) error) error {
	v, table, err := d.views.get(ctx, string(name))
	if err != nil {
		return err
	}
	entries, err := route.SplitEntries(raw)
	if err != nil {
		return err
	}
	errs := make([]error, len(entries))
	var allowed [][]byte
	var at []int
	for i, e := range entries {
		var m mutation.Entry
		if errs[i] = mutation.ParseEntry(e, &m); errs[i] == nil {
			errs[i] = v.CheckMutations(m.Row, m.Mutations)
		}
		if errs[i] == nil {
			allowed, at = append(allowed, e), append(at, i)
		}
	}
	if len(allowed) > 0 {
		some, err := d.router.MutateRows(ctx, table, allowed)
		if err != nil {
			return err
		}
		for i, err := range some {
			errs[at[i]] = err
		}
	}
	return send(route.AppendStatuses(nil, len(entries), errs))
}

func (d *data) viewCheckAndMutateRow(ctx context.Context, name []byte, raw []byte) (bool, error) {
	v, table, err := d.views.get(ctx, string(name))
	if err != nil {
		return false, err
	}
	m, err := mutation.ParseCheckAndMutateRow(raw)
	if err != nil {
		return false, err
	}
	for _, l := range []mutation.List{m.True, m.False} {
		if err := v.CheckMutations(m.Row, l); err != nil {
			return false, err
		}
	}
	var req bigtablepb.CheckAndMutateRowRequest
	if err := proto.Unmarshal(raw, &req); err != nil {
		return false, malformed(&req, err)
	}
	req.TableName, req.AuthorizedViewName = string(table), ""
	req.PredicateFilter = v.Filter(req.PredicateFilter)
	if raw, err = proto.Marshal(&req); err != nil {
		return false, malformed(&req, err)
	}
	return d.router.CheckAndMutateRow(ctx, table, req.RowKey, raw)
}

func (d *data) viewReadModifyWriteRow(ctx context.Context, name []byte, raw []byte) ([]byte, error) {
	v, table, err := d.views.get(ctx, string(name))
	if err != nil {
		return nil, err
	}
	m, err := mutation.ParseReadModifyWriteRow(raw)
	if err != nil {
		return nil, err
	}
	if err := v.CheckRules(m.Row, m.Rules); err != nil {
		return nil, err
	}
	return d.router.ReadModifyWriteRow(ctx, table, m.Row, raw)
}

// viewSamples returns the samples of a table within the ranges of a view, each
// of which ends with a key of its own.
func viewSamples(samples []route.Sample, rows rowset.Set) []route.Sample {
	var out []route.Sample
	total := int64(0)
	for _, r := range rows.Ranges() {
		for _, s := range clip(samples, r) {
			s.Offset += total
			out = append(out, s)
		}
		if len(out) > 0 {
			total = out[len(out)-1].Offset
		}
	}
	return out
}
