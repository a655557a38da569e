package tablet

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// Env is what the tablets of one server share. All fields must be set.
type Env struct {
	Store   objstore.Store // SSTables, manifests, other servers' logs
	Meta    *meta.Store
	Commits *meta.Group // commits the changes of records
	Log     *commitlog.Log
	Session lockservice.Session
	Files   *Files
	Logs    *Logs
	Budget  *Budget
	// Reads is the memory for what scans fetch ahead, FileMemory that for files
	// being written, and for what compactions read; nil: without limit.
	Reads, FileMemory *membudget.Account

	Rows    *RowLocks
	Schemas *schema.Cache
	Logger  *slog.Logger
	Options Options

	// Pace, if not nil, is how fast compactions go; see FileSink.
	Pace func(ctx context.Context, bytes int) error

	// Counts counts what the tablets did, for the metrics.
	Counts Counts
	// Jobs remembers what the tablets are at, for the status pages.
	Jobs Jobs

	// WantFlush and WantCompact are called when a tablet needs one; they only
	// note it. WantFlush may be called with the tablet's lock held.
	WantFlush   func(*Tablet)
	WantCompact func(*Tablet)
}

// Counts counts flushes, compactions and adoptions of bulk loads.
type Counts struct {
	Flushes, FlushedBytes, Compactions, CompactedBytes, Adoptions, AdoptedBytes atomic.Int64
	// Of the compactions, those that were merged elsewhere; merges elsewhere
	// that failed, and of these the ones whose result was refused.
	Elsewhere, ElsewhereBytes, Failed, Refused atomic.Int64
}

// Self is the incarnation of the server.
func (e *Env) Self() base.Incarnation { return e.Session.ID() }

// Options are the knobs of tablets; zero values mean the defaults.
type Options struct {
	// MemtableBytes is the size at which a memtable is frozen and flushed;
	// 64 MiB.
	MemtableBytes int64
	// FileBytes is the size at which a flush or compaction begins another
	// file; 64 MiB.
	FileBytes int64
	// BlockBytes is the raw size of a block; 32 KiB.
	BlockBytes int
	// Compression of blocks; default snappy. compress.None is written as
	// NoCompression, for the zero value means the default.
	Compression   compress.Type
	NoCompression bool
	// Compaction says which runs are merged.
	Compaction compact.Options
	// Readahead is the most that scans fetch at once, in bytes; 4 MiB.
	Readahead int
}

// EnsureDefaults fills in the defaults.
func (o *Options) EnsureDefaults() {
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 64 << 20
	}
	if o.FileBytes == 0 {
		o.FileBytes = 64 << 20
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = 32 << 10
	}
	if o.Compression == 0 && !o.NoCompression {
		o.Compression = compress.Snappy
	}
	if o.Readahead == 0 {
		o.Readahead = 4 << 20
	}
	o.Compaction.EnsureDefaults()
}
