package state

import (
	"fmt"
	"sort"

	"github.com/google/btree"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// Options qualify a Machine. They do not change what it computes, except
// Decisions, which must be equal on all replicas.
type Options struct {
	// Decisions is how many decided transactions are remembered, so that a
	// copy of one which lands late is recognised even where nothing it wrote
	// stands any more. 0 means DefaultDecisions, -1 none.
	Decisions int
	// HistoryEvents and HistoryBytes bound the events kept for watches; the
	// oldest revisions go first. 0 means the defaults.
	HistoryEvents int
	HistoryBytes  int
}

// Defaults of Options.
const (
	DefaultDecisions     = 1 << 16
	DefaultHistoryEvents = 1 << 17
	DefaultHistoryBytes  = 64 << 20
)

func (o Options) withDefaults() Options {
	if o.Decisions == 0 {
		o.Decisions = DefaultDecisions
	}
	if o.HistoryEvents == 0 {
		o.HistoryEvents = DefaultHistoryEvents
	}
	if o.HistoryBytes == 0 {
		o.HistoryBytes = DefaultHistoryBytes
	}
	return o
}

// item is one key. Items are immutable.
type item struct {
	kv lockservice.KV
	// orElse: the Else branch of kv.ModTxn wrote it.
	orElse bool
}

// tables is everything a View shows. The rows of its trees are immutable.
type tables struct {
	keys       *btree.BTreeG[*item]
	sessions   *btree.BTreeG[*session]
	locks      *btree.BTreeG[*lock]
	revision   lockservice.Revision
	generation uint32
	// issued is the highest Raft index applied in this generation: every
	// session id up to it was issued or never will be.
	issued uint64
	// lockGeneration is the last lock generation given out.
	lockGeneration uint64
	// oldLeasesOver: no session of an older generation can answer reads.
	oldLeasesOver bool
}

// Machine is the state machine. It is not safe for concurrent use.
type Machine struct {
	tables
	// ephemeral lists the keys that go with each session. It is derived from
	// keys.
	ephemeral map[lockservice.SessionID]map[string]struct{}
	decided   decisions
	history   history
	// touched counts the changes of sessions and locks: the leader's timers
	// follow it.
	touched uint64
}

const degree = 32

func newTables() tables {
	return tables{
		keys:     btree.NewG(degree, func(a, b *item) bool { return a.kv.Key < b.kv.Key }),
		sessions: btree.NewG(degree, func(a, b *session) bool { return a.id.Compare(b.id) < 0 }),
		locks:    btree.NewG(degree, func(a, b *lock) bool { return a.name < b.name }),
	}
}

// New returns the empty state: generation 0, in which no session can be
// registered.
func New(o Options) *Machine {
	o = o.withDefaults()
	return &Machine{
		tables:    newTables(),
		ephemeral: make(map[lockservice.SessionID]map[string]struct{}),
		decided:   newDecisions(o.Decisions),
		history:   newHistory(o.HistoryEvents, o.HistoryBytes),
	}
}

// errNoGeneration refuses registrations before SetGeneration.
var errNoGeneration = fmt.Errorf("lock service is not bootstrapped: %w", base.ErrPrecondition)

// Apply applies the command at a Raft index, which must rise from call to call.
func (m *Machine) Apply(index uint64, c Command) Result {
	if err := Validate(c); err != nil {
		m.issued = max(m.issued, index)
		return Result{Err: err}
	}
	r := m.apply(index, c)
	m.issued = max(m.issued, index)
	return r
}

func (m *Machine) apply(index uint64, c Command) Result {
	switch c := c.(type) {
	case *Txn:
		return Result{Txn: m.applyTxn(c)}
	case *Register:
		return m.register(index, c)
	case *EndSession:
		return Result{Ended: m.endSession(c.ID, c.Reason)}
	case *EndLease:
		return Result{Ended: m.endLease(c.ID)}
	case *Acquire:
		return m.acquire(c)
	case *Release:
		return Result{OK: m.release(c)}
	case *EndDelay:
		m.endDelay(c)
	case *SetGeneration:
		m.setGeneration(c.Generation)
	case *EndOldLeases:
		if c.Generation == m.generation {
			m.oldLeasesOver = true
			m.touched++
		}
	}
	return Result{}
}

// generationShift separates the numbers that one generation can issue from
// those of the next: 2^40 revisions each.
const generationShift = 40

// setGeneration enters generation g, unless the state is in it or past it.
func (m *Machine) setGeneration(g uint32) {
	if g <= m.generation {
		return
	}
	for _, s := range m.allSessions() {
		m.endSession(s.id, EndRevoked)
	}
	m.generation = g
	m.issued = 0
	m.oldLeasesOver = false
	floor := uint64(g-1) << generationShift
	m.revision = max(m.revision, lockservice.Revision(floor))
	m.lockGeneration = max(m.lockGeneration, floor)
	m.history.forget(m.revision)
	m.touched++
}

// Validate reports what makes c unfit for the log, wrapping base.ErrInvalid.
func Validate(c Command) error {
	switch c := c.(type) {
	case *Txn:
		return validateTxn(&c.Txn)
	case *Register:
		if len(c.Name) > MaxNameBytes {
			return invalid("session name of %d bytes; at most %d", len(c.Name), MaxNameBytes)
		}
		if c.TTL <= 0 || c.TTL > MaxTTL {
			return invalid("session TTL %v; at most %v", c.TTL, MaxTTL)
		}
	case *EndSession:
		if c.Reason < EndExpired || c.Reason > EndProvedDead {
			return invalid("end of a session for reason %d", c.Reason)
		}
	case *Acquire:
		if c.Name == "" || len(c.Name) > MaxNameBytes {
			return invalid("lock name of %d bytes; 1 to %d", len(c.Name), MaxNameBytes)
		}
		if len(c.Data) > MaxLockDataBytes {
			return invalid("lock data of %d bytes; at most %d", len(c.Data), MaxLockDataBytes)
		}
		if c.Delay < 0 || c.Delay > MaxLockDelay {
			return invalid("lock-delay %v; at most %v", c.Delay, MaxLockDelay)
		}
	case *SetGeneration:
		if c.Generation == 0 {
			return invalid("generation 0")
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), base.ErrInvalid)
}

// ErrCompacted is returned for history that is gone; it wraps
// base.ErrPrecondition.
var ErrCompacted = fmt.Errorf("history is compacted; list and watch again: %w", base.ErrPrecondition)

// sortedKeys returns the members of a set in order: what is done for each must
// not depend on the order of a map.
func sortedKeys(set map[string]struct{}) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
