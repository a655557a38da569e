// Package route is how data requests reach the tablet server that serves the
// row: the service google.bigtable.v2.Bigtable with the tablet and its epoch in
// the call's metadata. A call without them comes from a plain Bigtable client
// and goes to the gateway's Frontend.
//
// Messages of the hot calls pass as wire bytes: each is parsed once, where its
// fields are needed, and no message objects are built.
package route

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Target names the tablet a request is for and the epoch under which the
// caller believes that it is served. A server that serves it under another
// epoch, or not at all, answers base.ErrNotServing.
type Target struct {
	Tablet base.TabletID
	Epoch  base.Epoch
}

// Scan is what a ReadRows call carries besides its request, so that a scan over
// many tablets, or one that is resumed, need not rewrite it.
type Scan struct {
	// After, if HasAfter, is the last row the caller has: only rows beyond it,
	// in the direction of the scan, are returned.
	After    []byte
	HasAfter bool
	// Limit is how many rows the caller still wants; 0: as the request says.
	Limit int64
}

// FrameInfo describes one ReadRowsResponse on its way from a tablet.
type FrameInfo struct {
	// Rows is the number of rows that end in the frame.
	Rows int64
	// LastRow is the key of the last row that ends in it, or that the scan
	// has passed without a match; valid if HasLast. A scan that fails after
	// this frame is resumed after it.
	LastRow []byte
	HasLast bool
	// MidRow: the frame ends within a row. Whoever resumes the scan elsewhere
	// must first send the client a reset_row.
	MidRow bool
}

// Sample is a key and the approximate bytes of the tablet's rows before it.
type Sample struct {
	Key    []byte
	Offset int64
}

// Server is the data plane of a tablet server, over gRPC (Remote) or in
// process. Requests are wire bytes of the messages of google.bigtable.v2; they
// are not kept after the call. All methods may be called concurrently.
//
// Errors wrap the sentinels of internal/base. base.ErrNotServing,
// base.ErrWrongTablet and base.ErrOverloaded promise that nothing was applied;
// base.ErrUnknownOutcome promises nothing.
type Server interface {
	// ReadRows streams the rows of a ReadRowsRequest that lie in the tablet.
	// send owns the frame it is given and frees it; info is valid during the
	// call. An error of send ends the scan and is returned.
	ReadRows(ctx context.Context, t Target, s Scan, req []byte, send func(frame mem.Buffer, info FrameInfo) error) error
	// MutateRow applies a MutateRowRequest.
	MutateRow(ctx context.Context, t Target, req []byte) error
	// MutateRows applies MutateRowsRequest.Entry messages, each atomically,
	// and returns an error for each that failed (nil: all were applied), or
	// one error for all.
	MutateRows(ctx context.Context, t Target, entries [][]byte) ([]error, error)
	// CheckAndMutateRow applies a CheckAndMutateRowRequest and returns whether
	// its predicate matched.
	CheckAndMutateRow(ctx context.Context, t Target, req []byte) (matched bool, err error)
	// ReadModifyWriteRow applies a ReadModifyWriteRowRequest and returns the
	// wire bytes of its response.
	ReadModifyWriteRow(ctx context.Context, t Target, req []byte) ([]byte, error)
	// DropRows deletes the rows of a google.bigtable.v2.RowRange, whose start is
	// closed and whose end is open, as far as they lie in the tablet, in one
	// step.
	DropRows(ctx context.Context, t Target, req []byte) error
	// SampleRowKeys returns keys that cut the tablet into about equal parts,
	// ascending, the last with the end of the tablet and its whole size.
	SampleRowKeys(ctx context.Context, t Target) ([]Sample, error)
}

// Keys of the metadata.
const (
	targetKey = "tabletdb-tablet"
	scanKey   = "tabletdb-scan"
)

// Outgoing returns ctx with the metadata of a routed call.
func Outgoing(ctx context.Context, t Target) context.Context {
	return metadata.AppendToOutgoingContext(ctx, targetKey, encodeTarget(t))
}

func encodeTarget(t Target) string {
	b := strconv.AppendUint(make([]byte, 0, 40), uint64(t.Tablet), 10)
	b = append(b, '/')
	return string(strconv.AppendUint(b, uint64(t.Epoch), 10))
}

// Incoming returns the target of a routed call; ok is false for a call that
// names none.
func Incoming(ctx context.Context) (t Target, ok bool, err error) {
	v := metadata.ValueFromIncomingContext(ctx, targetKey)
	if len(v) == 0 {
		return Target{}, false, nil
	}
	tablet, epoch, _ := strings.Cut(v[0], "/")
	id, err1 := strconv.ParseUint(tablet, 10, 64)
	ep, err2 := strconv.ParseUint(epoch, 10, 64)
	if err1 != nil || err2 != nil {
		return Target{}, false, fmt.Errorf("%w: metadata %s: %q; want <tablet>/<epoch>", base.ErrInvalid, targetKey, v[0])
	}
	return Target{Tablet: base.TabletID(id), Epoch: base.Epoch(ep)}, true, nil
}

// outgoingScan adds s to the metadata unless it is the zero Scan.
func outgoingScan(ctx context.Context, s Scan) context.Context {
	if !s.HasAfter && s.Limit == 0 {
		return ctx
	}
	v := strconv.FormatInt(s.Limit, 10)
	if s.HasAfter {
		v += "/" + base64.RawURLEncoding.EncodeToString(s.After)
	}
	return metadata.AppendToOutgoingContext(ctx, scanKey, v)
}

func incomingScan(ctx context.Context) (Scan, error) {
	v := metadata.ValueFromIncomingContext(ctx, scanKey)
	if len(v) == 0 {
		return Scan{}, nil
	}
	limit, after, hasAfter := strings.Cut(v[0], "/")
	n, err1 := strconv.ParseInt(limit, 10, 64)
	key, err2 := base64.RawURLEncoding.DecodeString(after)
	if err1 != nil || err2 != nil {
		return Scan{}, fmt.Errorf("%w: metadata %s: %q; want <limit>[/<row in base64>]", base.ErrInvalid, scanKey, v[0])
	}
	return Scan{Limit: n, After: key, HasAfter: hasAfter}, nil
}
