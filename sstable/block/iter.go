package block

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Iter walks a data block. Keys are rebuilt in a buffer that the next move
// overwrites; values alias the block. Moves report whether the iterator stands
// on an entry; if not, Err tells the end of the block from a corrupt one. The
// zero Iter is an empty block.
type Iter struct {
	data     []byte // the entries
	restarts []byte // their offsets, 4 bytes each
	off      int    // of the entry after the current one
	key      []byte
	value    []byte
	err      error
}

// Init makes i an unpositioned iterator over the raw block b, keeping the key
// buffer. An error wraps base.ErrCorrupt.
func (i *Iter) Init(b []byte) error {
	i.data, i.restarts, i.value, i.err, i.off = nil, nil, nil, nil, 0
	end := len(b) - 4
	if end < 0 {
		return i.fail("of %d bytes", len(b))
	}
	n := uint64(binary.LittleEndian.Uint32(b[end:]))
	if n == 0 || 4*n > uint64(end) {
		return i.fail("of %d bytes has %d restart points", len(b), n)
	}
	at := end - int(4*n)
	i.data, i.restarts = b[:at:at], b[at:end]
	return nil
}

func (i *Iter) fail(format string, args ...any) error {
	i.err = fmt.Errorf("%w: data block "+format, append([]any{base.ErrCorrupt}, args...)...)
	i.data, i.restarts, i.off = nil, nil, 0
	return i.err
}

// Key returns the key of the current entry.
func (i *Iter) Key() []byte { return i.key }

// Value returns the value of the current entry. Its capacity is its length.
func (i *Iter) Value() []byte { return i.value }

// Err returns what is wrong with the block, or nil.
func (i *Iter) Err() error { return i.err }

// First moves to the first entry.
func (i *Iter) First() bool {
	i.off, i.key = 0, i.key[:0]
	return i.Next()
}

// Last moves to the last entry.
func (i *Iter) Last() bool {
	if !i.toRestart(len(i.restarts)/4 - 1) {
		return false
	}
	for i.Next() {
		if i.off == len(i.data) {
			return true
		}
	}
	return false
}

// Next moves to the next entry, or to the first after Init.
func (i *Iter) Next() bool {
	b := i.data[i.off:]
	if len(b) == 0 {
		return false
	}
	var shared, unshared, value, n int
	if len(b) >= 4 && b[0] < 0x80 && b[1] < 0x80 && b[3] < 0x80 {
		// Short keys, and a value of up to 16 KiB, as nearly all are.
		shared, unshared = int(b[0]), int(b[1])
		if b[2] < 0x80 {
			value, n = int(b[2]), 3
		} else {
			value, n = int(b[2]&0x7f)|int(b[3])<<7, 4
		}
	} else if shared, unshared, value, n = header(b); n == 0 {
		i.fail("has a bad entry at %d", i.off)
		return false
	}
	keyEnd := n + unshared
	if shared > len(i.key) || keyEnd > len(b) || value > len(b)-keyEnd {
		i.fail("has a bad entry at %d", i.off)
		return false
	}
	i.key = append(i.key[:shared], b[n:keyEnd]...)
	end := keyEnd + value
	i.value = b[keyEnd:end:end]
	i.off += end
	return true
}

// header decodes the three lengths at the start of an entry and returns how
// many bytes they take; 0: they are malformed.
func header(b []byte) (shared, unshared, value, n int) {
	var v [3]uint64
	for j := range v {
		x, k := binary.Uvarint(b[n:])
		if k <= 0 || x > 1<<31-1 {
			return 0, 0, 0, 0
		}
		v[j] = x
		n += k
	}
	return int(v[0]), int(v[1]), int(v[2]), n
}

// restartKey returns the key at restart point r; nil with Err set: corrupt.
func (i *Iter) restartKey(r int) []byte {
	at := binary.LittleEndian.Uint32(i.restarts[4*r:])
	if uint64(at) < uint64(len(i.data)) {
		shared, unshared, _, n := header(i.data[at:])
		b := i.data[at:]
		if n > 0 && shared == 0 && unshared <= len(b)-n {
			return b[n : n+unshared]
		}
	}
	i.fail("has a bad restart point %d at %d", r, at)
	return nil
}

// toRestart places the iterator before the entry of restart point r.
func (i *Iter) toRestart(r int) bool {
	if i.err != nil || r < 0 {
		return false
	}
	at := binary.LittleEndian.Uint32(i.restarts[4*r:])
	if uint64(at) >= uint64(len(i.data)) {
		i.fail("has a bad restart point %d at %d", r, at)
		return false
	}
	i.off, i.key = int(at), i.key[:0]
	return true
}

// restartBefore returns the last restart point with a key < key, or -1.
func (i *Iter) restartBefore(key []byte) int {
	return sort.Search(len(i.restarts)/4, func(r int) bool {
		return i.err != nil || bytes.Compare(i.restartKey(r), key) >= 0
	}) - 1
}

// SeekGE moves to the first entry with a key >= key.
func (i *Iter) SeekGE(key []byte) bool {
	r := i.restartBefore(key)
	if i.err != nil || len(i.restarts) == 0 || !i.toRestart(max(r, 0)) {
		return false
	}
	for i.Next() {
		if bytes.Compare(i.key, key) >= 0 {
			return true
		}
	}
	return false
}

// SeekLT moves to the last entry with a key < key.
func (i *Iter) SeekLT(key []byte) bool {
	r := i.restartBefore(key)
	if !i.toRestart(r) {
		return false
	}
	n := 0
	for i.Next() && bytes.Compare(i.key, key) < 0 {
		n++
	}
	if i.err != nil || !i.toRestart(r) {
		return false
	}
	for ; n > 0 && i.Next(); n-- {
	}
	return i.err == nil
}
