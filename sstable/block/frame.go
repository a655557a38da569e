// Package block is the inside of an SSTable's blocks: frames that carry a
// checksum, data blocks of sorted entries, and index blocks. It does no I/O.
// docs/format/sstable.md draws the bytes.
package block

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// TrailerLen is the length of what follows the bytes of every block:
//
//	+------------------+------------------------------+
//	| compression (u8) | CRC32C ^ mask, little-endian |
//	+------------------+------------------------------+
//
// The CRC32C covers the bytes of the block and the compression.
const TrailerLen = 1 + 4

// Handle says where the bytes of a block lie in its file.
type Handle struct {
	Offset uint64
	Len    uint64 // without the trailer
}

// End returns the offset of the first byte after the trailer.
func (h Handle) End() uint64 { return h.Offset + h.Len + TrailerLen }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C of p.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// mask is mixed into the checksum of a block, by exclusive or, so that it tells
// what the block belongs to: the file, by its salt, and the offset there. A
// block read from the wrong file or place, by a cache or a store that mixed
// them up, does not pass for the right one. The mixing is the end of
// splitmix64.
func mask(salt uint32, offset uint64) uint32 {
	x := offset + uint64(salt)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32(x ^ x>>31)
}

// AppendTrailer appends the trailer of the block whose packed bytes are the end
// of dst from start on, and which goes to offset of its file.
func AppendTrailer(dst []byte, start int, t compress.Type, salt uint32, offset uint64) []byte {
	dst = append(dst, byte(t))
	return binary.LittleEndian.AppendUint32(dst, Checksum(dst[start:])^mask(salt, offset))
}

// CheckFrame checks a block with its trailer and returns its packed bytes,
// which alias frame. An error wraps base.ErrCorrupt.
func CheckFrame(frame []byte, salt uint32, offset uint64) ([]byte, compress.Type, error) {
	n := len(frame) - TrailerLen
	if n < 0 {
		return nil, 0, fmt.Errorf("%w: block of %d bytes", base.ErrCorrupt, len(frame))
	}
	t := compress.Type(frame[n])
	want := binary.LittleEndian.Uint32(frame[n+1:])
	if got := Checksum(frame[:n+1]) ^ mask(salt, offset); got != want {
		return nil, 0, fmt.Errorf("%w: block of %d bytes has checksum %08x, want %08x", base.ErrCorrupt, len(frame), got, want)
	}
	return frame[:n:n], t, nil
}
