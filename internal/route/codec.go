package route

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec is protobuf's codec, except that a *Frame passes as it is. Servers
// that Register are made with grpc.ForceServerCodecV2(Codec()); calls that pass
// frames use grpc.ForceCodecV2(Codec()).
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name), &bufferPool{}} }

type codec struct {
	messages encoding.CodecV2
	pool     *bufferPool
}

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	// The transport frees what it is given; the sender keeps its hold.
	switch f := v.(type) {
	case *Frame:
		if f.Buf == nil {
			return nil, nil
		}
		f.Buf.Ref()
		return mem.BufferSlice{f.Buf}, nil
	case *frames:
		data := make(mem.BufferSlice, len(f.parts))
		for i, p := range f.parts {
			p.Ref()
			data[i] = p
		}
		return data, nil
	}
	return c.messages.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*Frame); ok {
		f.Buf = data.MaterializeToBuffer(c.pool)
		return nil
	}
	return c.messages.Unmarshal(data, v)
}

// frames is one message in parts, to be sent.
type frames struct{ parts []mem.Buffer }

// Name is protobuf's, so that peers agree on the content type.
func (codec) Name() string { return proto.Name }
