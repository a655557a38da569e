package compact

import (
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// Layout says what of its input a flush or a merge keeps, and how its files are
// made.
type Layout struct {
	// Schema holds the rules of garbage collection and the types of families.
	Schema *schema.Schema
	// Families are those that the input can hold entries of, or that deletions
	// of rows in it are meant for, ascending; none: any.
	Families []base.FamilyID
	// Oldest: nothing of the tablet is older than the input, so that deletions
	// may go with what they hide.
	Oldest bool
	// Older are, where something is older, the families that it matters to,
	// ascending; none: any. Deletions in other locality groups may go.
	Older []base.FamilyID
	// Now is the time by which cells are too old, in microseconds.
	Now int64
	// FileBytes is the size at which another file begins, BlockBytes the raw
	// size of a block.
	FileBytes   int64
	BlockBytes  int
	Compression compress.Type
}

// Job is one merge of files: all that its result depends on. Whoever does it,
// the tablet's server or another process, and whenever, the files are the same,
// byte for byte, but for their names.
type Job struct {
	Tablet base.TabletID
	// Inputs are the runs, newest first, with the bounds of their references.
	Inputs []manifest.Run
	// Drops hide rows of the inputs, those with a sequence up to Snapshot.
	Drops    []manifest.Drop
	Snapshot base.Seq
	Layout
}

// Size returns about how many stored bytes the inputs show.
func (j *Job) Size() (bytes int64) {
	for _, r := range j.Inputs {
		bytes += r.Size()
	}
	return bytes
}

// Result is what a flush or merge made.
type Result struct {
	// Runs are the files, a run for each locality group that had anything left.
	Runs []manifest.Run
	// Read is how many entries of the inputs were seen: those in the files,
	// and those left out.
	Read uint64
}
