package load

import (
	"encoding/binary"
	"fmt"
)

// MinValue is the size of the smallest value, in bytes: its version.
const MinValue = 8

// A value is
//
//	8 bytes  version, big endian
//	n bytes  a sequence that looks random and does not compress, made of the
//	         number of the row and the version
//
// FillValue makes all of dst, at least MinValue bytes, the value of a row.
func FillValue(dst []byte, row, version int64) {
	binary.BigEndian.PutUint64(dst, uint64(version))
	s := newStream(row, version)
	rest := dst[8:]
	for ; len(rest) >= 8; rest = rest[8:] {
		binary.LittleEndian.PutUint64(rest, s.next())
	}
	if len(rest) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], s.next())
		copy(rest, last[:])
	}
}

// CheckValue returns the version of the value of a row. Errors wrap ErrWrong.
func CheckValue(value []byte, row int64, size int) (version int64, err error) {
	if len(value) != size {
		return 0, fmt.Errorf("%w: row %d has %d bytes; want %d", ErrWrong, row, len(value), size)
	}
	version = int64(binary.BigEndian.Uint64(value))
	s := newStream(row, version)
	rest := value[8:]
	for ; len(rest) >= 8; rest = rest[8:] {
		if binary.LittleEndian.Uint64(rest) != s.next() {
			return 0, wrongAt(row, version, len(value)-len(rest))
		}
	}
	for want := s.next(); len(rest) > 0; rest, want = rest[1:], want>>8 {
		if rest[0] != byte(want) {
			return 0, wrongAt(row, version, len(value)-len(rest))
		}
	}
	return version, nil
}

func wrongAt(row, version int64, at int) error {
	return fmt.Errorf("%w: row %d, version %d, differs at byte %d from what was written", ErrWrong, row, version, at)
}

// stream is xorshift64*.
type stream struct{ x uint64 }

func newStream(row, version int64) stream {
	return stream{mix(uint64(row)*0x9e3779b97f4a7c15+uint64(version)) | 1}
}

func (s *stream) next() uint64 {
	s.x ^= s.x >> 12
	s.x ^= s.x << 25
	s.x ^= s.x >> 27
	return s.x * 0x2545f4914f6cdd1d
}
