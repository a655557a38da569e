package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/gateway/sql"
	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// PrepareQuery implements bigtablepb.BigtableServer.
func (g *Gateway) PrepareQuery(ctx context.Context, req *bigtablepb.PrepareQueryRequest) (*bigtablepb.PrepareQueryResponse, error) {
	return g.queries.Prepare(ctx, req)
}

// ExecuteQuery implements bigtablepb.BigtableServer.
func (g *Gateway) ExecuteQuery(req *bigtablepb.ExecuteQueryRequest, stream bigtablepb.Bigtable_ExecuteQueryServer) error {
	return g.queries.Execute(stream.Context(), req, stream.Send)
}

// schemaTTL is how long queries may go on with a schema that was changed
// elsewhere.
const schemaTTL = time.Second

// maxSchemas is how many schemas are kept.
const maxSchemas = 1000

// queryBackend is the cluster as SQL sees it.
type queryBackend struct {
	catalog *catalog
	router  *router.Router
	mu      struct {
		sync.Mutex
		schemas map[string]keptSchema // by the name of the table
	}
}

type keptSchema struct {
	table *plan.Table
	until time.Time
}

var _ sql.Backend = (*queryBackend)(nil)

func newQueryBackend(c *catalog, r *router.Router) *queryBackend {
	b := &queryBackend{catalog: c, router: r}
	b.mu.schemas = map[string]keptSchema{}
	return b
}

// Schema implements sql.Backend.
func (b *queryBackend) Schema(ctx context.Context, instance, table string, fresh bool) (*plan.Table, error) {
	name, now := instance+"/tables/"+table, time.Now()
	if !fresh {
		b.mu.Lock()
		k, ok := b.mu.schemas[name]
		b.mu.Unlock()
		if ok && now.Before(k.until) {
			return k.table, nil
		}
	}
	t, err := b.catalog.table(ctx, name)
	if err != nil {
		return nil, err
	}
	s := sqlTable(table, t.Record)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mu.schemas) >= maxSchemas {
		clear(b.mu.schemas)
	}
	b.mu.schemas[name] = keptSchema{s, now.Add(schemaTTL)}
	return s, nil
}

// sqlTable returns what SQL sees of a table: its families by name.
func sqlTable(id string, rec *metapb.TableRecord) *plan.Table {
	t := &plan.Table{ID: id}
	for _, f := range rec.Families {
		t.Families = append(t.Families, plan.Family{Name: f.Name, Number: isNumber(f.ValueType)})
	}
	slices.SortFunc(t.Families, func(a, b plan.Family) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// isNumber reports whether the cells of a family are aggregates that are
// stored as an INT64.
func isNumber(t *adminpb.Type) bool {
	switch t.GetAggregateType().GetAggregator().(type) {
	case *adminpb.Type_Aggregate_Sum_, *adminpb.Type_Aggregate_Max_, *adminpb.Type_Aggregate_Min_:
		return true
	}
	return false
}

// ReadRows implements sql.Backend.
func (b *queryBackend) ReadRows(ctx context.Context, m *bigtablepb.ReadRowsRequest, emit func(*chunk.Row) error) error {
	req, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the read of a query: %w", err)
	}
	r, err := router.ParseReadRows(req)
	if err != nil {
		return err
	}
	d := chunk.Decoder{Reversed: m.Reversed}
	err = b.router.ReadRows(ctx, r.Table, r.Scan, req, func(f mem.Buffer) error {
		defer f.Free()
		return d.Decode(f.ReadOnlyData(), emit)
	})
	if err != nil {
		return err
	}
	return d.Close()
}
