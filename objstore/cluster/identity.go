// Package cluster keeps the objects that say to whom a prefix of a bucket
// belongs: the identity of the cluster, and the generations of its lock service.
package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// FormatVersion is the version of the layout of the bucket that this program
// reads and writes (docs/format/bucket.md).
const FormatVersion = 1

var (
	// ErrForeign: the prefix belongs to another cluster.
	ErrForeign = errors.New("the bucket belongs to another cluster")
	// ErrNewer: a newer program has changed the layout of the bucket.
	ErrNewer = errors.New("the bucket has a newer format")
	// ErrUnclaimed: nobody has claimed the prefix, where someone should have.
	ErrUnclaimed = errors.New("the bucket belongs to no cluster")
)

// ID tells clusters apart. The zero ID stands for none.
type ID [16]byte

// String returns 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id stands for none.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID is the inverse of ID.String.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || s != strings.ToLower(s) {
		return ID{}, fmt.Errorf("%w: cluster id %q: want 32 hexadecimal digits", base.ErrInvalid, s)
	}
	copy(id[:], b)
	return id, nil
}

// Identity is the content of the object CLUSTER.
type Identity struct {
	ID            ID
	FormatVersion uint32
	Created       time.Time // in whole seconds, UTC
}

// The object is text, for people who look into the bucket:
//
//	tabletdb cluster
//	format 1
//	id 0123456789abcdef0123456789abcdef
//	created 2026-01-02T03:04:05Z
//	crc32c 89abcdef
//
// The checksum is that of all lines before it. Every version starts with the
// first two lines and ends with the last.
const magic = "tabletdb cluster\n"

// Append appends the encoding of the identity to dst.
func (i Identity) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = fmt.Appendf(dst, "format %d\nid %s\ncreated %s\n", i.FormatVersion, i.ID, i.Created.UTC().Format(time.RFC3339))
	return fmt.Appendf(dst, "crc32c %08x\n", checksum(dst[start:]))
}

// ParseIdentity is the inverse of Identity.Append. Its errors wrap
// base.ErrCorrupt, or ErrNewer.
func ParseIdentity(data []byte) (Identity, error) {
	corrupt := func(what string) (Identity, error) {
		return Identity{}, fmt.Errorf("%w: object %s: %s", base.ErrCorrupt, base.ClusterObject, what)
	}
	end := bytes.LastIndex(data, []byte("crc32c "))
	if !bytes.HasPrefix(data, []byte(magic)) || end < 0 {
		return corrupt("it is no identity of a cluster")
	}
	if string(data[end:]) != fmt.Sprintf("crc32c %08x\n", checksum(data[:end])) {
		return corrupt("its checksum is wrong")
	}
	lines := strings.Split(string(data[len(magic):end]), "\n")
	version, err := strconv.ParseUint(strings.TrimPrefix(lines[0], "format "), 10, 32)
	if err != nil {
		return corrupt("it has no format version")
	}
	if version > FormatVersion {
		return Identity{}, fmt.Errorf("%w: object %s says %d, this program knows %d: use a newer program", ErrNewer, base.ClusterObject, version, FormatVersion)
	}
	if len(lines) != 4 || lines[3] != "" {
		return corrupt("it has the wrong number of lines")
	}
	id, err := ParseID(strings.TrimPrefix(lines[1], "id "))
	if err != nil || id.IsZero() {
		return corrupt("it has no cluster id")
	}
	created, err := time.Parse(time.RFC3339, strings.TrimPrefix(lines[2], "created "))
	if err != nil {
		return corrupt("it has no time of creation")
	}
	identity := Identity{ID: id, FormatVersion: uint32(version), Created: created.UTC()}
	if !bytes.Equal(identity.Append(nil), data) {
		return corrupt("it is not in its canonical form")
	}
	return identity, nil
}

func checksum(data []byte) uint32 {
	return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
}
