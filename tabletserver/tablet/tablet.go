package tablet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/memtable"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// State is where a tablet is in its life on this server. It only goes forward.
type State int32

const (
	Loading  State = iota // reading its records; serves nothing
	Serving               // registered: reads and writes
	Stopping              // gives the tablet up: no new reads or writes
	Stopped               // released, lost or failed
)

func (s State) String() string {
	return [...]string{"loading", "serving", "stopping", "stopped"}[s]
}

// Tablet is one tablet at one epoch. Its methods may be called concurrently.
type Tablet struct {
	env   *Env
	log   *slog.Logger
	id    base.TabletID
	table base.TableID
	epoch base.Epoch
	start []byte
	end   []byte

	state   atomic.Int32
	stopped chan struct{} // closed when the state is Stopped
	loaded  atomic.Bool   // Load has returned
	view    atomic.Pointer[view]
	applied atomic.Uint64 // last sequence in the memtable
	acked   atomic.Uint64 // last sequence that the log acknowledged

	// Load, since the tablet was loaded. Readers and writers only add.
	Counters Counters
	hot      hotRows
	// wasted is how many steps reads lost on what nobody can see since the last
	// major compaction, wasteDue at how many it is looked what to do about it.
	wasted, wasteDue atomic.Uint64

	mu struct {
		sync.Mutex
		next     base.Seq // of the next mutation
		lastTime int64    // the last timestamp the server assigned, microseconds
		stream   *commitlog.Stream
		batch    *commitlog.Batch // of the last record; nil: none yet
		lastPos  base.Position    // of the last record; valid if batch
		key      []byte           // scratch
		damage   error            // why loading found it corrupt; nil: it did not
		drops    uint64           // drops of rows and adoptions so far, on this server
	}

	// change is held by the one flush, compaction, release, split or merge under
	// way.
	change chan struct{}
	// record is the tablet's record as last committed or read; guarded by
	// change, which loading and the changes hold.
	record meta.Tablet
	// compacting is held by the one compaction under way; missed: somebody came
	// meanwhile.
	compacting chan struct{}
	missed     atomic.Bool
	// foreign is the highest sequence that was replayed from entries that the
	// record still holds; guarded by change. 0: none.
	foreign base.Seq
	// mark is a copy of what others than the holder of change ask for.
	mark atomic.Pointer[mark]

	repeats repeats
	past    moments
	// inMemory: see InMemory; nil: nothing is to be kept in memory.
	inMemory atomic.Pointer[InMemory]

	events events
}

// mark is what truncation and status want to know of the record.
type mark struct {
	record meta.Tablet
}

// Counters count what a tablet did.
type Counters struct {
	Reads, Writes         atomic.Int64 // requests, or rows of a batch
	ReadBytes, WriteBytes atomic.Int64
}

// New returns the tablet that rec assigns to this server, in state Loading.
func New(env *Env, rec meta.Tablet) *Tablet {
	t := &Tablet{
		env: env, id: rec.ID, table: rec.Table, epoch: rec.Epoch, start: rec.Start, end: rec.End,
		log:    env.Logger.With("tablet", uint64(rec.ID), "table", uint64(rec.Table), "epoch", uint64(rec.Epoch)),
		change: make(chan struct{}, 1), compacting: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	t.settleWaste()
	t.setRecord(rec)
	return t
}

// ID, Table, Epoch, Start and End tell which tablet it is.
func (t *Tablet) ID() base.TabletID   { return t.id }
func (t *Tablet) Table() base.TableID { return t.table }
func (t *Tablet) Epoch() base.Epoch   { return t.epoch }
func (t *Tablet) Start() []byte       { return t.start }
func (t *Tablet) End() []byte         { return t.end }

// State returns where the tablet is in its life.
func (t *Tablet) State() State { return State(t.state.Load()) }

// Record returns the record as last committed or read.
func (t *Tablet) Record() meta.Tablet { return t.mark.Load().record }

func (t *Tablet) setRecord(rec meta.Tablet) {
	t.record = rec
	t.mark.Store(&mark{record: rec})
}

// lockChange waits until no other change of the tablet is under way.
func (t *Tablet) lockChange(ctx context.Context) error {
	select {
	case t.change <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Tablet) unlockChange() { <-t.change }

// contains reports whether row lies in the tablet.
func (t *Tablet) contains(row []byte) bool {
	return string(row) >= string(t.start) && (len(t.end) == 0 || string(row) < string(t.end))
}

// visible is the highest sequence that readers may see: acknowledged by the
// log, and in the memtable.
func (t *Tablet) visible() base.Seq {
	return base.Seq(min(t.applied.Load(), t.acked.Load()))
}

// acknowledged is the log's callback.
func (t *Tablet) acknowledged(last base.Seq, _ base.Position) {
	t.acked.Store(uint64(last))
	t.past.note(time.Now(), last)
}

// errNotServing says that the tablet is not served here, and why.
func (t *Tablet) errNotServing() error {
	return fmt.Errorf("tablet %d is %v: %w", t.id, t.State(), base.ErrNotServing)
}

// schema returns the schema of the tablet's table for a request; there are none
// to a table that was deleted.
func (t *Tablet) schema(ctx context.Context) (*schema.Schema, error) {
	s, err := t.anySchema(ctx)
	if err == nil && s.Deleted {
		return nil, fmt.Errorf("table %d was deleted: %w", t.table, base.ErrNotFound)
	}
	return s, err
}

// anySchema returns the schema of the tablet's table, also where that was
// deleted.
func (t *Tablet) anySchema(ctx context.Context) (*schema.Schema, error) {
	s, err := t.env.Schemas.Table(ctx, t.table)
	if errors.Is(err, base.ErrNotFound) {
		// The table was deleted; its tablets go soon.
		return nil, fmt.Errorf("table %d was deleted: %w", t.table, base.ErrNotFound)
	}
	return s, err
}

// awaitSafe holds a read while the session is in jeopardy (R21) and fails once
// it has expired.
func (t *Tablet) awaitSafe(ctx context.Context) error {
	for {
		changed := t.env.Session.Changed()
		switch t.env.Session.State() {
		case lockservice.SessionSafe:
			return nil
		case lockservice.SessionExpired:
			return fmt.Errorf("tablet %d: %w: the session of this server has expired", t.id, base.ErrFenced)
		}
		select {
		case <-changed:
		case <-t.stopped:
			return t.errNotServing()
		case <-ctx.Done():
			return fmt.Errorf("wait for the session of this server: %w", ctx.Err())
		}
	}
}

// stop ends the tablet's life here without giving it up: it was lost, or the
// server dies. What it holds is let go.
func (t *Tablet) stop(why string) {
	t.mu.Lock()
	was := State(t.state.Swap(int32(Stopped)))
	if t.mu.stream != nil {
		t.mu.stream.Close()
	}
	t.mu.Unlock()
	if was == Stopped {
		return
	}
	close(t.stopped)
	t.event("stopped: %s", why)
	t.dropView()
}

// Abandon ends the tablet's life as a crash would.
func (t *Tablet) Abandon() { t.stop("the server ends") }

// dropView lets go of memory and files.
func (t *Tablet) dropView() {
	t.mu.Lock()
	v := t.view.Load()
	if v != nil {
		empty := &view{mem: &mem{table: memtable.New()}, manifest: v.manifest}
		t.view.Store(empty) // never acquired: state is Stopped, refs is 0
		for _, m := range append(v.frozen, v.mem) {
			t.env.Budget.add(-m.counted)
			m.counted = 0
		}
	}
	t.mu.Unlock()
	if v != nil {
		v.release()
	}
}

// maxEvents is how many recent decisions a tablet remembers for people.
const maxEvents = 32

// events remembers recent decisions about a tablet.
type events struct {
	mu struct {
		sync.Mutex
		list []string
	}
}

func (t *Tablet) event(format string, args ...any) {
	line := time.Now().UTC().Format("15:04:05.000 ") + fmt.Sprintf(format, args...)
	e := &t.events
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.mu.list) >= maxEvents {
		e.mu.list = append(e.mu.list[:0], e.mu.list[1:]...)
	}
	e.mu.list = append(e.mu.list, line)
}

// Events returns recent decisions about the tablet, oldest first.
func (t *Tablet) Events() []string {
	t.events.mu.Lock()
	defer t.events.mu.Unlock()
	return append([]string(nil), t.events.mu.list...)
}

// Usage is the memory and storage that a tablet takes.
type Usage struct {
	MemtableBytes int64 // counted in the budget
	ActiveBytes   int64 // in the active memtable
	FileBytes     int64
	Files, Runs   int
	Rows          uint64 // an estimate: rows in several runs count several times
}

// Usage returns what the tablet takes now.
func (t *Tablet) Usage() Usage {
	v := t.view.Load()
	if v == nil {
		return Usage{}
	}
	u := Usage{ActiveBytes: v.mem.table.Size(), Runs: len(v.manifest.Runs)}
	u.MemtableBytes = v.mem.table.Allocated()
	for _, m := range v.frozen {
		u.MemtableBytes += m.allocated()
	}
	u.FileBytes, u.Files, u.Rows = v.fileBytes()
	return u
}

// Frozen returns how many memtables wait to be flushed.
func (t *Tablet) Frozen() int {
	if v := t.view.Load(); v != nil {
		return len(v.frozen)
	}
	return 0
}

// Needs returns the lowest position of the server's own log that the tablet
// needs: the first record that is not flushed, and what entries it still has
// that name this log (R2). ok is false where it needs none.
func (t *Tablet) Needs() (p base.Position, ok bool) {
	lower := func(q base.Position) {
		if !ok || q < p {
			p, ok = q, true
		}
	}
	t.mu.Lock()
	if v := t.view.Load(); v != nil {
		for _, m := range append(v.frozen[:len(v.frozen):len(v.frozen)], v.mem) {
			if m.hasFirst {
				lower(m.first)
			}
		}
	}
	t.mu.Unlock()
	rec := t.Record()
	own := rec.OwnEntry()
	for i, e := range rec.Logs {
		if e.Log == t.env.Self() && i != own {
			lower(e.From)
		}
	}
	return p, ok
}
