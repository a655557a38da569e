package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
)

// A pack holds many small objects that were written one after the other, each as
// a record at a multiple of packUnit:
//
//	+------+---------+---------+----------+----------+------------+-----+------+
//	| TDBP | version | key len | data len | data crc | header crc | key | data |
//	+------+---------+---------+----------+----------+------------+-----+------+
//	   4        2         2         8          4           4
//
// in little-endian, with CRC32C; that of the header covers the name of the pack
// before it and the key behind it. What is between records is zero, or left from
// a write that a crash cut short, or from an earlier life of the file, as another
// pack. An
// object in a pack has a name like any other: a symbolic link whose target is
// "<pack>:<offset of the data>:<length>", which is no path that exists.
const (
	packDir       = ".packs"
	packUnit      = 4 << 10
	packMagic     = "TDBP"
	packVersion   = 1
	packHeaderLen = 24
)

// ref names the data of an object in a pack.
type ref struct {
	pack     string
	off, len int64
}

func (r ref) String() string { return fmt.Sprintf("%s:%d:%d", r.pack, r.off, r.len) }

// parseRef is the inverse of String; ok is false for other links.
func parseRef(target string) (r ref, ok bool) {
	parts := strings.Split(target, ":")
	if len(parts) != 3 || !isPackName(parts[0]) {
		return r, false
	}
	off, err1 := strconv.ParseInt(parts[1], 10, 64)
	n, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil || off < packHeaderLen || n < 0 {
		return r, false
	}
	return ref{parts[0], off, n}, true
}

// isPackName reports whether a file of packDir is a pack.
func isPackName(name string) bool {
	return len(name) > len("p-") && name[:2] == "p-" && !strings.ContainsAny(name, "/:")
}

// readRef returns what the symbolic link at path names; ok is false where there
// is no such link.
func readRef(path string) (r ref, ok bool) {
	target, err := os.Readlink(path)
	if err != nil {
		return r, false
	}
	return parseRef(target)
}

// appendPackHeader appends what precedes the data of a record.
func appendPackHeader(b []byte, pack, key string, data []byte) []byte {
	at := len(b)
	b = append(b, packMagic...)
	b = binary.LittleEndian.AppendUint16(b, packVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(data, castagnoli()))
	b = binary.LittleEndian.AppendUint32(b, packSum(pack, b[at:], key))
	return append(b, key...)
}

// packSum is the checksum of a header, given what precedes it there.
func packSum(pack string, head []byte, key string) uint32 {
	sum := crc32.Checksum([]byte(pack), castagnoli())
	return crc32.Update(crc32.Update(sum, castagnoli(), head), castagnoli(), []byte(key))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// packRecord is a record found in a pack.
type packRecord struct {
	key string
	ref
	crc uint32
}

// scanPack calls fn with the records of a pack whose headers are whole, in
// order. Where nothing whole begins it goes on at the next unit: a write that
// was cut short may precede one that was not.
func scanPack(f *os.File, name string, fn func(packRecord) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, packUnit)
	for at := int64(0); at < info.Size(); {
		n, err := f.ReadAt(head, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		rec, ok := parsePackHeader(name, head[:n])
		if !ok || at+rec.off+rec.len > info.Size() {
			at += packUnit
			continue
		}
		rec.off += at
		if err := fn(rec); err != nil {
			return err
		}
		at = roundToUnit(rec.off + rec.len)
	}
	return nil
}

// parsePackHeader parses the start of a record, whose offset is then that of
// the data in the record.
func parsePackHeader(pack string, b []byte) (rec packRecord, ok bool) {
	if len(b) < packHeaderLen || string(b[:4]) != packMagic || binary.LittleEndian.Uint16(b[4:]) != packVersion {
		return rec, false
	}
	end := packHeaderLen + int(binary.LittleEndian.Uint16(b[6:]))
	n := binary.LittleEndian.Uint64(b[8:])
	if end > len(b) || n > packMaxData {
		return rec, false
	}
	key := string(b[packHeaderLen:end])
	if packSum(pack, b[:20], key) != binary.LittleEndian.Uint32(b[20:]) {
		return rec, false
	}
	return packRecord{key: key, ref: ref{pack, int64(end), int64(n)}, crc: binary.LittleEndian.Uint32(b[16:])}, true
}

// whole reports whether the data of a record are what was written.
func (r packRecord) whole(f *os.File) (bool, error) {
	data := make([]byte, r.len)
	if _, err := f.ReadAt(data, r.off); err != nil {
		return false, err
	}
	return crc32.Checksum(data, castagnoli()) == r.crc, nil
}

func roundToUnit(n int64) int64 { return (n + packUnit - 1) &^ (packUnit - 1) }
