package route

import (
	"context"
	"fmt"
	"slices"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// Frontend answers the calls of plain Bigtable clients. The hot calls take and
// return wire bytes; requests are not kept after the call.
type Frontend interface {
	bigtablepb.BigtableServer
	// RawReadRows streams ReadRowsResponse messages; send joins the parts of each,
	// and frees them.
	RawReadRows(ctx context.Context, req []byte, send func(parts ...mem.Buffer) error) error
	RawMutateRow(ctx context.Context, req []byte) error
	// RawMutateRows streams MutateRowsResponse messages.
	RawMutateRows(ctx context.Context, req []byte, send func(resp []byte) error) error
	RawCheckAndMutateRow(ctx context.Context, req []byte) (resp []byte, err error)
	RawReadModifyWriteRow(ctx context.Context, req []byte) (resp []byte, err error)
}

// service dispatches between the two. Either may be nil.
type service struct {
	tablets  Server
	frontend Frontend
	gate     *Gate
}

// Register registers google.bigtable.v2.Bigtable on s: routed calls go to
// tablets, others to frontend. Where one is nil its calls are UNIMPLEMENTED.
// The server must use Codec. gate, if not nil, counts the requests; its Tap is the
// server's.
func Register(s *grpc.Server, tablets Server, frontend Frontend, gate *Gate) {
	if frontend == nil {
		frontend = noFrontend{}
	}
	if tablets == nil {
		tablets = noTablets{}
	}
	desc := bigtablepb.Bigtable_ServiceDesc
	desc.HandlerType = (*any)(nil)
	desc.Methods = slices.Clone(desc.Methods)
	desc.Streams = slices.Clone(desc.Streams)
	svc := &service{tablets, frontend, gate}
	unary := map[string]func(context.Context, []byte) ([]byte, error){
		"MutateRow":          svc.mutateRow,
		"CheckAndMutateRow":  svc.checkAndMutateRow,
		"ReadModifyWriteRow": svc.readModifyWriteRow,
	}
	for i, m := range desc.Methods {
		if h := unary[m.MethodName]; h != nil {
			desc.Methods[i].Handler = rawUnary("/"+desc.ServiceName+"/"+m.MethodName, gate, h)
		} else {
			desc.Methods[i].Handler = onFrontend(m.Handler)
		}
	}
	streams := map[string]func(context.Context, []byte, grpc.ServerStream) error{
		"ReadRows":      svc.readRows,
		"MutateRows":    svc.mutateRows,
		"SampleRowKeys": svc.sampleRowKeys,
	}
	for i, st := range desc.Streams {
		if h := streams[st.StreamName]; h != nil {
			desc.Streams[i].Handler = rawStream(st.StreamName, gate, h)
		} else {
			desc.Streams[i].Handler = func(srv any, ss grpc.ServerStream) error {
				return st.Handler(srv.(*service).frontend, ss)
			}
		}
	}
	s.RegisterService(&desc, svc)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: tabletsService, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "DropRows", Handler: rawUnary(dropRowsMethod, gate, svc.dropRows)},
	}}, svc)
}

// Calls that are routed always and that the Bigtable API does not have.
const (
	tabletsService = "tabletdb.route.Tablets"
	dropRowsMethod = "/" + tabletsService + "/DropRows"
)

func (s *service) dropRows(ctx context.Context, req []byte) ([]byte, error) {
	t, routed, err := Incoming(ctx)
	if err == nil && !routed {
		err = fmt.Errorf("%w: %s names no tablet", base.ErrInvalid, dropRowsMethod)
	}
	if err != nil {
		return nil, err
	}
	return nil, s.tablets.DropRows(ctx, t, req)
}

func onFrontend(h grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
		return h(srv.(*service).frontend, ctx, dec, i)
	}
}

func rawUnary(method string, gate *Gate, h func(context.Context, []byte) ([]byte, error)) grpc.MethodHandler {
	write := isWrite(method)
	call := func(ctx context.Context, req any) (any, error) {
		f := req.(*Frame)
		defer f.Free()
		cost, err := gate.enter(ctx, len(f.Bytes()), write)
		if err != nil {
			return nil, err
		}
		defer gate.leave(cost)
		resp, err := h(ctx, f.Bytes())
		if err != nil {
			return nil, err
		}
		return NewFrame(resp), nil
	}
	return func(srv any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
		req := &Frame{}
		if err := dec(req); err != nil {
			return nil, err
		}
		if i == nil {
			return call(ctx, req)
		}
		return i(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, call)
	}
}

func rawStream(method string, gate *Gate, h func(context.Context, []byte, grpc.ServerStream) error) grpc.StreamHandler {
	write := isWrite(method)
	return func(_ any, ss grpc.ServerStream) error {
		req := &Frame{}
		if err := ss.RecvMsg(req); err != nil {
			return err
		}
		defer req.Free()
		cost, err := gate.enter(ss.Context(), len(req.Bytes()), write)
		if err != nil {
			return err
		}
		defer gate.leave(cost)
		return h(ss.Context(), req.Bytes(), ss)
	}
}

func (s *service) mutateRow(ctx context.Context, req []byte) ([]byte, error) {
	t, routed, err := Incoming(ctx)
	switch {
	case err != nil:
		return nil, err
	case routed:
		return nil, s.tablets.MutateRow(ctx, t, req)
	}
	return nil, s.frontend.RawMutateRow(ctx, req)
}

func (s *service) checkAndMutateRow(ctx context.Context, req []byte) ([]byte, error) {
	t, routed, err := Incoming(ctx)
	switch {
	case err != nil:
		return nil, err
	case routed:
		matched, err := s.tablets.CheckAndMutateRow(ctx, t, req)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(&bigtablepb.CheckAndMutateRowResponse{PredicateMatched: matched})
	}
	return s.frontend.RawCheckAndMutateRow(ctx, req)
}

func (s *service) readModifyWriteRow(ctx context.Context, req []byte) ([]byte, error) {
	t, routed, err := Incoming(ctx)
	switch {
	case err != nil:
		return nil, err
	case routed:
		return s.tablets.ReadModifyWriteRow(ctx, t, req)
	}
	return s.frontend.RawReadModifyWriteRow(ctx, req)
}

func (s *service) readRows(ctx context.Context, req []byte, ss grpc.ServerStream) error {
	t, routed, err := Incoming(ctx)
	if err != nil {
		return err
	}
	if !routed {
		return s.frontend.RawReadRows(ctx, req, func(parts ...mem.Buffer) error { return sendBuffer(ss, parts...) })
	}
	scan, err := incomingScan(ctx)
	if err != nil {
		return err
	}
	return s.tablets.ReadRows(ctx, t, scan, req, func(b mem.Buffer, info FrameInfo) error {
		tail := mem.SliceBuffer(AppendInfo(nil, info))
		return sendBuffer(ss, b, tail)
	})
}

// sendBuffer sends the concatenation of parts as one message and frees them.
func sendBuffer(ss grpc.ServerStream, parts ...mem.Buffer) error {
	f := &frames{parts: parts}
	err := ss.SendMsg(f)
	for _, p := range parts {
		p.Free()
	}
	return err
}

func (s *service) mutateRows(ctx context.Context, req []byte, ss grpc.ServerStream) error {
	t, routed, err := Incoming(ctx)
	if err != nil {
		return err
	}
	if !routed {
		return s.frontend.RawMutateRows(ctx, req, func(resp []byte) error { return ss.SendMsg(NewFrame(resp)) })
	}
	entries, err := SplitEntries(req)
	if err != nil {
		return err
	}
	errs, err := s.tablets.MutateRows(ctx, t, entries)
	if err != nil {
		return err
	}
	return ss.SendMsg(NewFrame(AppendStatuses(nil, len(entries), errs)))
}

func (s *service) sampleRowKeys(ctx context.Context, req []byte, ss grpc.ServerStream) error {
	t, routed, err := Incoming(ctx)
	if err != nil {
		return err
	}
	if !routed {
		r := &bigtablepb.SampleRowKeysRequest{}
		if err := proto.Unmarshal(req, r); err != nil {
			return fmt.Errorf("%w: malformed SampleRowKeysRequest: %v", base.ErrInvalid, err)
		}
		return s.frontend.SampleRowKeys(r, &grpc.GenericServerStream[bigtablepb.SampleRowKeysRequest, bigtablepb.SampleRowKeysResponse]{ServerStream: ss})
	}
	samples, err := s.tablets.SampleRowKeys(ctx, t)
	if err != nil {
		return err
	}
	for _, x := range samples {
		if err := ss.SendMsg(&bigtablepb.SampleRowKeysResponse{RowKey: x.Key, OffsetBytes: x.Offset}); err != nil {
			return err
		}
	}
	return nil
}

// entriesField is MutateRowsRequest.entries.
const entriesField = 2

// SplitEntries returns the wire bytes of each entry of a MutateRowsRequest.
// They alias req.
func SplitEntries(req []byte) ([][]byte, error) {
	var entries [][]byte
	for len(req) > 0 {
		num, typ, n := protowire.ConsumeTag(req)
		if n < 0 {
			return nil, fmt.Errorf("%w: malformed MutateRowsRequest", base.ErrInvalid)
		}
		m := protowire.ConsumeFieldValue(num, typ, req[n:])
		if m < 0 {
			return nil, fmt.Errorf("%w: malformed MutateRowsRequest", base.ErrInvalid)
		}
		if num == entriesField && typ == protowire.BytesType {
			e, _ := protowire.ConsumeBytes(req[n:])
			entries = append(entries, e)
		}
		req = req[n+m:]
	}
	return entries, nil
}

// AppendStatuses appends a MutateRowsResponse for n entries, in order; errs is
// nil where all were applied.
func AppendStatuses(dst []byte, n int, errs []error) []byte {
	var entry []byte
	for i := range n {
		entry = entry[:0]
		if i > 0 {
			entry = protowire.AppendTag(entry, 1, protowire.VarintType)
			entry = protowire.AppendVarint(entry, uint64(i))
		}
		entry = protowire.AppendTag(entry, 2, protowire.BytesType)
		if errs == nil || errs[i] == nil {
			entry = append(entry, 0) // an empty Status: OK
		} else {
			entry = protowire.AppendBytes(entry, rpc.StatusBytes(errs[i]))
		}
		dst = protowire.AppendTag(dst, 1, protowire.BytesType)
		dst = protowire.AppendBytes(dst, entry)
	}
	return dst
}

// errNone answers what has no server behind it.
var errNone = fmt.Errorf("%w: this process serves no such calls", base.ErrUnimplemented)

type noFrontend struct {
	bigtablepb.UnimplementedBigtableServer
}

func (noFrontend) RawReadRows(context.Context, []byte, func(...mem.Buffer) error) error {
	return errNone
}
func (noFrontend) RawMutateRow(context.Context, []byte) error                      { return errNone }
func (noFrontend) RawMutateRows(context.Context, []byte, func([]byte) error) error { return errNone }
func (noFrontend) RawCheckAndMutateRow(context.Context, []byte) ([]byte, error)    { return nil, errNone }
func (noFrontend) RawReadModifyWriteRow(context.Context, []byte) ([]byte, error)   { return nil, errNone }

type noTablets struct{}

var errNoTablets = fmt.Errorf("%w: this process serves no tablets", base.ErrNotServing)

func (noTablets) ReadRows(context.Context, Target, Scan, []byte, func(mem.Buffer, FrameInfo) error) error {
	return errNoTablets
}
func (noTablets) MutateRow(context.Context, Target, []byte) error { return errNoTablets }
func (noTablets) MutateRows(context.Context, Target, [][]byte) ([]error, error) {
	return nil, errNoTablets
}
func (noTablets) CheckAndMutateRow(context.Context, Target, []byte) (bool, error) {
	return false, errNoTablets
}
func (noTablets) ReadModifyWriteRow(context.Context, Target, []byte) ([]byte, error) {
	return nil, errNoTablets
}
func (noTablets) DropRows(context.Context, Target, []byte) error          { return errNoTablets }
func (noTablets) SampleRowKeys(context.Context, Target) ([]Sample, error) { return nil, errNoTablets }
