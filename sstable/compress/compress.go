// Package compress packs and unpacks blocks of an SSTable. Each packed block
// tells its raw length, so that a reader can allocate exactly.
package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Type says how a block is packed. It stands in the trailer of each block;
// values are never reused.
type Type uint8

const (
	// None: the block as it is.
	None Type = 0
	// Snappy is the block format of Snappy, which begins with the raw length.
	Snappy Type = 1
	// Zstd is the raw length as a uvarint, then one Zstandard frame.
	Zstd Type = 2

	// Types is how many there are.
	Types = 3
)

// String returns the name that Parse takes.
func (t Type) String() string {
	switch t {
	case None:
		return "none"
	case Snappy:
		return "snappy"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("compression(%d)", uint8(t))
}

// Parse is the inverse of Type.String.
func Parse(s string) (Type, error) {
	for _, t := range []Type{None, Snappy, Zstd} {
		if s == t.String() {
			return t, nil
		}
	}
	return None, fmt.Errorf("%w: compression %q: want none, snappy or zstd", base.ErrInvalid, s)
}

// MaxRaw is the longest raw block, in bytes.
const MaxRaw = 1 << 30

// minSaving: a block that packing does not make smaller by an eighth is stored
// as it is, because unpacking would cost each reader more than it saves.
const minSaving = 8

// Encoder packs blocks, one at a time: it is used by one goroutine.
type Encoder struct {
	typ  Type
	zstd *zstd.Encoder
	pool *Pool // zstd goes back to it; nil: it does not
}

// Pool keeps Zstandard encoders of the default level, whose tables take about a
// mebibyte, from one file for the next. The zero Pool is ready; it may be used
// concurrently.
type Pool struct{ encoders sync.Pool }

// Release ends the use of the encoder; what it took is kept for others.
func (e *Encoder) Release() {
	if e.zstd != nil && e.pool != nil {
		e.pool.encoders.Put(e.zstd)
	}
	e.zstd, e.typ = nil, None
}

// NewEncoder returns an encoder. The level is that of Zstandard (1 to 22, 0 for
// 1); the other types have none. What it takes is taken from the pool, and given
// back by Release; nil: there is none. An error wraps base.ErrInvalid.
func NewEncoder(t Type, level int, pool *Pool) (*Encoder, error) {
	e := &Encoder{typ: t}
	switch t {
	case None, Snappy:
	case Zstd:
		if level < 0 || level > 22 {
			return nil, fmt.Errorf("%w: zstd level %d: want 1 to 22", base.ErrInvalid, level)
		}
		if level <= 1 && pool != nil {
			e.pool = pool
			if x, ok := pool.encoders.Get().(*zstd.Encoder); ok {
				e.zstd = x
				return e, nil
			}
		}
		var err error
		e.zstd, err = zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(max(level, 1))),
			zstd.WithEncoderConcurrency(1), // no idle encoders
			zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderCRC(false), // the block has its own
		)
		if err != nil {
			return nil, fmt.Errorf("start zstd encoder: %w", err)
		}
	default:
		return nil, fmt.Errorf("%w: unknown %v", base.ErrInvalid, t)
	}
	return e, nil
}

// MaxLen returns how many bytes Append may need for n raw bytes.
func (e *Encoder) MaxLen(n int) int {
	switch e.typ {
	case Snappy:
		return s2.MaxEncodedLen(n)
	case Zstd:
		return binary.MaxVarintLen64 + n + n>>8 + 64
	}
	return n
}

// Append appends src to dst, packed if that pays, and says how. src must not be
// longer than MaxRaw and not overlap the end of dst.
func (e *Encoder) Append(dst, src []byte) ([]byte, Type) {
	n := len(dst)
	switch e.typ {
	case Snappy:
		room := dst[n:cap(dst)]
		packed := s2.EncodeSnappy(room, src) // takes room if it is large enough
		if len(packed) > 0 && len(room) > 0 && &packed[0] == &room[0] {
			dst = dst[:n+len(packed)]
		} else {
			dst = append(dst, packed...)
		}
	case Zstd:
		dst = binary.AppendUvarint(dst, uint64(len(src)))
		dst = e.zstd.EncodeAll(src, dst)
	default:
		return append(dst, src...), None
	}
	if len(dst)-n > len(src)-len(src)/minSaving {
		return append(dst[:n], src...), None
	}
	return dst, e.typ
}

// Decoder unpacks blocks. It may be used concurrently. The zero Decoder is
// ready; what Zstandard needs is allocated with the first such block.
type Decoder struct {
	once sync.Once
	zstd *zstd.Decoder
	err  error
}

var errLength = errors.New("wrong raw length")

// RawLen returns the length of src when unpacked, or an error that wraps
// base.ErrCorrupt.
func RawLen(t Type, src []byte) (int, error) {
	switch t {
	case None:
		return len(src), nil
	case Snappy:
		// Three bytes make at most 64: a longer claim is a lie that would
		// only cost memory.
		n, err := s2.DecodedLen(src)
		if err == nil && (n > MaxRaw || n/22 > len(src)) {
			err = errLength
		}
		return n, corrupt(t, err)
	case Zstd:
		n, k := binary.Uvarint(src)
		if k <= 0 || n > MaxRaw {
			return 0, corrupt(t, errLength)
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("%w: unknown %v", base.ErrCorrupt, t)
}

// Decode unpacks src into dst, if its capacity is RawLen or more, else into
// fresh memory. With None it returns src. An error wraps base.ErrCorrupt.
func (d *Decoder) Decode(dst []byte, t Type, src []byte) ([]byte, error) {
	n, err := RawLen(t, src)
	if err != nil || t == None {
		return src, err
	}
	if cap(dst) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n]
	var out []byte
	if t == Snappy {
		out, err = s2.Decode(dst, src)
	} else {
		if d.once.Do(d.start); d.err != nil {
			return nil, d.err
		}
		_, k := binary.Uvarint(src)
		out, err = d.zstd.DecodeAll(src[k:], dst[:0:n])
	}
	if err == nil && len(out) != n {
		err = errLength
	}
	return out, corrupt(t, err)
}

func (d *Decoder) start() {
	d.zstd, d.err = zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxRaw),
		zstd.WithDecodeAllCapLimit(true), // never more than the raw length said
	)
}

func corrupt(t Type, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %v block: %w", base.ErrCorrupt, t, err)
}
