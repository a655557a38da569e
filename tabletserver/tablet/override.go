package tablet

import (
	"bytes"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// overriding walks a file. Where it was bulk loaded, it shows each key with the
// sequence number at which the tablet has adopted the file in the place of the 0
// that is stored. Nothing else of the order changes, for such a file has one
// entry for a cell. The methods that are not here are those of sstable.Iter.
type overriding struct {
	sstable.Iter
	seq base.Seq // 0: the keys are shown as they are
	key []byte
}

// of prepares for a file, of which the iterator was set up.
func (o *overriding) of(f *manifest.File) {
	o.seq = 0
	if f.Loaded {
		o.seq = f.MaxSeq
	}
}

// Key implements base.Iterator.
func (o *overriding) Key() []byte {
	if o.seq == 0 {
		return o.Iter.Key()
	}
	o.key = append(o.key[:0], o.Iter.Key()...)
	manifest.PutSeq(o.key, o.seq)
	return o.key
}

// SeekGE implements base.Iterator. What is stored sorts after what is shown,
// with nothing between the two: the entry found may lie before key.
func (o *overriding) SeekGE(key []byte) bool {
	ok := o.Iter.SeekGE(key)
	if ok && o.seq != 0 && bytes.Compare(o.Key(), key) < 0 {
		return o.Iter.Next()
	}
	return ok
}

// SeekLT implements base.Iterator. By the same reason the entry at key may lie
// before it.
func (o *overriding) SeekLT(key []byte) bool {
	if o.seq != 0 && o.Iter.SeekGE(key) && bytes.Compare(o.Key(), key) < 0 {
		return true
	}
	return o.Iter.SeekLT(key)
}
