package tabletserver

import (
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// DefaultMemory is the memory of a server that was told nothing of it.
const DefaultMemory = 2 << 30

// Shares of a server's memory, in percent. What is left is for what is not
// counted: stacks, small objects, and garbage between two collections. The two of
// the front are for who puts a server behind a network (RequestShare and
// RowShare).
const (
	memtableShare = 25 // memtables, and writes on their way there
	logShare      = 4  // batches of the log that are not acknowledged
	readShare     = 7  // what scans fetch ahead
	frameShare    = 3  // messages on their way to clients
	fileShare     = 14 // files being written by flushes and compactions, and read by compactions
	cacheShare    = 12 // blocks
	metadataShare = 8  // filters and indexes

	RequestShare = 8 // bodies of requests
	RowShare     = 5 // rows that are put together for clients that want them in one piece
)

// Share returns percent of a server's memory.
func Share(memory int64, percent int64) int64 { return memory / 100 * percent }

// maxPending is how much of the log waits to be acknowledged at most: more only
// makes writers wait longer.
const maxPending = 64 << 20

// divide fills in what is not set of how the memory is used.
func (o *Options) divide() {
	share := func(p *int64, percent int64) {
		if *p == 0 {
			*p = Share(o.MemoryBytes, percent)
		}
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = DefaultMemory
	}
	share(&o.MemtableBytes, memtableShare)
	share(&o.CacheBytes, cacheShare)
	share(&o.MetadataBytes, metadataShare)
	o.CacheBytes = max(o.CacheBytes, 0)
	if o.InMemoryBytes == 0 {
		o.InMemoryBytes = o.CacheBytes / 2
	}
	o.InMemoryBytes = min(max(o.InMemoryBytes, 0), o.CacheBytes)
	t := &o.Tablet
	// Where there is little memory files are smaller, for each is made in
	// memory, and less is fetched at once.
	files, reads := Share(o.MemoryBytes, fileShare), Share(o.MemoryBytes, readShare)
	if t.FileBytes == 0 {
		t.FileBytes = min(64<<20, max(files/4, 1<<20))
	}
	if o.Flushers == 0 { // as many as can write a file each
		o.Flushers = int(min(4, max(1, files*2/3/t.FileBytes)))
	}
	if t.Readahead == 0 {
		t.Readahead = int(min(4<<20, max(reads/16, 256<<10)))
	}
	t.EnsureDefaults()
	// A memtable that alone may fill the budget would stall all others.
	t.MemtableBytes = min(t.MemtableBytes, o.MemtableBytes/4)
}

// pendingBytes is how much of the log may be unacknowledged.
func (o *Options) pendingBytes() int64 { return min(maxPending, Share(o.MemoryBytes, logShare)/2) }

// memory are the accounts of a server.
type memory struct {
	budget    *membudget.Budget
	memtables *tablet.Budget
	reads     *membudget.Account
	frames    *membudget.Account
	files     *membudget.Account
}

// newMemory opens the accounts of s, which has its log and its cache, in b; nil:
// in a budget of its own.
func (s *Server) newMemory(b *membudget.Budget, files *tablet.Files) memory {
	o := &s.cfg.Options
	if b == nil {
		b = membudget.New(o.MemoryBytes)
	}
	m := memory{budget: b}
	m.memtables = tablet.NewBudget(b.Account("memtables", o.MemtableBytes))
	b.Measured("log", 2*o.pendingBytes(), func() int64 { return s.wal.Stats().PendingBytes })
	m.reads = b.Account("reads", Share(o.MemoryBytes, readShare))
	m.frames = b.Account("frames", Share(o.MemoryBytes, frameShare))
	m.files = b.Account("files", Share(o.MemoryBytes, fileShare))
	b.Measured("blocks", o.CacheBytes, func() int64 { _, kept, _ := files.InMemoryStats(); return s.cache.Stats().Bytes + kept })
	b.Measured("metadata", o.MetadataBytes, func() int64 { _, bytes, _ := files.MetadataStats(); return bytes })
	return m
}

// Memory returns what the parts of the server, and of what stands before it, take.
func (s *Server) Memory() *membudget.Budget { return s.memory.budget }
