package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Version is the format version that this package writes, and the only one it
// reads.
const Version = 1

const (
	// HeaderLen is the length of the header of a data object, in bytes. A
	// writer that was told that its object exists reads this much back.
	HeaderLen = 96
	// MinObjectLen is less than the length of every data object and more than
	// that of a seal, so that a listing tells them apart.
	MinObjectLen = HeaderLen + sectionLen + trailerLen

	// MaxBodyLen is the longest body of a record, in bytes.
	MaxBodyLen = 256<<20 + 1<<20

	sectionLen = 56
	trailerLen = 40

	dataMagic    = "TDBL"
	trailerMagic = "TDBE"
)

// Header is the fixed start of a data object. Its checksum covers, through the
// directory's, every byte of the object; so equal headers mean equal objects.
type Header struct {
	Log       base.Incarnation
	Position  base.Position
	Nonce     [16]byte      // of the writing process
	Low       base.Position // lowest position the writer had not truncated; informative
	UnixMilli int64         // when the batch was closed; informative
	Sections  uint32
	Records   uint32
	BodyLen   uint64 // bytes of all sections, as stored
	DirSum    uint32 // CRC32C of the directory and of the trailer before its checksum
	PrevSum   uint32 // Sum of the object at Position-1; 0 at position 0
	Sum       uint32 // CRC32C of the header itself
}

// Section is one entry of the directory: where the records of one tablet and
// epoch stand in an object.
type Section struct {
	Tablet      base.TabletID
	Epoch       base.Epoch
	Offset      uint32 // in the object
	Length      uint32 // as stored
	RawLength   uint32 // uncompressed
	Records     uint32
	First, Last base.Seq
	Sum         uint32 // CRC32C of the bytes as stored
	Compression Compression
}

// Compression says how the bytes of a section are stored.
type Compression uint8

const (
	// NoCompression stores the records as they are.
	NoCompression Compression = 0
	// Snappy stores them as one snappy block.
	Snappy Compression = 1
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

// castagnoli returns the table of CRC32C, which hash/crc32 makes once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// AppendFooter completes a data object: obj holds HeaderLen bytes of room and
// then the sections, ordered by tablet and epoch, without gaps. dir describes
// them; AppendFooter sets Offset and Sum of each from Length. Of h it uses Log,
// Position, Nonce, Low, UnixMilli and PrevSum. It fills in the header, appends
// directory and trailer and returns the object and its header.
func AppendFooter(obj []byte, h Header, dir []Section) ([]byte, Header) {
	off := uint32(HeaderLen)
	h.Sections, h.Records, h.BodyLen = uint32(len(dir)), 0, uint64(len(obj)-HeaderLen)
	start := len(obj)
	for i := range dir {
		s := &dir[i]
		s.Offset = off
		off += s.Length
		s.Sum = checksum(obj[s.Offset:off])
		h.Records += s.Records
		obj = appendSection(obj, s)
	}
	if int(off) != start {
		panic(fmt.Sprintf("wal: sections of %d bytes in an object of %d", off, start))
	}
	obj = base.AppendIncarnation(obj, h.Log)
	obj = binary.BigEndian.AppendUint64(obj, uint64(h.Position))
	obj = binary.BigEndian.AppendUint32(obj, h.Sections)
	obj = binary.BigEndian.AppendUint16(obj, Version)
	obj = append(obj, make([]byte, 6)...) // reserved
	h.DirSum = checksum(obj[start:])
	obj = binary.BigEndian.AppendUint32(obj, h.DirSum)
	obj = append(obj, trailerMagic...)
	h.Sum = putHeader(obj[:HeaderLen], &h)
	return obj, h
}

// putHeader writes h to the HeaderLen bytes of b and returns its checksum.
func putHeader(b []byte, h *Header) uint32 {
	be := binary.BigEndian
	clear(b[:HeaderLen])
	copy(b, dataMagic)
	be.PutUint16(b[4:], Version)
	putIncarnation(b[8:], h.Log)
	be.PutUint32(b[20:], h.Sections)
	be.PutUint64(b[24:], uint64(h.Position))
	copy(b[32:48], h.Nonce[:])
	be.PutUint64(b[48:], uint64(h.Low))
	be.PutUint64(b[56:], uint64(h.UnixMilli))
	be.PutUint64(b[64:], h.BodyLen)
	be.PutUint32(b[72:], h.Records)
	be.PutUint32(b[80:], h.DirSum)
	be.PutUint32(b[84:], h.PrevSum)
	sum := checksum(b[:92])
	be.PutUint32(b[92:], sum)
	return sum
}

// DecodeHeader parses the header of a data object; b may be longer. An error
// wraps base.ErrCorrupt, also when b is a seal.
func DecodeHeader(b []byte) (Header, error) {
	be := binary.BigEndian
	var h Header
	switch {
	case len(b) < HeaderLen:
		return h, corrupt("log header of %d bytes", len(b))
	case string(b[:4]) != dataMagic:
		return h, corrupt("log header has magic %q", b[:4])
	case be.Uint32(b[92:]) != checksum(b[:92]):
		return h, corrupt("log header fails its checksum")
	case be.Uint16(b[4:]) != Version:
		return h, corrupt("log object has version %d, not %d", be.Uint16(b[4:]), Version)
	}
	h = Header{
		Log:       incarnation(b[8:]),
		Sections:  be.Uint32(b[20:]),
		Position:  base.Position(be.Uint64(b[24:])),
		Nonce:     [16]byte(b[32:48]),
		Low:       base.Position(be.Uint64(b[48:])),
		UnixMilli: int64(be.Uint64(b[56:])),
		BodyLen:   be.Uint64(b[64:]),
		Records:   be.Uint32(b[72:]),
		DirSum:    be.Uint32(b[80:]),
		PrevSum:   be.Uint32(b[84:]),
		Sum:       be.Uint32(b[92:]),
	}
	return h, nil
}

func appendSection(dst []byte, s *Section) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(s.Tablet))
	dst = be.AppendUint64(dst, uint64(s.Epoch))
	dst = be.AppendUint32(dst, s.Offset)
	dst = be.AppendUint32(dst, s.Length)
	dst = be.AppendUint32(dst, s.RawLength)
	dst = be.AppendUint32(dst, s.Records)
	dst = be.AppendUint64(dst, uint64(s.First))
	dst = be.AppendUint64(dst, uint64(s.Last))
	dst = be.AppendUint32(dst, s.Sum)
	return append(dst, byte(s.Compression), 0, 0, 0)
}

func decodeSection(b []byte) Section {
	be := binary.BigEndian
	return Section{
		Tablet:      base.TabletID(be.Uint64(b)),
		Epoch:       base.Epoch(be.Uint64(b[8:])),
		Offset:      be.Uint32(b[16:]),
		Length:      be.Uint32(b[20:]),
		RawLength:   be.Uint32(b[24:]),
		Records:     be.Uint32(b[28:]),
		First:       base.Seq(be.Uint64(b[32:])),
		Last:        base.Seq(be.Uint64(b[40:])),
		Sum:         be.Uint32(b[48:]),
		Compression: Compression(b[52]),
	}
}

// check reports what is wrong with s, given what ends before it.
func (s *Section) check(prev *Section) error {
	switch {
	case prev != nil && (s.Tablet < prev.Tablet || s.Tablet == prev.Tablet && s.Epoch <= prev.Epoch):
		return corrupt("directory is not ordered by tablet and epoch")
	case s.Compression > Snappy:
		return corrupt("compression %d is unknown", s.Compression)
	case s.Compression == NoCompression && s.Length != s.RawLength:
		return corrupt("section of %d bytes claims %d", s.Length, s.RawLength)
	case s.Records == 0 || uint64(s.RawLength) < 3*uint64(s.Records):
		return corrupt("section of %d bytes claims %d records", s.RawLength, s.Records)
	case s.First == 0 || s.Last < s.First || s.Last > base.MaxSeq || uint64(s.Last-s.First) < uint64(s.Records-1):
		return corrupt("section of %d records has sequences %d to %d", s.Records, s.First, s.Last)
	}
	return nil
}

func (s *Section) is(tablet base.TabletID, epoch base.Epoch) bool {
	return s.Tablet == tablet && s.Epoch == epoch
}

func putIncarnation(b []byte, e base.Incarnation) {
	binary.BigEndian.PutUint32(b, e.Generation)
	binary.BigEndian.PutUint64(b[4:], e.Index)
}

func incarnation(b []byte) base.Incarnation {
	return base.Incarnation{Generation: binary.BigEndian.Uint32(b), Index: binary.BigEndian.Uint64(b[4:])}
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", base.ErrCorrupt, fmt.Sprintf(format, args...))
}
