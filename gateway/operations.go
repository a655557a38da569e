package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/gateway/adminstore"
	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	// keepOperations is how long operations are remembered.
	keepOperations = 7 * 24 * time.Hour
	// keptOperations is about how many are remembered.
	keptOperations = 1000
	// pruneEvery is after how many operations, on average, old ones are
	// forgotten.
	pruneEvery = 50
	// maxOperation is the size of the largest that is remembered, in bytes.
	maxOperation = 256 << 10
)

// operations is google.longrunning.Operations. Whatever the admin API calls an
// operation is done when its call returns, so that a gateway that dies leaves
// nothing half done behind; the operation is the record of it, which every
// gateway can show.
type operations struct {
	longrunningpb.UnsafeOperationsServer
	c *catalog
}

// done remembers and returns an operation on resource that is complete. That
// it could not be remembered is no reason to call the work undone: the answer
// holds all there is to know.
func (o *operations) done(ctx context.Context, resource string, metadata, response proto.Message) (*longrunningpb.Operation, error) {
	m, err := anypb.New(metadata)
	if err != nil {
		return nil, fmt.Errorf("encode the metadata of an operation: %w", err)
	}
	r, err := anypb.New(response)
	if err != nil {
		return nil, fmt.Errorf("encode the response of an operation: %w", err)
	}
	op := &longrunningpb.Operation{
		Name:     fmt.Sprintf("operations/%s/operations/%015x%08x", resource, time.Now().UnixMicro(), rand.Uint32()),
		Metadata: m, Done: true, Result: &longrunningpb.Operation_Response{Response: r},
	}
	if proto.Size(op) > maxOperation { // of a schema bundle; whoever wants to know has the answer
		return op, nil
	}
	_, err = o.c.operations.Create(ctx, op.Name, 0, op)
	if err == nil && rand.N(pruneEvery) == 0 {
		err = o.prune(ctx)
	}
	if err != nil && ctx.Err() == nil {
		return op, nil
	}
	return op, err
}

// made is when the operation of that name was made.
func made(name string) time.Time {
	id := lastSegment(name)
	us, err := strconv.ParseInt(id[:min(15, len(id))], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// prune forgets operations that are old or too many.
func (o *operations) prune(ctx context.Context) error {
	names, err := o.c.operations.Names(ctx, "")
	if err != nil {
		return err
	}
	oldest := time.Now().Add(-keepOperations)
	if len(names) > keptOperations { // about: they are sorted by resource
		oldest = time.Now().Add(-time.Hour)
	}
	for _, n := range names {
		if made(n).Before(oldest) {
			if err := o.c.operations.Delete(ctx, n, nil); err != nil && !errors.Is(err, base.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

func (o *operations) get(ctx context.Context, name string) (*longrunningpb.Operation, error) {
	it, err := o.c.operations.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return it.Value, nil
}

// GetOperation implements longrunningpb.OperationsServer.
func (o *operations) GetOperation(ctx context.Context, req *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	return o.get(ctx, req.Name)
}

// WaitOperation implements longrunningpb.OperationsServer.
func (o *operations) WaitOperation(ctx context.Context, req *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	return o.get(ctx, req.Name)
}

// CancelOperation implements longrunningpb.OperationsServer: it is too late,
// which the API allows.
func (o *operations) CancelOperation(ctx context.Context, req *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	_, err := o.get(ctx, req.Name)
	return &emptypb.Empty{}, err
}

// DeleteOperation implements longrunningpb.OperationsServer.
func (o *operations) DeleteOperation(ctx context.Context, req *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, o.c.operations.Delete(ctx, req.Name, nil)
}

// ListOperations implements longrunningpb.OperationsServer, by name. A name of
// "operations", or none, lists all, else it is a prefix.
func (o *operations) ListOperations(ctx context.Context, req *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	prefix := strings.TrimSuffix(req.Name, "/operations")
	if prefix == "operations" {
		prefix = ""
	}
	if req.Filter != "" {
		return nil, base.Textf(base.ErrUnimplemented, "ListOperations: filters are not offered; leave filter empty")
	}
	items, err := o.c.operations.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	items, next, err := page(items, func(i adminstore.Item[*longrunningpb.Operation]) string { return i.Name }, req.PageSize, req.PageToken)
	if err != nil {
		return nil, err
	}
	resp := &longrunningpb.ListOperationsResponse{NextPageToken: next}
	for _, it := range items {
		resp.Operations = append(resp.Operations, it.Value)
	}
	return resp, nil
}

// span is when an operation began and ended, for its metadata.
type span struct{ began, ended *timestamppb.Timestamp }

func begin() span { return span{began: timestamppb.Now()} }

func (s span) end() span {
	s.ended = timestamppb.Now()
	return s
}
