package bulkload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/client/bulkload/extsort"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lockclient "github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/objstore/retry"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// Errors that calls may be asked for, with errors.Is, beside those of context.
var (
	ErrNotFound       = base.ErrNotFound       // the table
	ErrFamilyNotFound = base.ErrFamilyNotFound // the table has no such family, or has it no more
	ErrInvalid        = base.ErrInvalid        // of a cell or an option; the text says what
	ErrUnavailable    = base.ErrUnavailable    // nothing was loaded; load again
	ErrUnknownOutcome = base.ErrUnknownOutcome // the load may have been decided, or not
	// ErrPending: the load is decided, but was not adopted by all tablets for as
	// long as Commit could wait. It will be.
	ErrPending = errors.New("the load is decided, and not adopted by all tablets yet")
)

// Config says where the cluster is, and what is loaded.
type Config struct {
	// LockService are addresses of replicas of the lock service; some suffice.
	LockService []string
	// StoreURL is the bucket; "": the lock service is asked.
	StoreURL string
	// Table is the full name of the table.
	Table string
	// Cell and Store, if not nil, take the place of LockService and StoreURL.
	// They are the caller's, and Store retries what can be retried.
	Cell  lockservice.Client
	Store objstore.Store
	// Logger; nil discards.
	Logger *slog.Logger

	Options Options
}

// Options qualify a Loader; zero values mean the defaults.
type Options struct {
	// Dir is where what does not fit in memory is kept while it is sorted; ""
	// means the system's directory for temporary files. It takes about as much
	// room as all keys and values have bytes.
	Dir string
	// Memory is about how many bytes of cells are kept in memory; 128 MiB.
	// Uploads take up to Uploads + 1 times FileBytes beside.
	Memory int
	// FileBytes is the size at which another SSTable is begun; 64 MiB.
	FileBytes int64
	// Uploads is how many SSTables are uploaded at once; 4.
	Uploads int
	// SessionTTL is after how long without a sign of life what was uploaded
	// counts as garbage, and cannot be committed any more; 30 s.
	SessionTTL time.Duration
	// Progress, if not nil, is told now and then what was done so far. Calls do
	// not overlap.
	Progress func(Progress)
}

// Progress is how far a Commit is.
type Progress struct {
	Cells uint64 // that were written to SSTables
	Bytes int64  // of the SSTables that were uploaded
	// Decided: all is uploaded; the tablets are adopting.
	Decided bool
}

func (o *Options) ensureDefaults() {
	if o.FileBytes == 0 {
		o.FileBytes = 64 << 20
	}
	if o.Uploads == 0 {
		o.Uploads = 4
	}
	if o.SessionTTL == 0 {
		o.SessionTTL = 30 * time.Second
	}
}

// Loader loads cells into one table, all or nothing. Close it. Add may be called
// concurrently; Commit once, when no Add is under way.
type Loader struct {
	cfg     Config
	ls      lockservice.Client
	store   objstore.Store
	meta    *meta.Store
	schema  *schema.Schema
	at      int64 // the timestamp of cells that have none
	session lockservice.Session
	closers []io.Closer

	mu struct {
		sync.Mutex
		sorter *extsort.Sorter
		added  uint64
		used   map[string]base.FamilyID // families with cells
		key    []byte                   // scratch
		done   bool                     // Commit was called, or Close
	}
}

// Open prepares a load into the table. Nothing is written before Commit, but to
// local files.
func Open(ctx context.Context, cfg Config) (*Loader, error) {
	cfg.Options.ensureDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if o := cfg.Options; o.FileBytes < 0 || o.Uploads < 0 || o.SessionTTL < 0 {
		return nil, fmt.Errorf("%w: bulk load with %+v", ErrInvalid, o)
	}
	l := &Loader{cfg: cfg}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	return l, nil
}

func (l *Loader) open(ctx context.Context) (err error) {
	if l.mu.sorter, err = extsort.New(extsort.Options{Dir: l.cfg.Options.Dir, Memory: l.cfg.Options.Memory}); err != nil {
		return err
	}
	if l.ls = l.cfg.Cell; l.ls == nil {
		if len(l.cfg.LockService) == 0 {
			return fmt.Errorf("%w: a bulk load needs addresses of the lock service", ErrInvalid)
		}
		ls, err := lockclient.New(lockclient.Config{Endpoints: l.cfg.LockService, Network: rpc.TCP{}, Logger: l.cfg.Logger})
		if err != nil {
			return err
		}
		l.ls, l.closers = ls, append(l.closers, ls)
	}
	l.meta = meta.NewStore(l.ls)
	if l.store = l.cfg.Store; l.store == nil {
		if err := l.openStore(ctx); err != nil {
			return err
		}
	}
	t, err := l.meta.TableByName(ctx, l.cfg.Table)
	if err != nil {
		return err
	}
	if l.schema, err = schema.Compile(t); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	l.at = now - now%l.schema.Unit()
	l.mu.used = map[string]base.FamilyID{}
	return nil
}

// storeKey is the key of the lock service under which the URL of the bucket
// stands.
const storeKey = "config/store"

func (l *Loader) openStore(ctx context.Context) error {
	url := l.cfg.StoreURL
	if url == "" {
		kv, ok, _, err := l.ls.Get(ctx, storeKey, lockservice.ReadOptions{})
		if err != nil {
			return fmt.Errorf("ask the lock service for the bucket's URL: %w", err)
		}
		if !ok {
			return fmt.Errorf("%w: the lock service does not say which bucket; StoreURL must", ErrInvalid)
		}
		url = string(kv.Value)
	}
	raw, err := openstore.Open(ctx, url, openstore.Options{})
	if err != nil {
		return err
	}
	l.closers = append(l.closers, raw)
	l.store = retry.New(raw, retry.Options{})
	return nil
}

// Check tells whether Add would take the cell, and adds nothing.
func (l *Loader) Check(row []byte, family string, qualifier []byte, timestamp int64, value []byte) error {
	_, _, err := l.check(row, family, qualifier, timestamp, value)
	return err
}

func (l *Loader) check(row []byte, family string, qualifier []byte, timestamp int64, value []byte) (mutation.FamilySpec, int64, error) {
	if timestamp == -1 {
		timestamp = l.at
	}
	f, err := mutation.CheckCell(row, []byte(family), qualifier, timestamp, value, l.schema.Writes())
	return f, timestamp, err
}

// Add adds a cell, in any order, and copies it. The timestamp is in
// microseconds, a multiple of the table's unit, or -1: the time at which the
// Loader was opened. Of cells that are added twice the last one counts; in
// aggregate families all do, whose values are states (AddInt). Limits are those
// of mutations. An error that wraps ErrInvalid or ErrFamilyNotFound means that
// this cell is not part of the load; after any other the load is lost.
func (l *Loader) Add(row []byte, family string, qualifier []byte, timestamp int64, value []byte) error {
	f, ts, err := l.check(row, family, qualifier, timestamp, value)
	if err != nil {
		return err
	}
	kind := base.KindSet
	if f.Aggregate != aggregate.None {
		kind = base.KindMerge
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.done {
		return errors.New("the load was committed, or closed: nothing can be added")
	}
	l.mu.added++
	// The sequence number makes the last one come first (see reduce).
	l.mu.key = base.AppendCellKey(l.mu.key[:0], row, f.ID, qualifier, ts, base.Seq(l.mu.added), kind)
	if err := l.mu.sorter.Add(l.mu.key, value); err != nil {
		return fmt.Errorf("bulk load: %w", err)
	}
	if _, ok := l.mu.used[family]; !ok {
		l.mu.used[family] = f.ID
	}
	return nil
}

// AddInt is Add to a cell of an aggregate family.
func (l *Loader) AddInt(row []byte, family string, qualifier []byte, timestamp int64, input int64) error {
	return l.Add(row, family, qualifier, timestamp, aggregate.AppendState(nil, input))
}

// Close ends the load. Where it was not decided it never will be, and what was
// uploaded is garbage, which is collected by itself. It may be called twice.
func (l *Loader) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.done = true
	var errs []error
	if l.session != nil {
		if err := l.session.Close(ctx); err != nil { // else it expires
			l.session.Abandon()
		}
		l.session = nil
	}
	if l.mu.sorter != nil {
		errs = append(errs, l.mu.sorter.Close())
		l.mu.sorter = nil
	}
	for _, c := range l.closers {
		errs = append(errs, c.Close())
	}
	l.closers = nil
	return errors.Join(errs...)
}
