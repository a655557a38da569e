package sstable

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/block"
)

const (
	// FooterLen is the length of the footer: the last bytes of every file.
	FooterLen = 64
	// Version is the format this package writes.
	Version = 1

	magic = "TABLTSST"
)

// footer is the end of a file. All integers are little-endian.
//
//	 0  u64 tail offset        = length of the data blocks
//	 8  u64 file size
//	16  u64 offset of the top index block
//	24  u32 length of the top index block    \
//	28  u32 length of the row filter          | with their trailers;
//	32  u32 length of the column filter       | 0: no such filter
//	36  u32 length of the properties block   /
//	40  u32 salt of the checksums of the blocks
//	44  u8  format version
//	45  u8  levels of the index, 1 or 2
//	46  u16, u32 zero
//	52  u32 CRC32C of the bytes before
//	56  "TABLTSST"
type footer struct {
	tailOffset, size, topOffset               uint64
	topLen, rowFilterLen, colFilterLen, props uint32
	salt                                      uint32
	levels                                    uint8
}

func (f *footer) appendTo(dst []byte) []byte {
	at := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, f.tailOffset)
	dst = le.AppendUint64(dst, f.size)
	dst = le.AppendUint64(dst, f.topOffset)
	for _, v := range []uint32{f.topLen, f.rowFilterLen, f.colFilterLen, f.props, f.salt} {
		dst = le.AppendUint32(dst, v)
	}
	dst = append(dst, Version, f.levels)
	dst = le.AppendUint32(le.AppendUint16(dst, 0), 0)
	dst = le.AppendUint32(dst, block.Checksum(dst[at:]))
	return append(dst, magic...)
}

// parseFooter decodes a footer and checks that the parts it names fill the tail
// exactly. An error wraps base.ErrCorrupt, or base.ErrUnimplemented for a
// version from the future.
func parseFooter(b []byte) (footer, error) {
	var f footer
	if len(b) != FooterLen || string(b[56:]) != magic {
		return f, fmt.Errorf("%w: no SSTable footer", base.ErrCorrupt)
	}
	le := binary.LittleEndian
	if got, want := block.Checksum(b[:52]), le.Uint32(b[52:]); got != want {
		return f, fmt.Errorf("%w: footer has checksum %08x, want %08x", base.ErrCorrupt, got, want)
	}
	if b[44] != Version {
		return f, fmt.Errorf("%w: SSTable format %d; this program reads format %d", base.ErrUnimplemented, b[44], Version)
	}
	f.tailOffset, f.size, f.topOffset = le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
	f.topLen, f.rowFilterLen, f.colFilterLen, f.props = le.Uint32(b[24:]), le.Uint32(b[28:]), le.Uint32(b[32:]), le.Uint32(b[36:])
	f.salt, f.levels = le.Uint32(b[40:]), b[45]
	filters := uint64(f.rowFilterLen) + uint64(f.colFilterLen)
	switch {
	case f.size > math.MaxInt64/2, f.tailOffset > f.size, f.topOffset > f.size,
		f.tailOffset+filters > f.topOffset,
		f.topOffset+uint64(f.topLen)+uint64(f.props)+FooterLen != f.size,
		f.topLen < block.TrailerLen, f.props < block.TrailerLen,
		f.levels != 1 && f.levels != 2,
		f.levels == 1 && f.tailOffset+filters != f.topOffset:
		return f, fmt.Errorf("%w: footer %+v contradicts itself", base.ErrCorrupt, f)
	}
	return f, nil
}

// saltOf makes the checksum salt of a file from its name.
func saltOf(f base.FileNumber) uint32 {
	return block.Checksum(binary.BigEndian.AppendUint64(base.AppendIncarnation(nil, f.Creator), f.Number))
}
