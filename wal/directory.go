package wal

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// suffixLen is how much of the end of an object is read to find its
// directory: enough for some 280 tablets, and for the whole of a small object.
const suffixLen = 16 << 10

// directory is the decoded end of a data object.
type directory struct {
	log      base.Incarnation
	position base.Position
	sections []Section
	sum      uint32
}

// directoryLen returns the length of directory and trailer, given an end of
// the object that holds at least the trailer.
func directoryLen(tail []byte) (int64, error) {
	if len(tail) < trailerLen {
		return 0, corrupt("log object ends after %d bytes", len(tail))
	}
	t := tail[len(tail)-trailerLen:]
	be := binary.BigEndian
	if string(t[36:]) != trailerMagic {
		return 0, corrupt("log object ends in magic %q", t[36:])
	}
	if v := be.Uint16(t[24:]); v != Version {
		return 0, corrupt("log object has version %d, not %d", v, Version)
	}
	return int64(be.Uint32(t[20:]))*sectionLen + trailerLen, nil
}

// decodeDirectory parses an end of a data object that holds at least directory
// and trailer.
func decodeDirectory(tail []byte) (directory, error) {
	var d directory
	n, err := directoryLen(tail)
	if err != nil {
		return d, err
	}
	if int64(len(tail)) < n {
		return d, corrupt("log object of %d bytes ends in a directory of %d", len(tail), n)
	}
	b := tail[int64(len(tail))-n:]
	t := b[len(b)-trailerLen:]
	d.sum = checksum(b[:len(b)-8])
	if d.sum != binary.BigEndian.Uint32(t[32:]) {
		return d, corrupt("log directory fails its checksum")
	}
	d.log, d.position = incarnation(t), base.Position(binary.BigEndian.Uint64(t[12:]))
	if n == trailerLen {
		return d, corrupt("log object without sections")
	}
	d.sections = make([]Section, (len(b)-trailerLen)/sectionLen)
	off, prev := uint64(HeaderLen), (*Section)(nil)
	for i := range d.sections {
		s := &d.sections[i]
		*s = decodeSection(b[i*sectionLen:])
		if uint64(s.Offset) != off {
			return d, corrupt("section %d stands at %d, not at %d", i, s.Offset, off)
		}
		if err := s.check(prev); err != nil {
			return d, err
		}
		off, prev = off+uint64(s.Length), s
	}
	return d, nil
}

// end returns the offset at which the sections end and the directory begins.
func (d *directory) end() int64 {
	s := &d.sections[len(d.sections)-1]
	return int64(s.Offset) + int64(s.Length)
}

// tail is the end of an object with the directory found in it.
type tail struct {
	directory
	start int64  // offset of data in the object
	data  []byte // to the end of the object
}

// readTail reads the directory of the object at position p of the log of e,
// usually with one request. A checksum that fails is read again once, in case
// the bytes were damaged on their way.
func readTail(ctx context.Context, store objstore.Store, e base.Incarnation, p base.Position) (tail, error) {
	key := base.LogObject(e, p)
	t, err := tryTail(ctx, store, key)
	if isCorrupt(err) {
		t, err = tryTail(ctx, store, key)
	}
	if err == nil && (t.log != e || t.position != p) {
		err = corrupt("object says that it is position %d of log %s", t.position, t.log)
	}
	if err != nil {
		return tail{}, fmt.Errorf("read directory of %s: %w", key, err)
	}
	return t, nil
}

func tryTail(ctx context.Context, store objstore.Store, key string) (tail, error) {
	data, err := store.GetRange(ctx, key, -suffixLen, suffixLen)
	if err != nil {
		return tail{}, err
	}
	n, err := directoryLen(data)
	if err != nil {
		return tail{}, err
	}
	if n > int64(len(data)) && len(data) == suffixLen {
		if data, err = store.GetRange(ctx, key, -n, n); err != nil {
			return tail{}, err
		}
	}
	d, err := decodeDirectory(data)
	if err != nil {
		return tail{}, err
	}
	inDir := int64(len(d.sections))*sectionLen + trailerLen
	return tail{directory: d, start: d.end() + inDir - int64(len(data)), data: data}, nil
}

// section returns the stored bytes of s if they stand in the tail.
func (t *tail) section(s *Section) ([]byte, bool) {
	off := int64(s.Offset) - t.start
	if off < 0 || off+int64(s.Length) > int64(len(t.data)) {
		return nil, false
	}
	return t.data[off : off+int64(s.Length)], true
}
