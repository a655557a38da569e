package tablet

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/tabletserver/compact"
)

// Flushes and compactions make files in memory. Flushes take what they need
// whatever the limit, for they free more than they take; there are only so many
// at a time. Compactions wait until there is room.

const (
	// rangesAhead is how many ranges the read-ahead of one run holds.
	rangesAhead = 3
	// minReadahead is the least that a compaction reads at once.
	minReadahead = 64 << 10
)

// fileMemory is about what it takes to write files of bytes in all, one after
// the other.
func (t *Tablet) fileMemory(bytes int64) int64 {
	n := min(bytes, t.env.Options.FileBytes)
	return n + n/2 // the file, the blocks being made, and a tail
}

// takeFileMemory waits for the memory that a job needs. It returns how much its
// runs may read at once, and a function that gives the memory back.
func (t *Tablet) takeFileMemory(ctx context.Context, job *compact.Job) (readahead int, give func(), err error) {
	a, readahead := t.env.FileMemory, t.env.Options.Readahead
	if limit := a.Limit(); limit > 0 { // half of it for all runs together
		readahead = min(readahead, max(minReadahead, int(limit/2/rangesAhead)/len(job.Inputs)))
	}
	need := t.fileMemory(job.Size()) + int64(rangesAhead*readahead*len(job.Inputs))
	if err := a.Take(ctx, need); err != nil {
		return 0, nil, fmt.Errorf("wait for memory to compact with: %w", err)
	}
	return readahead, func() { a.Give(need) }, nil
}
