package route

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// Remote is a Server at the other end of a connection.
type Remote struct {
	cc grpc.ClientConnInterface
}

// NewRemote returns the Server behind cc.
func NewRemote(cc grpc.ClientConnInterface) *Remote { return &Remote{cc} }

var (
	rawCall        = grpc.ForceCodecV2(Codec())
	readRowsDesc   = &grpc.StreamDesc{StreamName: "ReadRows", ServerStreams: true}
	mutateRowsDesc = &grpc.StreamDesc{StreamName: "MutateRows", ServerStreams: true}
)

// outcome turns the error of a call that may have been applied into what the
// caller may conclude: a transport that broke down tells nothing.
func outcome(err error) error {
	err = rpc.FromStatus(err)
	if errors.Is(err, base.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", base.ErrUnknownOutcome, err)
	}
	return err
}

func (r *Remote) unary(ctx context.Context, t Target, method string, req []byte) (*Frame, error) {
	resp := &Frame{}
	if err := r.cc.Invoke(Outgoing(ctx, t), method, NewFrame(req), resp, rawCall); err != nil {
		return nil, outcome(err)
	}
	return resp, nil
}

// MutateRow implements Server.
func (r *Remote) MutateRow(ctx context.Context, t Target, req []byte) error {
	resp, err := r.unary(ctx, t, bigtablepb.Bigtable_MutateRow_FullMethodName, req)
	if err != nil {
		return err
	}
	resp.Free()
	return nil
}

// DropRows implements Server.
func (r *Remote) DropRows(ctx context.Context, t Target, req []byte) error {
	resp, err := r.unary(ctx, t, dropRowsMethod, req)
	if err != nil {
		return err
	}
	resp.Free()
	return nil
}

// CheckAndMutateRow implements Server.
func (r *Remote) CheckAndMutateRow(ctx context.Context, t Target, req []byte) (bool, error) {
	resp, err := r.unary(ctx, t, bigtablepb.Bigtable_CheckAndMutateRow_FullMethodName, req)
	if err != nil {
		return false, err
	}
	defer resp.Free()
	m := &bigtablepb.CheckAndMutateRowResponse{}
	if err := proto.Unmarshal(resp.Bytes(), m); err != nil {
		return false, fmt.Errorf("%w: malformed CheckAndMutateRowResponse: %w", base.ErrUnknownOutcome, err)
	}
	return m.PredicateMatched, nil
}

// ReadModifyWriteRow implements Server.
func (r *Remote) ReadModifyWriteRow(ctx context.Context, t Target, req []byte) ([]byte, error) {
	resp, err := r.unary(ctx, t, bigtablepb.Bigtable_ReadModifyWriteRow_FullMethodName, req)
	if err != nil {
		return nil, err
	}
	defer resp.Free()
	return append([]byte(nil), resp.Bytes()...), nil
}

// MutateRows implements Server.
func (r *Remote) MutateRows(ctx context.Context, t Target, entries [][]byte) ([]error, error) {
	size := 0
	for _, e := range entries {
		size += len(e) + 1 + protowire.SizeVarint(uint64(len(e)))
	}
	req := make([]byte, 0, size)
	for _, e := range entries {
		req = protowire.AppendTag(req, entriesField, protowire.BytesType)
		req = protowire.AppendBytes(req, e)
	}
	ctx, cancel := context.WithCancel(Outgoing(ctx, t))
	defer cancel()
	st, err := r.open(ctx, mutateRowsDesc, bigtablepb.Bigtable_MutateRows_FullMethodName, req)
	if err != nil {
		return nil, outcome(err)
	}
	errs := make([]error, len(entries))
	known := 0
	for {
		resp := &Frame{}
		err := st.RecvMsg(resp)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, outcome(err)
		}
		n, err := readStatuses(resp.Bytes(), errs)
		resp.Free()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", base.ErrUnknownOutcome, err)
		}
		known += n
	}
	if known != len(entries) {
		return nil, fmt.Errorf("%w: %d statuses for %d entries", base.ErrUnknownOutcome, known, len(entries))
	}
	return errs, nil
}

// readStatuses stores the statuses of a MutateRowsResponse in errs and returns
// how many it holds.
func readStatuses(resp []byte, errs []error) (int, error) {
	count := 0
	for len(resp) > 0 {
		num, typ, n := protowire.ConsumeTag(resp)
		if n < 0 {
			return 0, errors.New("malformed MutateRowsResponse")
		}
		m := protowire.ConsumeFieldValue(num, typ, resp[n:])
		if m < 0 {
			return 0, errors.New("malformed MutateRowsResponse")
		}
		if num == 1 && typ == protowire.BytesType {
			entry, _ := protowire.ConsumeBytes(resp[n:])
			if err := readStatus(entry, errs); err != nil {
				return 0, err
			}
			count++
		}
		resp = resp[n+m:]
	}
	return count, nil
}

func readStatus(entry []byte, errs []error) error {
	var index uint64
	var st []byte
	for len(entry) > 0 {
		num, typ, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return errors.New("malformed MutateRowsResponse.Entry")
		}
		m := protowire.ConsumeFieldValue(num, typ, entry[n:])
		if m < 0 {
			return errors.New("malformed MutateRowsResponse.Entry")
		}
		switch {
		case num == 1 && typ == protowire.VarintType:
			index, _ = protowire.ConsumeVarint(entry[n:])
		case num == 2 && typ == protowire.BytesType:
			st, _ = protowire.ConsumeBytes(entry[n:])
		}
		entry = entry[n+m:]
	}
	if index >= uint64(len(errs)) {
		return fmt.Errorf("status for entry %d of %d", index, len(errs))
	}
	errs[index] = rpc.FromStatusBytes(st)
	return nil
}

// open starts a server-streaming call.
func (r *Remote) open(ctx context.Context, desc *grpc.StreamDesc, method string, req []byte) (grpc.ClientStream, error) {
	st, err := r.cc.NewStream(ctx, desc, method, rawCall)
	if err != nil {
		return nil, err
	}
	if err := st.SendMsg(NewFrame(req)); err != nil && err != io.EOF { // io.EOF: RecvMsg has the status
		return nil, err
	}
	if err := st.CloseSend(); err != nil {
		return nil, err
	}
	return st, nil
}

// ReadRows implements Server.
func (r *Remote) ReadRows(ctx context.Context, t Target, s Scan, req []byte, send func(mem.Buffer, FrameInfo) error) error {
	ctx, cancel := context.WithCancel(outgoingScan(Outgoing(ctx, t), s))
	defer cancel()
	st, err := r.open(ctx, readRowsDesc, bigtablepb.Bigtable_ReadRows_FullMethodName, req)
	if err != nil {
		return rpc.FromStatus(err)
	}
	for {
		f := &Frame{}
		err := st.RecvMsg(f)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return rpc.FromStatus(err)
		}
		msg, info, err := SplitInfo(f.Bytes())
		if err != nil {
			f.Free()
			return err
		}
		view := f.Buf.Slice(0, len(msg))
		err = send(view, info)
		f.Free() // after send: info aliases the buffer
		if err != nil {
			return err
		}
	}
}

// SampleRowKeys implements Server.
func (r *Remote) SampleRowKeys(ctx context.Context, t Target) ([]Sample, error) {
	ctx, cancel := context.WithCancel(Outgoing(ctx, t))
	defer cancel()
	st, err := bigtablepb.NewBigtableClient(r.cc).SampleRowKeys(ctx, &bigtablepb.SampleRowKeysRequest{})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	var samples []Sample
	for {
		resp, err := st.Recv()
		if err == io.EOF {
			return samples, nil
		}
		if err != nil {
			return nil, rpc.FromStatus(err)
		}
		samples = append(samples, Sample{Key: resp.RowKey, Offset: resp.OffsetBytes})
	}
}
