package sql

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
)

// Backend is the cluster as queries see it. It is used concurrently.
type Backend interface {
	// Schema returns the families of a table; instance is the full name of one,
	// table the id. It is called for each query prepared and executed. fresh:
	// as they are now; otherwise as they were not long ago. The error for a
	// table that there is not wraps base.ErrNotFound. The result may be shared.
	Schema(ctx context.Context, instance, table string, fresh bool) (*plan.Table, error)
	// ReadRows reads the rows of req, of all tablets, and calls emit for each,
	// in order, with a row that is valid during the call. It ends with emit's
	// error, wrapped or not.
	ReadRows(ctx context.Context, req *bigtablepb.ReadRowsRequest, emit func(*chunk.Row) error) error
}

// Defaults of Config.
const (
	DefaultTTL = time.Hour
	BatchSize  = 256 << 10 // bytes of a batch, about
)

// Config is what a Service needs.
type Config struct {
	Backend Backend
	// TTL is how long a prepared query is valid; 0: DefaultTTL.
	TTL time.Duration
}

// Service executes queries. Its methods may be called concurrently. Errors
// wrap sentinels of internal/base, but for that of a prepared query that has
// expired, which is a status.
type Service struct {
	backend Backend
	ttl     time.Duration

	mu struct {
		sync.Mutex
		plans map[string]*plan.Plan // by prepared query
	}
}

// Bounds of the plans that a Service remembers.
const (
	maxPlans    = 256
	maxRemember = 64 << 10 // bytes of a prepared query
)

// New returns a Service. It starts nothing.
func New(c Config) *Service {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	s := &Service{backend: c.Backend, ttl: c.TTL}
	s.mu.plans = map[string]*plan.Plan{}
	return s
}

// Prepare answers PrepareQuery. There is one data_format only; clients that name
// none, as the one for Node.js, get it.
func (s *Service) Prepare(ctx context.Context, req *bigtablepb.PrepareQueryRequest) (*bigtablepb.PrepareQueryResponse, error) {
	types := make(map[string]value.Type, len(req.GetParamTypes()))
	for name, p := range req.GetParamTypes() {
		t, err := value.TypeFromProto(p)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", name, err)
		}
		types[name] = t
	}
	q, p, err := s.prepare(ctx, req.GetInstanceName(), req.GetQuery(), types)
	if err != nil {
		return nil, err
	}
	return &bigtablepb.PrepareQueryResponse{
		Metadata: p.Metadata(), PreparedQuery: q.encode(), ValidUntil: timestamppb.New(q.expires),
	}, nil
}

// prepare analyzes a query against the schema as it is.
func (s *Service) prepare(ctx context.Context, instance, text string, types map[string]value.Type) (*prepared, *plan.Plan, error) {
	if err := checkInstance(instance); err != nil {
		return nil, nil, err
	}
	st, err := plan.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	q := &prepared{instance: instance, text: text, types: types, expires: time.Now().Add(s.ttl).Truncate(time.Microsecond)}
	if name, ok := st.Table(); ok {
		if q.table, err = s.backend.Schema(ctx, instance, name, true); err != nil {
			return nil, nil, fmt.Errorf("table %q: %w", name, err)
		}
	}
	p, err := plan.Analyze(st, types, q.table)
	return q, p, err
}

func checkInstance(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "projects" || parts[1] == "" || parts[2] != "instances" || parts[3] == "" {
		return fmt.Errorf("instance_name %q is not projects/<project>/instances/<instance>: %w", name, base.ErrInvalid)
	}
	return nil
}

// plan returns the plan of q, whose bytes are raw.
func (s *Service) plan(q *prepared, raw []byte) (*plan.Plan, error) {
	s.mu.Lock()
	p := s.mu.plans[string(raw)]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	st, err := plan.Parse(q.text)
	if err != nil {
		return nil, err
	}
	if name, ok := st.Table(); ok != (q.table != nil) || ok && name != q.table.ID {
		return nil, fmt.Errorf("prepared_query is not one of this service: %w", base.ErrInvalid)
	}
	if p, err = plan.Analyze(st, q.types, q.table); err != nil {
		return nil, err
	}
	if len(raw) > maxRemember {
		return p, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for old := range s.mu.plans { // any: those in use come back
		if len(s.mu.plans) < maxPlans {
			break
		}
		delete(s.mu.plans, old)
	}
	s.mu.plans[string(raw)] = p
	return p, nil
}
