package compact

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// Check reports, by an error, what in a result cannot be true of the job, with
// the names that were drawn for it. It reads no file: whether the files are
// what their references say is for the caller to find out.
func Check(j *Job, res Result, drawn []base.FileNumber) error {
	c := checker{j: j, in: boundsOf(j), left: map[base.FileNumber]bool{}}
	for _, n := range drawn {
		c.left[n] = true
	}
	group := -1
	for _, r := range res.Runs {
		g, err := c.run(r, res.Read)
		if err != nil {
			return err
		}
		if g <= group {
			return wrong("the runs are not in the order of their groups")
		}
		group = g
	}
	in := &c.in
	switch {
	case len(c.left) > 0:
		return wrong("%d files are missing, of %d that were begun", len(c.left), len(drawn))
	case c.cells > res.Read || res.Read > in.entries:
		return wrong("%d entries were read and %d kept, where there are %d", res.Read, c.cells, in.entries)
	case in.whole && res.Read != in.entries:
		return wrong("%d entries were read, where there are %d", res.Read, in.entries)
	}
	return nil
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: result of a merge: %s", base.ErrCorrupt, fmt.Sprintf(format, args...))
}

// checker checks one result.
type checker struct {
	j     *Job
	in    bounds
	left  map[base.FileNumber]bool // names that no file bears yet
	cells uint64                   // entries that are no deletions, in all runs
}

// run checks one run and returns the place of its locality group.
func (c *checker) run(r manifest.Run, read uint64) (group int, err error) {
	if len(r) == 0 {
		return 0, wrong("an empty run")
	}
	group = slices.IndexFunc(c.j.Schema.Groups, func(g schema.Group) bool { return g.Name == r[0].Group })
	if group < 0 {
		return 0, wrong("a run of the locality group %q, which there is not", r[0].Group)
	}
	var entries, tombstones uint64
	for i := range r {
		f := &r[i]
		switch {
		case !c.left[f.Number]:
			return 0, wrong("file %v, which was not begun, or is there twice", f.Number)
		case f.Entries == 0 || f.Rows == 0 || f.Rows > f.Entries || f.Tombstones > f.Entries:
			return 0, wrong("file %v has %d entries in %d rows, %d of them deletions", f.Number, f.Entries, f.Rows, f.Tombstones)
		case f.TailOffset <= 0 || f.TailOffset >= f.Size:
			return 0, wrong("file %v of %d bytes has its tail at %d", f.Number, f.Size, f.TailOffset)
		case f.Clipped() || f.Shown != 0 || f.Loaded || f.Settled != settledAt(c.j):
			return 0, wrong("file %v is shown in part, bulk loaded, or settled at %d", f.Number, f.Settled)
		case f.Group != r[0].Group || !subset(f.Families, c.j.Schema.Groups[group].Families):
			return 0, wrong("file %v of group %q with families %v is in a run of group %q", f.Number, f.Group, f.Families, r[0].Group)
		case bytes.Compare(f.Smallest, f.Largest) > 0 || i > 0 && bytes.Compare(r[i-1].Largest, f.Smallest) >= 0:
			return 0, wrong("the keys of file %v do not follow those before", f.Number)
		}
		if err := c.in.holds(f); err != nil {
			return 0, wrong("file %v: %v", f.Number, err)
		}
		delete(c.left, f.Number)
		entries += f.Entries
		tombstones += f.Tombstones
	}
	if entries > read || tombstones > c.in.tombstones {
		return 0, wrong("%d entries and %d deletions in a run, of %d that were read, and %d", entries, tombstones, read, c.in.tombstones)
	}
	c.cells += entries - tombstones
	return group, nil
}

// subset reports whether all of a are in b, and there are any.
func subset(a, b []base.FamilyID) bool {
	return len(a) > 0 && !slices.ContainsFunc(a, func(f base.FamilyID) bool { return !slices.Contains(b, f) })
}

// settledAt is what the files of a result are marked with.
func settledAt(j *Job) base.Seq {
	if len(j.Drops) == 0 {
		return 0
	}
	return j.Snapshot
}

// bounds are what no output of a job can exceed.
type bounds struct {
	first, last           []byte // prefixes of rows
	minSeq, maxSeq        base.Seq
	minTimestamp, maxTime int64
	entries, tombstones   uint64
	// whole: each entry of the files is read once. Deletions of rows are copied
	// to the files of all locality groups, and read once.
	whole bool
}

func boundsOf(j *Job) bounds {
	b := bounds{whole: len(j.Drops) == 0 && slices.ContainsFunc(j.Families, func(f base.FamilyID) bool { return j.Schema.GroupOf(f) >= 0 })}
	begun := false
	for _, r := range j.Inputs {
		for i := range r {
			f := &r[i]
			lo, hi := f.Span()
			lo, hi = row(lo), row(hi)
			if !begun {
				b.first, b.last, b.minSeq, b.minTimestamp, b.maxTime, begun = lo, hi, f.MinSeq, f.MinTimestamp, f.MaxTimestamp, true
			}
			if bytes.Compare(lo, b.first) < 0 {
				b.first = lo
			}
			if bytes.Compare(hi, b.last) > 0 {
				b.last = hi
			}
			b.minSeq, b.maxSeq = min(b.minSeq, f.MinSeq), max(b.maxSeq, f.MaxSeq)
			b.minTimestamp, b.maxTime = min(b.minTimestamp, f.MinTimestamp), max(b.maxTime, f.MaxTimestamp)
			b.entries += f.Entries
			b.tombstones += f.Tombstones
			b.whole = b.whole && !f.Clipped() && f.Tombstones == 0
		}
	}
	return b
}

// row returns the prefix of a key that is its row; all of it where that cannot
// be told.
func row(key []byte) []byte {
	if n := base.RowPrefixLen(key); n >= 0 {
		return key[:n]
	}
	return key
}

func (b *bounds) holds(f *manifest.File) error {
	switch {
	case bytes.Compare(row(f.Smallest), b.first) < 0 || bytes.Compare(row(f.Largest), b.last) > 0:
		return fmt.Errorf("its rows lie outside those of the input")
	case f.MinSeq < b.minSeq || f.MaxSeq > b.maxSeq || f.MinSeq > f.MaxSeq:
		return fmt.Errorf("its sequences [%d, %d] lie outside those of the input, [%d, %d]", f.MinSeq, f.MaxSeq, b.minSeq, b.maxSeq)
	case f.Entries > f.Tombstones && (f.MinTimestamp < b.minTimestamp || f.MaxTimestamp > b.maxTime):
		return fmt.Errorf("its timestamps [%d, %d] lie outside those of the input, [%d, %d]", f.MinTimestamp, f.MaxTimestamp, b.minTimestamp, b.maxTime)
	}
	return nil
}
