package sql

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
)

// Execute answers ExecuteQuery. send owns the message it is given.
func (s *Service) Execute(ctx context.Context, req *bigtablepb.ExecuteQueryRequest, send func(*bigtablepb.ExecuteQueryResponse) error) error {
	if len(req.GetViewParameters()) > 0 {
		return fmt.Errorf("view_parameters are not supported: %w", base.ErrUnimplemented)
	}
	q, p, err := s.open(ctx, req)
	if err != nil {
		return err
	}
	hash := requestHash(req)
	at := resumption{now: value.Time(time.Now().UnixMicro())}
	if raw := req.GetResumeToken(); len(raw) > 0 {
		if at, err = decodeResumption(raw, hash); err != nil {
			return err
		}
		if !at.done && !p.Resumable() {
			return fmt.Errorf("resume_token is not one of this query: %w", base.ErrInvalid)
		}
	}
	env, err := p.Bind(req.GetParams(), at.now)
	if err != nil {
		return err
	}
	if req.GetQuery() != "" { //nolint:staticcheck // deprecated, but part of the API
		if err := send(metadata(p)); err != nil {
			return err
		}
	}
	b := &batcher{send: send, hash: hash, at: at, flushed: time.Now()}
	if !at.done {
		err = plan.Run(ctx, p, env, at.pos, s.reader(q, req.GetAppProfileId()), b)
	}
	if err != nil {
		return err
	}
	return b.finish()
}

// open returns the query that req names. It is current, unless req resumes.
func (s *Service) open(ctx context.Context, req *bigtablepb.ExecuteQueryRequest) (*prepared, *plan.Plan, error) {
	raw, text := req.GetPreparedQuery(), req.GetQuery() //nolint:staticcheck // as above
	if (len(raw) > 0) == (text != "") {
		return nil, nil, fmt.Errorf("exactly one of query and prepared_query must be set: %w", base.ErrInvalid)
	}
	if text != "" {
		return s.openText(ctx, req, text)
	}
	if req.GetDataFormat() != nil { //nolint:staticcheck // as above
		return nil, nil, fmt.Errorf("data_format must not be set with prepared_query: %w", base.ErrInvalid)
	}
	q, err := decodePrepared(raw)
	if err != nil {
		return nil, nil, err
	}
	if q.instance != req.GetInstanceName() {
		return nil, nil, fmt.Errorf("prepared_query is of the instance %s: %w", q.instance, base.ErrInvalid)
	}
	if len(req.GetResumeToken()) == 0 {
		if err := s.checkCurrent(ctx, q); err != nil {
			return nil, nil, err
		}
	}
	p, err := s.plan(q, raw)
	return q, p, err
}

// openText prepares the query of a request without a prepared one.
func (s *Service) openText(ctx context.Context, req *bigtablepb.ExecuteQueryRequest, text string) (*prepared, *plan.Plan, error) {
	types := map[string]value.Type{}
	for name, v := range req.GetParams() {
		t, err := value.TypeFromProto(v.GetType())
		if err != nil {
			return nil, nil, fmt.Errorf("parameter %q: %w", name, err)
		}
		types[name] = t
	}
	return s.prepare(ctx, req.GetInstanceName(), text, types)
}

// checkCurrent refuses a query that has expired.
func (s *Service) checkCurrent(ctx context.Context, q *prepared) error {
	if !time.Now().Before(q.expires) {
		return expired("the prepared query was valid until " + q.expires.UTC().Format(time.RFC3339))
	}
	if q.table == nil {
		return nil
	}
	now, err := s.backend.Schema(ctx, q.instance, q.table.ID, false)
	if err != nil || !now.Equal(q.table) { // the query may know more than a schema that is kept
		now, err = s.backend.Schema(ctx, q.instance, q.table.ID, true)
	}
	if err != nil {
		return fmt.Errorf("table %q: %w", q.table.ID, err)
	}
	if !now.Equal(q.table) {
		return expired("the column families of the table have changed")
	}
	return nil
}

// expired returns the error upon which clients prepare a query anew. It is a
// status, as its detail has no sentinel to stand for it.
func expired(why string) error {
	st, err := status.New(codes.FailedPrecondition, why).WithDetails(&errdetails.PreconditionFailure{
		Violations: []*errdetails.PreconditionFailure_Violation{{Type: "PREPARED_QUERY_EXPIRED", Description: why}}})
	if err != nil { // only for codes.OK
		return fmt.Errorf("%s: %w", why, base.ErrPrecondition)
	}
	return st.Err()
}

// reader reads the table of q.
func (s *Service) reader(q *prepared, profile string) plan.Reader {
	return func(ctx context.Context, req *bigtablepb.ReadRowsRequest, emit func(*chunk.Row) error) error {
		req.TableName = q.instance + "/tables/" + q.table.ID
		req.AppProfileId = profile
		return s.backend.ReadRows(ctx, req, emit)
	}
}

func metadata(p *plan.Plan) *bigtablepb.ExecuteQueryResponse {
	return &bigtablepb.ExecuteQueryResponse{Response: &bigtablepb.ExecuteQueryResponse_Metadata{Metadata: p.Metadata()}}
}
