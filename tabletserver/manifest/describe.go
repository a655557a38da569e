package manifest

import (
	"math"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
)

// Describe returns the reference to a table that was just written, which matters
// to the families it has entries of.
func Describe(n base.FileNumber, t *sstable.Table) File {
	p := &t.Properties
	f := File{
		Number: n, Size: t.Meta.Size, TailOffset: t.Meta.TailOffset,
		Smallest: slices.Clone(p.MinKey), Largest: slices.Clone(p.MaxKey),
		MinSeq: p.MinSeq, MaxSeq: p.MaxSeq, MinTimestamp: p.MinTimestamp, MaxTimestamp: p.MaxTimestamp,
		Entries: p.Entries, Tombstones: p.Tombstones(), Rows: p.Rows, RawBytes: p.RawKeyBytes + p.RawValueBytes,
		Group: p.Group,
	}
	for _, c := range p.Families {
		f.Families = append(f.Families, c.Family)
	}
	if f.MinTimestamp > f.MaxTimestamp { // deletions only: they concern every time
		f.MinTimestamp, f.MaxTimestamp = 0, math.MaxInt64
	}
	return f
}
