package route

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
)

// The description of a frame travels as one more field at the end of the
// ReadRowsResponse, of a number that the message does not use, so that any
// Bigtable client could read a routed answer, too.
const (
	infoField     = 15000
	infoTrailer   = 3 // length of what ends the frame: the length of the field
	infoRows      = 1
	infoLast      = 2
	infoMidRow    = 3
	maxInfoLength = 1 << 20
)

// AppendInfo appends the description of a frame to its bytes. The last three
// bytes of the frame then say how long the field is, so that it can be found
// from the end.
func AppendInfo(frame []byte, info FrameInfo) []byte {
	var body []byte
	if info.Rows != 0 {
		body = protowire.AppendTag(body, infoRows, protowire.VarintType)
		body = protowire.AppendVarint(body, uint64(info.Rows))
	}
	if info.HasLast {
		body = protowire.AppendTag(body, infoLast, protowire.BytesType)
		body = protowire.AppendBytes(body, info.LastRow)
	}
	if info.MidRow {
		body = protowire.AppendTag(body, infoMidRow, protowire.VarintType)
		body = protowire.AppendVarint(body, 1)
	}
	before := len(frame)
	frame = protowire.AppendTag(frame, infoField, protowire.BytesType)
	frame = protowire.AppendVarint(frame, uint64(len(body)+infoTrailer))
	frame = append(frame, body...)
	n := len(frame) - before + infoTrailer
	return append(frame, byte(n), byte(n>>8), byte(n>>16))
}

// SplitInfo is the inverse of AppendInfo: it returns the message without the
// field. LastRow aliases the frame.
func SplitInfo(frame []byte) (msg []byte, info FrameInfo, err error) {
	bad := fmt.Errorf("%w: a routed response of %d bytes does not end in its description", base.ErrUnavailable, len(frame))
	if len(frame) < infoTrailer {
		return nil, info, bad
	}
	t := frame[len(frame)-infoTrailer:]
	n := int(t[0]) | int(t[1])<<8 | int(t[2])<<16
	if n < infoTrailer || n > len(frame) || n > maxInfoLength {
		return nil, info, bad
	}
	msg, field := frame[:len(frame)-n], frame[len(frame)-n:]
	num, typ, k := protowire.ConsumeTag(field)
	if k < 0 || num != infoField || typ != protowire.BytesType {
		return nil, info, bad
	}
	body, k := protowire.ConsumeBytes(field[k:])
	if k < 0 || len(body) < infoTrailer {
		return nil, info, bad
	}
	for body = body[:len(body)-infoTrailer]; len(body) > 0; {
		num, typ, k := protowire.ConsumeTag(body)
		if k < 0 {
			return nil, info, bad
		}
		v := body[k:]
		m := protowire.ConsumeFieldValue(num, typ, v)
		if m < 0 {
			return nil, info, bad
		}
		switch num {
		case infoRows:
			x, _ := protowire.ConsumeVarint(v)
			info.Rows = int64(x)
		case infoLast:
			info.LastRow, _ = protowire.ConsumeBytes(v)
			info.HasLast = true
		case infoMidRow:
			info.MidRow = true
		}
		body = v[m:]
	}
	return msg, info, nil
}

// Frame is a message as wire bytes. Codec passes it as it is.
type Frame struct {
	// Buf holds the bytes of a received message; the receiver frees it.
	Buf mem.Buffer
}

// Bytes returns the message, valid until Free.
func (f *Frame) Bytes() []byte {
	if f.Buf == nil {
		return nil
	}
	return f.Buf.ReadOnlyData()
}

// Free gives the buffer back.
func (f *Frame) Free() {
	if f.Buf != nil {
		f.Buf.Free()
		f.Buf = nil
	}
}

// NewFrame returns a Frame to be sent that holds b, which must not change.
func NewFrame(b []byte) *Frame { return &Frame{Buf: mem.SliceBuffer(b)} }
