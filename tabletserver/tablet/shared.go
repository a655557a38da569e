package tablet

import (
	"bytes"

	"github.com/tabletdb/tabletdb/internal/base"
)

// half returns m as one of the two children of a split tablet has it: the same
// memtable, of which each counts half the memory until it has flushed its rows.
func (m *mem) half() *mem {
	return &mem{table: m.table, counted: m.counted / 2, first: m.first, hasFirst: m.hasFirst, last: m.last, batch: m.batch, drops: m.drops, shared: true}
}

// size and allocated are the bytes in a memtable and the memory it takes; of one
// that is shared, a share.
func (m *mem) size() int64 {
	if m.shared {
		return min(m.counted, m.table.Size())
	}
	return m.table.Size()
}

func (m *mem) allocated() int64 {
	if m.shared {
		return m.counted
	}
	return m.table.Allocated()
}

// iterate returns an iterator over what a memtable holds of the tablet. Reads
// do without: they never leave the tablet's rows.
func (t *Tablet) iterate(m *mem) base.Iterator {
	if !m.shared {
		return m.table.NewIterator()
	}
	c := &clipped{Iterator: m.table.NewIterator()}
	if len(t.start) > 0 {
		c.lower = base.AppendRowPrefix(nil, t.start)
	}
	if len(t.end) > 0 {
		c.upper = base.AppendRowPrefix(nil, t.end)
	}
	return c
}

// clipped shows the entries of an iterator in [lower, upper), nil meaning no
// bound. It goes forward only.
type clipped struct {
	base.Iterator
	lower, upper []byte
}

// SeekGE implements base.Iterator.
func (c *clipped) SeekGE(key []byte) bool {
	if bytes.Compare(key, c.lower) < 0 {
		key = c.lower
	}
	return c.Iterator.SeekGE(key) && c.inside()
}

// Next implements base.Iterator.
func (c *clipped) Next() bool { return c.Iterator.Next() && c.inside() }

func (c *clipped) inside() bool { return c.upper == nil || bytes.Compare(c.Key(), c.upper) < 0 }
