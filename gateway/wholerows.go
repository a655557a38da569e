package gateway

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
)

// Tablets cut their answers into messages of about 1 MiB, and a longer row into
// several, as the protocol allows. Google's Go client does not: it takes a message
// that ends within a row for a broken stream (bigtable v1.58, readRows). So a
// gateway puts the messages together until the row ends. Clients that limit
// messages to the 4 MiB of grpc's defaults can only take longer rows in parts,
// which those other than the Go client do.

// defaultReceiveLimit is what fits into the messages that gRPC clients take
// unless they are told otherwise, with some room.
const defaultReceiveLimit = 3<<20 + 512<<10

// Fields of ReadRowsResponse and its CellChunk.
const (
	chunksField    = 1
	resetRowField  = 8
	commitRowField = 9
)

// wholeRows sends messages that do not end within a row.
type wholeRows struct {
	send func(mem.Buffer) error
	any  bool // the client takes messages of any size, and whole rows only
	held []byte
}

func newWholeRows(ctx context.Context, send func(mem.Buffer) error) *wholeRows {
	w := &wholeRows{send: send}
	for _, v := range metadata.ValueFromIncomingContext(ctx, "user-agent") {
		w.any = w.any || strings.Contains(v, "grpc-go/")
	}
	return w
}

// frame passes a message on, or keeps it for later. It owns b.
func (w *wholeRows) frame(b mem.Buffer) error {
	mid, err := endsWithinRow(b.ReadOnlyData(), len(w.held) > 0)
	if err != nil {
		b.Free()
		return err
	}
	if len(w.held) == 0 && !mid {
		return w.send(b)
	}
	limit := defaultReceiveLimit
	if w.any {
		limit = rpc.MaxMessage
	}
	if len(w.held) > 0 && len(w.held)+b.Len() > limit {
		if err := w.flush(); err != nil {
			b.Free()
			return err
		}
	}
	// Messages that follow each other on the wire are one: their chunks are
	// joined.
	w.held = append(w.held, b.ReadOnlyData()...)
	b.Free()
	if mid {
		return nil
	}
	return w.flush()
}

// flush sends what is held.
func (w *wholeRows) flush() error {
	if len(w.held) == 0 {
		return nil
	}
	b := mem.SliceBuffer(w.held)
	w.held = nil
	return w.send(b)
}

// abort sends what is held of a response that failed, with the advice to forget
// its last row. That this may fail as well changes nothing.
func (w *wholeRows) abort() {
	if len(w.held) > 0 {
		w.held = append(w.held, chunksField<<3|2, 2, resetRowField<<3, 1)
		_ = w.flush()
	}
}

// endsWithinRow reports whether the last chunk of a ReadRowsResponse neither
// commits nor resets the row; one without chunks changes nothing.
func endsWithinRow(msg []byte, before bool) (bool, error) {
	last, err := lastChunk(msg)
	if err != nil {
		return false, err
	}
	if last == nil {
		return before, nil
	}
	for len(last) > 0 {
		num, typ, n := protowire.ConsumeTag(last)
		if n < 0 {
			return false, errFrame
		}
		m := protowire.ConsumeFieldValue(num, typ, last[n:])
		if m < 0 {
			return false, errFrame
		}
		if typ == protowire.VarintType && (num == commitRowField || num == resetRowField) {
			if v, _ := protowire.ConsumeVarint(last[n:]); v != 0 {
				return false, nil
			}
		}
		last = last[n+m:]
	}
	return true, nil
}

// lastChunk returns the last chunk of a ReadRowsResponse; nil: it has none. It
// sees every chunk of a scan, of which there may be thousands in a message.
func lastChunk(msg []byte) ([]byte, error) {
	var last []byte
	for len(msg) > 0 {
		if msg[0] == chunksField<<3|byte(protowire.BytesType) {
			l, n := protowire.ConsumeVarint(msg[1:])
			if n < 0 || l > uint64(len(msg)-1-n) {
				return nil, errFrame
			}
			end := 1 + n + int(l)
			last, msg = msg[1+n:end:end], msg[end:]
			continue
		}
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return nil, errFrame
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return nil, errFrame
		}
		msg = msg[n+m:]
	}
	return last, nil
}

// errFrame: a tablet server sent what is no ReadRowsResponse. The client may
// try again.
var errFrame = fmt.Errorf("%w: malformed ReadRowsResponse of a tablet server", base.ErrUnavailable)
