package cells

import (
	"bytes"
	"encoding/binary"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// Compactor walks the entries that must be kept when the files it reads are
// rewritten: what is hidden by a deletion, an overwrite, a rule or the drop of
// a family goes, and operands of an aggregate cell become one.
//
// What a reader counts in a part of the runs it can only count higher in all of
// them, so that versions may be dropped in any compaction. Tombstones hide what
// lies in older runs, too: they go only where the oldest run takes part.
type Compactor struct {
	it     base.Iterator
	res    resolver
	oldest bool
	valid  bool
	fresh  bool
	acc    aggregate.Accumulator
	key    []byte // of a folded cell
	folded []byte
	useOwn bool // the current entry is key, folded
	err    error

	// Dropped counts the entries that were left out.
	Dropped int64
}

// NewCompactor returns a Compactor of the entries of it, which are all
// acknowledged. oldest says that the oldest run of the tablet takes part. now
// is in microseconds.
func NewCompactor(it base.Iterator, s *schema.Schema, oldest bool, now int64) *Compactor {
	return &Compactor{it: it, oldest: oldest, res: resolver{schema: s, snapshot: base.MaxSeq, now: now}}
}

// First moves to the first entry to be kept.
func (c *Compactor) First() bool {
	c.res.reset()
	c.valid = c.it.SeekGE(nil)
	c.fresh = c.valid
	return c.Next()
}

// Next moves to the next entry to be kept.
func (c *Compactor) Next() bool {
	c.useOwn = false
	for c.advance() {
		key := c.it.Key()
		if !c.res.sameRow(key) {
			n := base.RowPrefixLen(key)
			if n < 0 {
				return c.fail(corrupt(key))
			}
			c.res.startRow(key[:n])
		}
		cl, err := c.res.classify(key, c.it.Value())
		if err != nil {
			return c.fail(err)
		}
		switch {
		case cl == cell, cl == tombstone && !c.oldest:
			return true
		case cl == operand:
			return c.fold()
		}
		c.Dropped++
	}
	return false
}

func (c *Compactor) advance() bool {
	if c.err != nil {
		return false
	}
	if c.fresh {
		c.fresh = false
		return true
	}
	c.valid = c.valid && c.it.Next()
	return c.valid
}

func (c *Compactor) fail(err error) bool {
	c.err, c.valid = err, false
	return false
}

// fold makes one KindMerge entry, with the newest sequence number, of the
// operands of a cell.
func (c *Compactor) fold() bool {
	c.acc = aggregate.Accumulator{Type: c.res.family.Aggregate}
	c.key = append(c.key[:0], c.it.Key()...)
	c.key[len(c.key)-1] = byte(base.KindMerge)
	n := len(c.res.row) + len(c.res.column)
	for {
		if err := c.acc.Add(c.it.Value()); err != nil {
			return c.fail(err)
		}
		for {
			c.valid = c.it.Next()
			if !c.valid {
				break
			}
			key := c.it.Key()
			if len(key) != len(c.key) || !bytes.HasPrefix(key, c.key[:n]) ||
				binary.BigEndian.Uint64(key[n+1:]) != binary.BigEndian.Uint64(c.key[n+1:]) || key[n] != c.key[n] {
				c.fresh = true
				break
			}
			cl, err := c.res.classify(key, c.it.Value())
			if err != nil {
				return c.fail(err)
			}
			c.Dropped++
			if cl == operand {
				break
			}
		}
		if !c.valid || c.fresh {
			break
		}
	}
	c.folded = c.acc.AppendValue(c.folded[:0])
	c.useOwn = true
	return true
}

// Family returns the family of the current entry; 0: it deletes the row. It may
// be called until Next.
func (c *Compactor) Family() base.FamilyID { return c.res.familyID }

// Key and Value return the current entry, valid until Next.
func (c *Compactor) Key() []byte {
	if c.useOwn {
		return c.key
	}
	return c.it.Key()
}

// Value returns the value of the current entry.
func (c *Compactor) Value() []byte {
	if c.useOwn {
		return c.folded
	}
	return c.it.Value()
}

// Err returns the error that ended the walk, if any.
func (c *Compactor) Err() error {
	if c.err != nil {
		return c.err
	}
	return c.it.Err()
}
