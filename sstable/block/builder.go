package block

import "encoding/binary"

// A data block gets a restart point with every 16th entry after the last one,
// and sooner where long values would make the steps between restart points
// long: a seek goes by halves between restart points and one by one from there,
// and each entry it touches is a line that is likely not in the processor's
// cache.
const (
	restartEntries = 16
	restartBytes   = 4 << 10
)

// Builder makes data blocks:
//
//	entry := shared(uvarint) unshared(uvarint) len(value)(uvarint) key[shared:] value
//	block := entry* restart(u32)* len(restarts)(u32)
//
// shared counts the bytes the key has in common with the key before; it is 0
// at every restart point, which is the offset of an entry: the first one, and
// those 16 entries or 4 KiB after the last restart point.
type Builder struct {
	buf      []byte
	restarts []uint32
	count    int
	since    int // entries since the last restart point
}

// Add appends an entry. shared is the length of the prefix that key has in
// common with the key added before, whatever block that one went to.
func (b *Builder) Add(key, value []byte, shared int) {
	if b.count == 0 || b.since == restartEntries || len(b.buf)-int(b.restarts[len(b.restarts)-1]) >= restartBytes {
		b.restarts = append(b.restarts, uint32(len(b.buf)))
		b.since, shared = 0, 0
	}
	b.count++
	b.since++
	b.buf = binary.AppendUvarint(b.buf, uint64(shared))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(key)-shared))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(value)))
	b.buf = append(b.buf, key[shared:]...)
	b.buf = append(b.buf, value...)
}

// Len returns the number of entries.
func (b *Builder) Len() int { return b.count }

// Size returns the length of the block as it stands.
func (b *Builder) Size() int { return len(b.buf) + 4*len(b.restarts) + 4 }

// Finish returns the block, which is valid until Reset.
func (b *Builder) Finish() []byte {
	for _, r := range b.restarts {
		b.buf = binary.LittleEndian.AppendUint32(b.buf, r)
	}
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(len(b.restarts)))
	return b.buf
}

// Reset starts the next block. It keeps at most keep bytes of memory.
func (b *Builder) Reset(keep int) {
	if cap(b.buf) > keep {
		b.buf = nil
	}
	b.buf, b.restarts, b.count = b.buf[:0], b.restarts[:0], 0
}
