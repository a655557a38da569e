package objstore

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tabletdb/tabletdb/internal/base"
)

// maxSegmentLen is the longest part of a key between two slashes, in bytes:
// what the file systems below local stores and MinIO take for a name.
const maxSegmentLen = 255

// CheckKey returns an error that wraps base.ErrInvalid unless key is one that
// every implementation stores faithfully: 1 to MaxKeyLen bytes of UTF-8 without
// control characters and backslashes, whose parts between slashes are neither
// empty nor "." nor ".." nor longer than 255 bytes.
//
// One rule spans two keys and is therefore not checked here: no key may
// continue another one after a slash ("a" and "a/b"). Amazon's store takes such
// a pair, MinIO and directories do not.
func CheckKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: the empty string is no object key", base.ErrInvalid)
	}
	if err := checkText(key); err != nil {
		return err
	}
	for segment := range strings.SplitSeq(key, "/") {
		if why := segmentFault(segment); why != "" {
			return fmt.Errorf("%w: object key %q has a part that is %s", base.ErrInvalid, key, why)
		}
	}
	return nil
}

// CheckPrefix is CheckKey for the prefix of a listing, which may be empty and
// may end anywhere in a key, but not after a part's first dots.
func CheckPrefix(prefix string) error {
	if err := checkText(prefix); err != nil {
		return err
	}
	dir, rest := SplitDir(prefix)
	if rest == "." || rest == ".." { // MinIO looks for paths in prefixes too
		return fmt.Errorf("%w: prefix %q ends in a part that is %q", base.ErrInvalid, prefix, rest)
	}
	if dir == "" {
		return nil
	}
	return CheckKey(strings.TrimSuffix(dir, "/"))
}

// SplitDir splits s after its last slash; dir is "" where there is none.
func SplitDir(s string) (dir, rest string) {
	i := strings.LastIndexByte(s, '/') + 1
	return s[:i], s[i:]
}

func checkText(key string) error {
	if len(key) > MaxKeyLen {
		return fmt.Errorf("%w: object key of %d bytes (%.40q...) is longer than %d", base.ErrInvalid, len(key), key, MaxKeyLen)
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("%w: object key %q is not UTF-8", base.ErrInvalid, key)
	}
	for i := range len(key) {
		if c := key[i]; c < ' ' || c == 0x7f || c == '\\' {
			return fmt.Errorf("%w: object key %q contains %q", base.ErrInvalid, key, c)
		}
	}
	return nil
}

// segmentFault says what is wrong with a part of a key, or "".
func segmentFault(segment string) string {
	switch {
	case segment == "":
		return "empty"
	case segment == "." || segment == "..":
		return fmt.Sprintf("%q", segment)
	case len(segment) > maxSegmentLen:
		return fmt.Sprintf("longer than %d bytes", maxSegmentLen)
	}
	return ""
}
