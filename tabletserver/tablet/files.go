package tablet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable"
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

	mu struct {
		sync.Mutex
		next     uint64
		inFlight map[uint64]struct{} // drawn, and not decided (R4)
		open     map[base.FileNumber]*handle
	}
}

// NewFiles returns the files of an incarnation, which has none yet.
func NewFiles(store objstore.Store, cache *sstable.Cache, creator base.Incarnation) *Files {
	f := &Files{store: store, cache: cache, creator: creator}
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

// handle is one SSTable. It is opened when it is first read, so that loading a
// tablet does not wait for its files.
type handle struct {
	files  *Files
	number base.FileNumber
	meta   sstable.Meta
	refs   int // guarded by Files.mu
	// gone: this server has merged it into others; guarded by Files.mu.
	gone bool

	reader  atomic.Pointer[sstable.Reader]
	opening chan struct{} // holds a token while somebody opens it
}

// acquire returns the handle of a file and takes a reference to it.
func (f *Files) acquire(ref manifest.File) *handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.mu.open[ref.Number]
	if h == nil {
		h = &handle{
			files: f, number: ref.Number, meta: sstable.Meta{Size: ref.Size, TailOffset: ref.TailOffset},
			opening: make(chan struct{}, 1),
		}
		f.mu.open[ref.Number] = h
	}
	h.refs++
	return h
}

// release gives a reference back. With the last one the file is closed.
func (h *handle) release() {
	f := h.files
	f.mu.Lock()
	h.refs--
	last := h.refs == 0
	if last {
		delete(f.mu.open, h.number)
	}
	forget := last && h.gone
	f.mu.Unlock()
	if r := h.reader.Load(); last && r != nil {
		r.Close()
	}
	if s, ok := f.store.(forgetful); ok && forget {
		s.Forget(base.SSTableObject(h.number))
	}
}

// forgetful is the optional ability of an objstore.Store that caches: to drop
// what it has of objects.
type forgetful interface{ Forget(keys ...string) }

// obsolete says that the files were merged into others: when the last tablet
// here has let go of one, nothing of it need be cached any more. (One that is
// merely released may come back, after a restart or a move.)
func (f *Files) obsolete(runs []manifest.Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range runs {
		for _, x := range r {
			if h := f.mu.open[x.Number]; h != nil {
				h.gone = true
			}
		}
	}
}

// open returns the reader of the file.
func (h *handle) open(ctx context.Context) (*sstable.Reader, error) {
	if r := h.reader.Load(); r != nil {
		return r, nil
	}
	select { // a mutex would hold readers beyond their deadline
	case h.opening <- struct{}{}:
		defer func() { <-h.opening }()
	case <-ctx.Done():
		return nil, fmt.Errorf("open SSTable %v: %w", h.number, ctx.Err())
	}
	if r := h.reader.Load(); r != nil {
		return r, nil
	}
	r, err := sstable.Open(ctx, sstable.NewObjectSource(h.files.store, base.SSTableObject(h.number)), h.meta,
		sstable.ReaderOptions{Cache: h.files.cache, File: h.number})
	if err != nil {
		return nil, fmt.Errorf("open SSTable %v: %w", h.number, err)
	}
	h.reader.Store(r)
	return r, nil
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

// describe returns the reference to a table that was just written.
func describe(n base.FileNumber, t *sstable.Table) manifest.File {
	p := &t.Properties
	f := manifest.File{
		Number: n, Size: t.Meta.Size, TailOffset: t.Meta.TailOffset,
		Smallest: slices.Clone(p.MinKey), Largest: slices.Clone(p.MaxKey),
		MinSeq: p.MinSeq, MaxSeq: p.MaxSeq, MinTimestamp: p.MinTimestamp, MaxTimestamp: p.MaxTimestamp,
		Entries: p.Entries, Tombstones: p.Tombstones(), Rows: p.Rows, RawBytes: p.RawKeyBytes + p.RawValueBytes,
	}
	if f.MinTimestamp > f.MaxTimestamp { // deletions only: they concern every time
		f.MinTimestamp, f.MaxTimestamp = 0, math.MaxInt64
	}
	return f
}
