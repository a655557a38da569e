// Package lockservice is TabletDB's lock service: Chubby's job with etcd's
// manners. It keeps a small ordered key-value store with revisions,
// transactions, sessions (leases), locks with sequencers, ephemeral keys and
// watches, replicated by Raft. It knows nothing of tablets.
//
// This package holds the contract (Client, Session and their types) and what
// both ends share. Subpackages: client (the remote client), server (the Raft
// state machine and its gRPC service), lease (the pure lease table), state
// (the pure key-value state machine), mem (a Client straight on the state
// machine, for tests and tools).
package lockservice

import (
	"context"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// SessionID names a session for ever (rule R17).
type SessionID = base.Incarnation

// Revision counts the changes of the store; each applied transaction that
// writes gets the next one. Revision 0 is the empty store.
type Revision uint64

// TxnID is a random number that names a transaction over all its retries.
type TxnID [16]byte

// KV is one key as seen at some revision.
type KV struct {
	Key            string
	Value          []byte
	CreateRevision Revision
	ModRevision    Revision
	// Session is the owner of an ephemeral key: the key goes when it ends.
	Session SessionID
	// ModTxn is the transaction that wrote ModRevision. It makes a retried
	// transaction recognise its own effect.
	ModTxn TxnID
}

// CompareKind says what a Compare asks.
type CompareKind uint8

const (
	// CompareModRevision: the key's ModRevision equals Revision (0: absent).
	CompareModRevision CompareKind = iota + 1
	// CompareValue: the key exists with exactly Value.
	CompareValue
	// CompareAbsent: the key does not exist.
	CompareAbsent
	// CompareExists: the key exists.
	CompareExists
	// CompareSessionAlive: the session is registered and not ended.
	CompareSessionAlive
	// CompareSessionDead: no transaction that compares the session alive can
	// ever succeed again. It may still answer reads from its lease.
	CompareSessionDead
	// CompareSessionGone: dead, and its lease surely over: either it expired,
	// or it was revoked with proof, closed itself, or a full TTL has passed
	// since it was revoked (rule R15).
	CompareSessionGone
	// CompareLockHeld: the lock of Sequencer is held with that generation.
	CompareLockHeld
)

// Compare is one condition of a Txn.
type Compare struct {
	Kind      CompareKind
	Key       string
	Value     []byte
	Revision  Revision
	Session   SessionID
	Sequencer Sequencer
}

// Constructors of compares, so that call sites read as conditions.

// ModRevisionIs holds while key was last modified at rev (0: does not exist).
func ModRevisionIs(key string, rev Revision) Compare {
	return Compare{Kind: CompareModRevision, Key: key, Revision: rev}
}

// ValueIs holds while key exists and holds value.
func ValueIs(key string, value []byte) Compare {
	return Compare{Kind: CompareValue, Key: key, Value: value}
}

// Absent holds while key does not exist.
func Absent(key string) Compare { return Compare{Kind: CompareAbsent, Key: key} }

// Exists holds while key exists.
func Exists(key string) Compare { return Compare{Kind: CompareExists, Key: key} }

// SessionAlive holds while id is a live session.
func SessionAlive(id SessionID) Compare { return Compare{Kind: CompareSessionAlive, Session: id} }

// SessionDead holds once id has ended; then for ever.
func SessionDead(id SessionID) Compare { return Compare{Kind: CompareSessionDead, Session: id} }

// SessionGone holds once id has ended and cannot answer reads; then for ever.
func SessionGone(id SessionID) Compare { return Compare{Kind: CompareSessionGone, Session: id} }

// LockHeld holds while the lock is held as s says.
func LockHeld(s Sequencer) Compare { return Compare{Kind: CompareLockHeld, Sequencer: s} }

// OpKind says what an Op does.
type OpKind uint8

const (
	// OpPut writes Key = Value; Session, if not zero, makes the key ephemeral
	// and must be alive (else the whole transaction fails its compares).
	OpPut OpKind = iota + 1
	// OpDelete removes Key if it exists.
	OpDelete
	// OpDeleteRange removes the keys in [Key, End).
	OpDeleteRange
	// OpGet reads Key.
	OpGet
	// OpRange reads the keys in [Key, End), at most Limit (0: all).
	OpRange
)

// Op is one operation of a Txn.
type Op struct {
	Kind    OpKind
	Key     string
	End     string
	Value   []byte
	Session SessionID
	Limit   int
}

// Put writes key.
func Put(key string, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// PutEphemeral writes key, to be removed when session ends.
func PutEphemeral(key string, value []byte, session SessionID) Op {
	return Op{Kind: OpPut, Key: key, Value: value, Session: session}
}

// Delete removes key.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// DeleteRange removes the keys in [start, end).
func DeleteRange(start, end string) Op { return Op{Kind: OpDeleteRange, Key: start, End: end} }

// Get reads key.
func Get(key string) Op { return Op{Kind: OpGet, Key: key} }

// Range reads the keys in [start, end), at most limit of them (0: all).
func Range(start, end string, limit int) Op {
	return Op{Kind: OpRange, Key: start, End: end, Limit: limit}
}

// Txn is an atomic transaction: if all compares hold, the Then operations are
// applied in order, else the Else operations. All its writes share one
// revision. At most MaxTxnOps operations and MaxTxnBytes encoded.
type Txn struct {
	// ID is drawn by the client where it is zero.
	ID   TxnID
	If   []Compare
	Then []Op
	Else []Op
}

// Limits of one transaction.
const (
	MaxTxnOps   = 4096
	MaxTxnBytes = 8 << 20
	MaxKeyBytes = 8 << 10
)

// OpResult is what one operation returned: the keys that OpGet and OpRange
// read (none: absent), nothing for writes.
type OpResult struct {
	KVs  []KV
	More bool // OpRange: the limit cut the answer
}

// TxnResult is the decided outcome of a Txn.
type TxnResult struct {
	// Succeeded: the compares held and Then was applied; or this is a retry
	// of a transaction whose effect still stands on one of the keys it puts
	// (its ModTxn is the transaction's own), so that it had been applied.
	Succeeded bool
	// Revision of the store after the transaction.
	Revision Revision
	// Results of the operations of the branch taken; nil where a retry found
	// the transaction applied before.
	Results []OpResult
	// Retried: the transaction was sent more than once. Succeeded = false then
	// does not prove that it was never applied, only that nothing it wrote
	// stands any more; a caller to whom that matters reads (rule R4).
	Retried bool
}

// ReadOptions qualify a read.
type ReadOptions struct {
	// Stale reads the contacted replica's state as it is, without asking a
	// leader: it may be arbitrarily old, and it works without a majority.
	Stale bool
	// Limit caps the number of keys (0: all).
	Limit int
	// KeysOnly leaves the values out.
	KeysOnly bool
}

// EventKind is what happened to a key.
type EventKind uint8

const (
	EventPut EventKind = iota + 1
	EventDelete
)

// Event is one change of one key. Events of one revision arrive together.
type Event struct {
	Kind EventKind
	KV   KV // for EventDelete only Key and ModRevision (of the deletion) are set
}

// WatchResponse carries all events of one or more whole revisions, in order.
type WatchResponse struct {
	Revision Revision // the stream is complete up to and including it
	Events   []Event
}

// Sequencer describes a lock as held: whoever is shown it can check it
// (CompareLockHeld). Generation rises with each acquisition from free.
type Sequencer struct {
	Name       string
	Exclusive  bool
	Generation uint64
}

// SessionState is what a client may believe of its own session.
type SessionState uint8

const (
	// SessionSafe: the lease runs; reads may be answered.
	SessionSafe SessionState = iota + 1
	// SessionJeopardy: the deadline passed without a renewal; the session may
	// be alive or not. Reads are held, flushes do not commit (rule R21).
	SessionJeopardy
	// SessionExpired: the lock service said so. Final.
	SessionExpired
)

// SessionInfo is the service's view of a session.
type SessionInfo struct {
	ID         SessionID
	Name       string // as given to OpenSession: what process this is
	TTL        time.Duration
	State      string // "alive", "revoked" (dead, lease may still run)
	Registered Revision
}

// Session is a client's hold on a session. Its methods may be called
// concurrently.
type Session interface {
	ID() SessionID
	TTL() time.Duration
	// State is computed from the deadline at each call (CLOCK_BOOTTIME, so a
	// suspended machine wakes up in jeopardy). Cheap: fit for every read.
	State() SessionState
	// Changed returns a channel that is closed at the next change of state;
	// call it before State to miss none.
	Changed() <-chan struct{}
	// Expired is closed when the lock service said that the session ended.
	Expired() <-chan struct{}
	// Close ends the session, which proves the process stopped: call it after
	// reads and writes have stopped. It releases locks and ephemeral keys.
	Close(ctx context.Context) error
	// Abandon stops renewing without telling anybody, as a crash would.
	Abandon()
}

// Client is a connection to the lock service. It finds the leader and rides
// through elections within the context's deadline. All methods may be called
// concurrently.
//
// Errors: base.ErrNoLeader where no leader answered in time and the request
// was certainly not applied, base.ErrUndecided where a write may have been
// applied or may yet be, base.ErrInvalid for requests beyond the limits,
// context errors otherwise.
type Client interface {
	// Txn applies t. It retries t verbatim, under the same ID, until a
	// decision is known or ctx ends (ErrUndecided).
	Txn(ctx context.Context, t Txn) (TxnResult, error)

	// Get returns one key; ok is false where it does not exist. The revision
	// is the store's, at which the answer is true.
	Get(ctx context.Context, key string, o ReadOptions) (kv KV, ok bool, rev Revision, err error)

	// List returns the keys in [start, end) ("" as end: to the last), all read
	// from one immutable view, and the revision of that view.
	List(ctx context.Context, start, end string, o ReadOptions) ([]KV, Revision, error)

	// ListRanges is List over several ranges in one view at one revision.
	ListRanges(ctx context.Context, ranges [][2]string, o ReadOptions) ([][]KV, Revision, error)

	// Watch calls f, in order and without gaps, with the changes of the keys
	// in [start, end) after revision from, until ctx ends or f returns an
	// error. It reconnects by itself. base.ErrPrecondition (compacted) means
	// that history from there is gone: list and watch again from the list's
	// revision. f also gets empty responses as progress marks.
	Watch(ctx context.Context, start, end string, from Revision, f func(WatchResponse) error) error

	// OpenSession registers a session and keeps it alive until it is closed,
	// abandoned or expired. The name is for people. TTL 0: the service's
	// default.
	OpenSession(ctx context.Context, name string, ttl time.Duration) (Session, error)

	// Sessions lists the sessions that are alive or revoked.
	Sessions(ctx context.Context) ([]SessionInfo, Revision, error)

	// Revoke ends a session before its TTL. dead says that the process is
	// proved dead (its supervisor reaped it): the session is gone at once;
	// otherwise it is gone after a full TTL (rule R15). Revoking a session
	// that is gone is no error.
	Revoke(ctx context.Context, id SessionID, dead bool) error

	// Lock acquires the named lock for a session, waiting as long as ctx
	// allows; TryLock fails with base.ErrPrecondition where it is held. A
	// lock whose holder failed stays blocked for its lock-delay.
	Lock(ctx context.Context, s Session, name string, o LockOptions) (Sequencer, error)
	TryLock(ctx context.Context, s Session, name string, o LockOptions) (Sequencer, error)
	Unlock(ctx context.Context, s Session, name string) error
	// Locks lists the locks that are held or in delay.
	Locks(ctx context.Context) ([]LockInfo, Revision, error)

	Close() error
}

// LockOptions qualify an acquisition.
type LockOptions struct {
	Shared bool
	// Delay keeps the lock blocked after its holder's session ended without
	// releasing it.
	Delay time.Duration
	// Data is shown to those who ask who holds the lock (an address).
	Data []byte
}

// LockInfo describes one lock.
type LockInfo struct {
	Name       string
	Exclusive  bool
	Generation uint64
	Holders    []SessionID
	Data       []byte
	Delayed    bool // no holder; blocked by lock-delay
}

// PrefixEnd returns the end of the range of all keys that start with prefix.
func PrefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
