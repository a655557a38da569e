package tablet

import (
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Files draws the numbers of new files and keeps the open ones of a server,
// each once however many tablets and views refer to it. It knows which numbers
// are in flight and which files are pinned, which garbage collection asks for
// (R12).
type Files struct {
	store   objstore.Store
	cache   *sstable.Cache
	creator base.Incarnation
	// encoders are those of the files that are written.
	encoders compress.Pool

	mu struct {
		sync.Mutex
		next     uint64
		inFlight map[uint64]struct{} // drawn, and not decided (R4)
		open     map[base.FileNumber]*handle
		metadata metadata
		resident resident
	}
}

// NewFiles returns the files of an incarnation, which has none yet. Open files
// keep up to about metadata bytes of filters and indexes in memory.
func NewFiles(store objstore.Store, cache *sstable.Cache, metadata int64, creator base.Incarnation) *Files {
	f := &Files{store: store, cache: cache, creator: creator}
	f.mu.metadata.budget = metadata
	f.mu.inFlight = map[uint64]struct{}{}
	f.mu.open = map[base.FileNumber]*handle{}
	return f
}

// Draw returns a number for a new SSTable or manifest. It is in flight until
// Decided.
func (f *Files) Draw() base.FileNumber {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.next++
	f.mu.inFlight[f.mu.next] = struct{}{}
	return base.FileNumber{Creator: f.creator, Number: f.mu.next}
}

// Decided says that whether the files are named by a root is settled.
func (f *Files) Decided(numbers ...base.FileNumber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range numbers {
		delete(f.mu.inFlight, n.Number)
	}
}

// Floor returns the lowest number that is in flight, or the next one to be
// drawn: everything below is decided.
func (f *Files) Floor() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	low := f.mu.next + 1
	for n := range f.mu.inFlight {
		low = min(low, n)
	}
	return low
}

// Pinned returns the files that some view refers to.
func (f *Files) Pinned() []base.FileNumber {
	f.mu.Lock()
	defer f.mu.Unlock()
	numbers := make([]base.FileNumber, 0, len(f.mu.open))
	for n := range f.mu.open {
		numbers = append(numbers, n)
	}
	return numbers
}

// file is a reference to an open SSTable with its bounds as cell keys.
type file struct {
	manifest.File
	*handle
	lower, upper []byte // nil: no bound
	first, last  []byte // bounds of the keys that it shows; see manifest.File.Span
}

func (f *Files) newFile(ref manifest.File) *file {
	x := &file{File: ref, handle: f.acquire(ref)}
	x.first, x.last = ref.Span()
	if len(ref.Lower) > 0 {
		x.lower = base.AppendRowPrefix(nil, ref.Lower)
	}
	if len(ref.Upper) > 0 {
		x.upper = base.AppendRowPrefix(nil, ref.Upper)
	}
	return x
}
