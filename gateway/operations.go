package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// keptOperations is how many operations are remembered.
const keptOperations = 1000

// operations is google.longrunning.Operations. Everything is done when its
// call returns, so that an operation is the record of that; only the gateway
// that did it, and only the last of them, remember it.
type operations struct {
	longrunningpb.UnimplementedOperationsServer

	mu struct {
		sync.Mutex
		n     int
		names []string // oldest first
		ops   map[string]*longrunningpb.Operation
	}
}

func newOperations() *operations {
	o := &operations{}
	o.mu.ops = map[string]*longrunningpb.Operation{}
	return o
}

// done remembers and returns an operation on resource that is complete.
func (o *operations) done(resource string, metadata, response proto.Message) (*longrunningpb.Operation, error) {
	m, err := anypb.New(metadata)
	if err != nil {
		return nil, fmt.Errorf("encode the metadata of an operation: %w", err)
	}
	r, err := anypb.New(response)
	if err != nil {
		return nil, fmt.Errorf("encode the response of an operation: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.n++
	op := &longrunningpb.Operation{
		Name:     fmt.Sprintf("operations/%s/operations/%d-%d", resource, time.Now().UnixMicro(), o.mu.n),
		Metadata: m, Done: true, Result: &longrunningpb.Operation_Response{Response: r},
	}
	o.mu.ops[op.Name] = op
	o.mu.names = append(o.mu.names, op.Name)
	if len(o.mu.names) > keptOperations {
		delete(o.mu.ops, o.mu.names[0])
		o.mu.names = o.mu.names[1:]
	}
	return op, nil
}

func (o *operations) get(name string) (*longrunningpb.Operation, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if op := o.mu.ops[name]; op != nil {
		return op, nil
	}
	return nil, base.Textf(base.ErrNotFound, "Operation not found: %s", name)
}

// GetOperation implements longrunningpb.OperationsServer.
func (o *operations) GetOperation(_ context.Context, req *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	return o.get(req.Name)
}

// WaitOperation implements longrunningpb.OperationsServer.
func (o *operations) WaitOperation(_ context.Context, req *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	return o.get(req.Name)
}

// CancelOperation implements longrunningpb.OperationsServer: it is too late.
func (o *operations) CancelOperation(_ context.Context, req *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	_, err := o.get(req.Name)
	return &emptypb.Empty{}, err
}

// DeleteOperation implements longrunningpb.OperationsServer.
func (o *operations) DeleteOperation(_ context.Context, req *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	_, err := o.get(req.Name)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.mu.ops, req.Name)
	return &emptypb.Empty{}, err
}

// ListOperations implements longrunningpb.OperationsServer, newest last and in
// one page. A name of "operations" lists all, else it is a prefix.
func (o *operations) ListOperations(_ context.Context, req *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	resp := &longrunningpb.ListOperationsResponse{}
	for _, name := range o.mu.names {
		if op := o.mu.ops[name]; op != nil && strings.HasPrefix(name, strings.TrimSuffix(req.Name, "/operations")) {
			resp.Operations = append(resp.Operations, op)
		}
	}
	return resp, nil
}
