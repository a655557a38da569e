package block

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/tabletdb/tabletdb/internal/base"
)

// IndexBuilder makes index blocks: for each block a separator and a handle.
//
//	entry := len(separator)(uvarint) separator offset(uvarint) len(uvarint)
//	block := entry* offset of entry(u32)* number of entries(u32)
//
// A separator is greater than every key before its block and not greater than
// the first key in it. The shortest prefix of that first key that is greater
// than the key before will always do.
type IndexBuilder struct {
	buf     []byte
	offsets []uint32
	first   []byte
}

// Add appends an entry. Separators must ascend strictly.
func (b *IndexBuilder) Add(separator []byte, h Handle) {
	if len(b.offsets) == 0 {
		b.first = append(b.first[:0], separator...)
	}
	b.offsets = append(b.offsets, uint32(len(b.buf)))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(separator)))
	b.buf = append(b.buf, separator...)
	b.buf = binary.AppendUvarint(b.buf, h.Offset)
	b.buf = binary.AppendUvarint(b.buf, h.Len)
}

// Len returns the number of entries.
func (b *IndexBuilder) Len() int { return len(b.offsets) }

// Size returns the length of the block as it stands.
func (b *IndexBuilder) Size() int { return len(b.buf) + 4*len(b.offsets) + 4 }

// First returns the separator of the first entry; it is valid until the next
// block is begun.
func (b *IndexBuilder) First() []byte { return b.first }

// Append appends the block to dst and starts the next one.
func (b *IndexBuilder) Append(dst []byte) []byte {
	dst = append(dst, b.buf...)
	for _, o := range b.offsets {
		dst = binary.LittleEndian.AppendUint32(dst, o)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b.offsets)))
	b.buf, b.offsets = b.buf[:0], b.offsets[:0]
	return dst
}

// Index is an opened index block. It was checked as a whole, so its methods do
// not fail. It may be used concurrently and aliases the block.
type Index struct {
	data    []byte
	offsets []byte
}

// OpenIndex checks a raw index block: each entry is well-formed and separators
// ascend. An error wraps base.ErrCorrupt.
func OpenIndex(b []byte) (Index, error) {
	end := len(b) - 4
	if end < 0 {
		return Index{}, corruptIndex("%d bytes", len(b))
	}
	n := uint64(binary.LittleEndian.Uint32(b[end:]))
	if 4*n > uint64(end) {
		return Index{}, corruptIndex("%d bytes for %d entries", len(b), n)
	}
	at := end - int(4*n)
	x := Index{data: b[:at:at], offsets: b[at:end]}
	off := 0
	var last []byte
	for i := range int(n) {
		if got := int(binary.LittleEndian.Uint32(x.offsets[4*i:])); got != off {
			return Index{}, corruptIndex("entry %d is at %d, not at %d", i, off, got)
		}
		key, _, size := parseIndexEntry(x.data[off:])
		if size == 0 {
			return Index{}, corruptIndex("entry %d at %d is malformed", i, off)
		}
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return Index{}, corruptIndex("separator %d does not ascend", i)
		}
		last = key
		off += size
	}
	if off != len(x.data) {
		return Index{}, corruptIndex("%d bytes after the last entry", len(x.data)-off)
	}
	return x, nil
}

func corruptIndex(format string, args ...any) error {
	return fmt.Errorf("%w: index block: "+format, append([]any{base.ErrCorrupt}, args...)...)
}

// parseIndexEntry decodes the entry at the start of b and returns its length;
// 0: it is malformed.
func parseIndexEntry(b []byte) (separator []byte, h Handle, size int) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, h, 0
	}
	at := k + int(n)
	separator = b[k:at:at]
	var k1, k2 int
	h.Offset, k1 = binary.Uvarint(b[at:])
	if k1 <= 0 {
		return nil, h, 0
	}
	h.Len, k2 = binary.Uvarint(b[at+k1:])
	if k2 <= 0 || h.Offset > 1<<62 || h.Len > 1<<62 {
		return nil, h, 0
	}
	return separator, h, at + k1 + k2
}

// Len returns the number of entries.
func (x Index) Len() int { return len(x.offsets) / 4 }

// Separator returns the separator of entry i.
func (x Index) Separator(i int) []byte {
	b := x.data[binary.LittleEndian.Uint32(x.offsets[4*i:]):]
	if n := int(b[0]); n < 0x80 {
		return b[1 : 1+n]
	}
	n, k := binary.Uvarint(b)
	return b[k : k+int(n)]
}

// Handle returns the handle of entry i.
func (x Index) Handle(i int) Handle {
	_, h, _ := parseIndexEntry(x.data[binary.LittleEndian.Uint32(x.offsets[4*i:]):])
	return h
}

// FindLE returns the last entry whose separator is <= key, or -1: the one block
// that may hold key.
func (x Index) FindLE(key []byte) int {
	return sort.Search(x.Len(), func(i int) bool { return bytes.Compare(x.Separator(i), key) > 0 }) - 1
}

// FindLT returns the last entry whose separator is < key, or -1.
func (x Index) FindLT(key []byte) int {
	return sort.Search(x.Len(), func(i int) bool { return bytes.Compare(x.Separator(i), key) >= 0 }) - 1
}
