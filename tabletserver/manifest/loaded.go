package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
)

// trailerLen is the length of what ends a cell key: sequence and kind.
const trailerLen = 8

// PutSeq replaces the sequence number in a cell key.
func PutSeq(key []byte, seq base.Seq) {
	t := key[len(key)-trailerLen:]
	binary.BigEndian.PutUint64(t, ^uint64(seq)<<8|uint64(t[trailerLen-1]))
}

// At returns the reference to a file that was bulk loaded with seq in the place
// of its sequence numbers.
func (f File) At(seq base.Seq) File {
	f.MinSeq, f.MaxSeq = seq, seq
	f.Smallest, f.Largest = bytes.Clone(f.Smallest), bytes.Clone(f.Largest)
	PutSeq(f.Smallest, seq)
	PutSeq(f.Largest, seq)
	return f
}

// Stored returns the reference as the file itself says it is: where it was bulk
// loaded, with sequence numbers of 0.
func (f File) Stored() File {
	if !f.Loaded {
		return f
	}
	return f.At(0)
}

// checkLoaded refuses references that contradict themselves.
func (f *File) checkLoaded() error {
	if !f.Loaded {
		return nil
	}
	if f.MinSeq != f.MaxSeq || f.MaxSeq > base.MaxSeq || len(f.Smallest) < trailerLen || len(f.Largest) < trailerLen || f.Tombstones > 0 {
		return fmt.Errorf("%w: manifest: reference to SSTable %v, which was bulk loaded, with sequences %d to %d and %d tombstones", base.ErrCorrupt,
			f.Number, f.MinSeq, f.MaxSeq, f.Tombstones)
	}
	return nil
}
