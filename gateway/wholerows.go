package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
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

// maxGoMessage is the longest message that Google's Go client takes.
const maxGoMessage = 256 << 20

// wholeRows sends messages that do not end within a row.
type wholeRows struct {
	send   func(...mem.Buffer) error
	any    bool // the client takes messages of any size, and whole rows only
	memory *membudget.Account

	// Messages that follow each other on the wire are one: their chunks are
	// joined. So nothing is copied.
	held  []mem.Buffer
	size  int
	taken int64 // of memory
}

func newWholeRows(ctx context.Context, memory *membudget.Account, send func(...mem.Buffer) error) *wholeRows {
	w := &wholeRows{send: send, memory: memory}
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
	if err := w.room(b.Len()); err != nil {
		b.Free()
		return err
	}
	w.held, w.size = append(w.held, b), w.size+b.Len()
	if mid {
		return nil
	}
	return w.flush()
}

// room makes room for n more bytes.
func (w *wholeRows) room(n int) error {
	switch {
	case w.any && w.size+n > maxGoMessage:
		return base.Textf(base.ErrPrecondition, "A row is longer than %d MiB, the longest message that this client takes; read it in parts, by a filter", maxGoMessage>>20)
	case !w.any && w.size > 0 && w.size+n > defaultReceiveLimit:
		if err := w.flush(); err != nil {
			return err
		}
	}
	switch {
	case w.memory.TryTake(int64(n)):
	case w.taken == w.memory.Used(): // there is no other row: this one may be longer than all
		w.memory.Add(int64(n))
	default:
		return &base.OverloadError{After: retryRow, Reason: fmt.Sprintf("rows that are put together take %d of %d MiB", w.memory.Used()>>20, w.memory.Limit()>>20)}
	}
	w.taken += int64(n)
	return nil
}

// retryRow is when to ask again for a row that there was no memory for.
const retryRow = 500 * time.Millisecond

// flush sends what is held.
func (w *wholeRows) flush() error {
	held := w.held
	w.held, w.size = nil, 0
	defer func() { w.memory.Give(w.taken); w.taken = 0 }()
	if len(held) == 0 {
		return nil
	}
	return w.send(held...)
}

// abort ends a response that failed within a row. A client that takes whole rows
// has heard nothing of it; others get what is held, with the advice to forget the
// row. That this may fail as well changes nothing.
func (w *wholeRows) abort() {
	if w.any {
		for _, b := range w.held {
			b.Free()
		}
		w.held = nil
		_ = w.flush() // gives the memory back
		return
	}
	if len(w.held) > 0 {
		w.held = append(w.held, mem.SliceBuffer{chunksField<<3 | 2, 2, resetRowField << 3, 1})
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
