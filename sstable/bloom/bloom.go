// Package bloom is a split-block Bloom filter: each key sets one bit in each of
// the 8 words of one block of 32 bytes, so that a probe touches one cache line.
// With 15 bits per key about one absent key in 500 is let through.
//
// A filter is stored as
//
//	+----------------------------------+------+
//	| n blocks of 8 little-endian u32  | kind |
//	+----------------------------------+------+
//
// where kind is 1. The block of a key is chosen by the upper half of its xxh3
// hash, the bits by the lower half.
package bloom

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	blockLen = 32
	// kindSplitBlock: xxh3, blocks of 8 words. The only kind so far.
	kindSplitBlock = 1
	// maxBlocks: the block index is a product of two 32-bit numbers.
	maxBlocks = 1 << 31 / blockLen
)

// DefaultBitsPerKey is what a false positive, a GET, is worth.
const DefaultBitsPerKey = 15

// Hash is what a filter keeps of a key.
func Hash(key []byte) uint64 { return xxh3.Hash(key) }

// Builder collects the hashes of the keys of one filter. The zero Builder is
// ready.
type Builder struct{ hashes []uint64 }

// Add adds a key by its hash; adding one twice wastes bits.
func (b *Builder) Add(hash uint64) { b.hashes = append(b.hashes, hash) }

// Len returns the number of keys added.
func (b *Builder) Len() int { return len(b.hashes) }

// Size returns the length of the filter that Append makes.
func (b *Builder) Size(bitsPerKey int) int { return b.blocks(bitsPerKey)*blockLen + 1 }

func (b *Builder) blocks(bitsPerKey int) int {
	const bits = blockLen * 8
	return min(max((len(b.hashes)*bitsPerKey+bits-1)/bits, 1), maxBlocks)
}

// Append appends the filter to dst.
func (b *Builder) Append(dst []byte, bitsPerKey int) []byte {
	at, n := len(dst), b.blocks(bitsPerKey)
	dst = append(dst, make([]byte, n*blockLen)...)
	f := dst[at:]
	for _, h := range b.hashes {
		block := f[blockOf(h, n):][:blockLen]
		for i, salt := range salts {
			w := block[4*i:]
			binary.LittleEndian.PutUint32(w, binary.LittleEndian.Uint32(w)|1<<(uint32(h)*salt>>27))
		}
	}
	return append(dst, kindSplitBlock)
}

// salts make 8 bit positions of one 32-bit hash; they are part of the format
// and are those of Apache Parquet.
var salts = [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

// blockOf returns the offset of the block of h in a filter of n blocks.
func blockOf(h uint64, n int) int { return int(h>>32*uint64(n)>>32) * blockLen }

// Filter answers whether a key may have been added. The zero Filter stands for
// "not known" and says yes to all. It may be used concurrently.
type Filter struct{ blocks []byte }

// Open checks the form of a stored filter, which the Filter goes on to use. An
// error wraps base.ErrCorrupt.
func Open(b []byte) (Filter, error) {
	n := len(b) - 1
	if n < blockLen || n%blockLen != 0 || n/blockLen > maxBlocks {
		return Filter{}, fmt.Errorf("%w: bloom filter of %d bytes", base.ErrCorrupt, len(b))
	}
	if b[n] != kindSplitBlock {
		return Filter{}, fmt.Errorf("%w: bloom filter of unknown kind %d", base.ErrCorrupt, b[n])
	}
	return Filter{blocks: b[:n:n]}, nil
}

// MayContain reports whether the key with this hash may have been added.
func (f Filter) MayContain(hash uint64) bool {
	if len(f.blocks) == 0 {
		return true
	}
	b := f.blocks[blockOf(hash, len(f.blocks)/blockLen):][:blockLen]
	h := uint32(hash)
	for i, salt := range salts {
		if binary.LittleEndian.Uint32(b[4*i:])>>(h*salt>>27)&1 == 0 {
			return false
		}
	}
	return true
}
