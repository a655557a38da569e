package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// rawFrames is the call option under which messages pass as frames.
var rawFrames = grpc.ForceCodecV2(route.Codec())

// gatewayServer is a gateway at the other end of connections. It is the admin
// backend as well.
type gatewayServer struct {
	conns []*grpc.ClientConn
	next  atomic.Uint32
	admin adminpb.BigtableTableAdminClient
}

// gatewayTable is a table at a gateway as a route.Server: targets mean nothing
// to it.
type gatewayTable struct {
	*gatewayServer
	table string
}

var _ route.Server = (*gatewayTable)(nil)

// features announces, as FeatureFlags in base64, that we can take reversed
// scans (1), reports of scanned rows (4) and advice when to retry (7).
const features = "CAEgATgB"

func dialGateway(c Config) (*gatewayServer, error) {
	g := &gatewayServer{}
	for range c.Options.Connections {
		cc, err := rpc.Dial(c.Network, c.Endpoint, c.Options.Dial...)
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
		g.conns = append(g.conns, cc)
	}
	g.admin = adminpb.NewBigtableTableAdminClient(router.Conn(g.conns[0]))
	return g, nil
}

func (g *gatewayServer) table(name string) route.Server { return &gatewayTable{g, name} }

func (g *gatewayServer) close() error {
	var errs []error
	for _, cc := range g.conns {
		errs = append(errs, cc.Close())
	}
	return errors.Join(errs...)
}

func (g *gatewayServer) conn() grpc.ClientConnInterface {
	return router.Conn(g.conns[g.next.Add(1)%uint32(len(g.conns))])
}

// unary calls a method with wire bytes and returns those of the answer.
func (g *gatewayServer) unary(ctx context.Context, method string, req []byte) ([]byte, error) {
	resp := &route.Frame{}
	err := g.conn().Invoke(ctx, method, route.NewFrame(req), resp, rawFrames)
	if err != nil {
		return nil, unsure(rpc.FromStatus(err))
	}
	defer resp.Free()
	return bytes.Clone(resp.Bytes()), nil
}

// unsure marks errors after which a write may have been applied, or not.
func unsure(err error) error {
	if errors.Is(err, base.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", base.ErrUnknownOutcome, err)
	}
	return err
}

// MutateRow implements route.Server.
func (g *gatewayTable) MutateRow(ctx context.Context, _ route.Target, req []byte) error {
	_, err := g.unary(ctx, bigtablepb.Bigtable_MutateRow_FullMethodName, req)
	return err
}

// DropRows implements route.Server. Gateways offer it as an admin call.
func (g *gatewayTable) DropRows(context.Context, route.Target, []byte) error {
	return fmt.Errorf("%w: a gateway has no tablets", base.ErrUnimplemented)
}

// CheckAndMutateRow implements route.Server.
func (g *gatewayTable) CheckAndMutateRow(ctx context.Context, _ route.Target, req []byte) (bool, error) {
	raw, err := g.unary(ctx, bigtablepb.Bigtable_CheckAndMutateRow_FullMethodName, req)
	if err != nil {
		return false, err
	}
	var resp bigtablepb.CheckAndMutateRowResponse
	if err := proto.Unmarshal(raw, &resp); err != nil {
		return false, fmt.Errorf("%w: malformed answer: %v", base.ErrUnknownOutcome, err)
	}
	return resp.PredicateMatched, nil
}

// ReadModifyWriteRow implements route.Server.
func (g *gatewayTable) ReadModifyWriteRow(ctx context.Context, _ route.Target, req []byte) ([]byte, error) {
	return g.unary(ctx, bigtablepb.Bigtable_ReadModifyWriteRow_FullMethodName, req)
}

// MutateRows implements route.Server.
func (g *gatewayTable) MutateRows(ctx context.Context, t route.Target, entries [][]byte) ([]error, error) {
	req := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), g.table)
	for _, e := range entries {
		req = protowire.AppendBytes(protowire.AppendTag(req, 2, protowire.BytesType), e)
	}
	st, err := g.stream(ctx, "MutateRows", bigtablepb.Bigtable_MutateRows_FullMethodName, req)
	if err != nil {
		return nil, unsure(rpc.FromStatus(err))
	}
	errs := make([]error, len(entries))
	known := 0
	for {
		var resp bigtablepb.MutateRowsResponse
		err := st.RecvMsg(&resp)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, unsure(rpc.FromStatus(err))
		}
		for _, e := range resp.Entries {
			if e.Index < 0 || e.Index >= int64(len(errs)) {
				return nil, fmt.Errorf("%w: status for entry %d of %d", base.ErrUnknownOutcome, e.Index, len(errs))
			}
			raw, err := proto.Marshal(e.Status)
			if err != nil {
				return nil, fmt.Errorf("%w: malformed status: %v", base.ErrUnknownOutcome, err)
			}
			if serr := rpc.FromStatusBytes(raw); serr != nil {
				errs[e.Index] = unsure(serr)
			}
			known++
		}
	}
	if known != len(entries) {
		return nil, fmt.Errorf("%w: %d statuses for %d entries", base.ErrUnknownOutcome, known, len(entries))
	}
	return errs, nil
}

// stream begins a call with one request and many answers. The stream ends with
// ctx, or when it was read to its end.
func (g *gatewayServer) stream(ctx context.Context, name, method string, req []byte) (grpc.ClientStream, error) {
	st, err := g.conn().NewStream(ctx, &grpc.StreamDesc{StreamName: name, ServerStreams: true}, method, rawFrames)
	if err != nil {
		return nil, err
	}
	if err := st.SendMsg(route.NewFrame(req)); err != nil && err != io.EOF { // io.EOF: RecvMsg has the status
		return nil, err
	}
	return st, st.CloseSend()
}

// ReadRows implements route.Server.
func (g *gatewayTable) ReadRows(ctx context.Context, _ route.Target, s route.Scan, req []byte, send func(mem.Buffer, route.FrameInfo) error) error {
	if s.HasAfter || s.Limit > 0 {
		rest, err := remainder(s, req)
		if err != nil || rest == nil {
			return err
		}
		req = rest
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "bigtable-features", features)
	st, err := g.stream(ctx, "ReadRows", bigtablepb.Bigtable_ReadRows_FullMethodName, req)
	if err != nil {
		return rpc.FromStatus(err)
	}
	var last lastRow
	for {
		f := &route.Frame{}
		err := st.RecvMsg(f)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return rpc.FromStatus(err)
		}
		info, err := last.describe(f.Bytes())
		if err != nil {
			f.Free()
			return err
		}
		if err := send(f.Buf, info); err != nil {
			return err
		}
	}
}

// remainder returns the request for what of a scan is left; nil: nothing.
func remainder(s route.Scan, req []byte) ([]byte, error) {
	var m bigtablepb.ReadRowsRequest
	if err := proto.Unmarshal(req, &m); err != nil {
		return nil, fmt.Errorf("%w: malformed ReadRowsRequest: %v", base.ErrInvalid, err)
	}
	if s.Limit > 0 {
		m.RowsLimit = s.Limit
	}
	if s.HasAfter {
		set, err := rowset.FromProto(m.Rows)
		if err != nil {
			return nil, err
		}
		left := rowset.Range{Start: append(bytes.Clone(s.After), 0)}
		if m.Reversed {
			left = rowset.Range{End: s.After}
		}
		if set = set.Intersect(left); set.IsEmpty() || m.Reversed && len(s.After) == 0 {
			return nil, nil
		}
		m.Rows = set.Proto()
	}
	return proto.Marshal(&m)
}

// SampleRowKeys implements route.Server.
func (g *gatewayTable) SampleRowKeys(ctx context.Context, _ route.Target) ([]route.Sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := bigtablepb.NewBigtableClient(g.conn()).SampleRowKeys(ctx, &bigtablepb.SampleRowKeysRequest{TableName: g.table})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	var out []route.Sample
	for {
		resp, err := st.Recv()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, rpc.FromStatus(err)
		}
		out = append(out, route.Sample{Key: resp.RowKey, Offset: resp.OffsetBytes})
	}
}
