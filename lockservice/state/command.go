package state

import (
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
)

// Command is one entry of the replicated log: exactly one of the types of this
// file. Commands are immutable once applied or encoded.
type Command interface{ kind() commandKind }

type commandKind uint8

const (
	kindTxn commandKind = iota + 1
	kindRegister
	kindEndSession
	kindEndLease
	kindAcquire
	kindRelease
	kindEndDelay
	kindSetGeneration
	kindEndOldLeases
	kindMax
)

// Txn applies a transaction. It fills Result.Txn.
type Txn struct {
	lockservice.Txn
	// Retry says that the client had sent the transaction before.
	Retry bool
}

// Register registers a session. It fills Result.Session.
type Register struct {
	Name string
	TTL  time.Duration
}

// EndReason says why a session ends.
type EndReason uint8

const (
	// EndExpired: the leader saw the lease run out.
	EndExpired EndReason = iota + 1
	// EndClosed: the process closed its session after it stopped.
	EndClosed
	// EndRevoked: somebody revoked it; its lease may still run.
	EndRevoked
	// EndProvedDead: revoked by one who knows the process dead.
	EndProvedDead
)

// EndSession ends a session. It fills Result.Ended.
type EndSession struct {
	ID     lockservice.SessionID
	Reason EndReason
}

// EndLease says that a full TTL has passed since the session was revoked
// (rule R15): it is gone. It fills Result.Ended.
type EndLease struct{ ID lockservice.SessionID }

// Acquire tries to take a lock. It fills
// Result.OK and Result.Lock.
type Acquire struct {
	Session lockservice.SessionID
	Name    string
	Shared  bool
	Delay   time.Duration
	Data    []byte
}

// Release gives a lock back. It fills Result.OK.
type Release struct {
	Session lockservice.SessionID
	Name    string
}

// EndDelay says that the lock-delay of a lock is over, if it still is at
// Generation. It has no result.
type EndDelay struct {
	Name       string
	Generation uint64
}

// SetGeneration starts a generation of the lock service (rule R17), at
// bootstrap and after a restore. Every session of an older generation ends as
// if revoked; revisions and lock generations jump past all that an older
// generation can have issued; history is forgotten. It has no result.
type SetGeneration struct{ Generation uint32 }

// EndOldLeases says that the longest TTL has passed since the generation
// started: sessions of older generations of which nothing is known are gone.
// It has no result.
type EndOldLeases struct{ Generation uint32 }

func (*Txn) kind() commandKind           { return kindTxn }
func (*Register) kind() commandKind      { return kindRegister }
func (*EndSession) kind() commandKind    { return kindEndSession }
func (*EndLease) kind() commandKind      { return kindEndLease }
func (*Acquire) kind() commandKind       { return kindAcquire }
func (*Release) kind() commandKind       { return kindRelease }
func (*EndDelay) kind() commandKind      { return kindEndDelay }
func (*SetGeneration) kind() commandKind { return kindSetGeneration }
func (*EndOldLeases) kind() commandKind  { return kindEndOldLeases }

// Result is what applying a command gave. Err is a deterministic refusal
// (base.ErrInvalid, base.ErrSessionExpired); the command then changed nothing.
type Result struct {
	Err     error
	Txn     lockservice.TxnResult
	Session lockservice.SessionInfo // of Register
	Ended   bool                    // EndSession, EndLease: the state changed
	Lock    lockservice.Sequencer   // of Acquire
	OK      bool                    // Acquire: taken; Release: it was held
}

// Limits of what one command may hold, besides those of a transaction.
const (
	MaxNameBytes     = 1 << 10
	MaxLockDataBytes = 64 << 10
	MaxLockDelay     = time.Minute
	MaxSessions      = 100_000
	// MaxTTL bounds the lease of every session, so that the leases of unknown
	// sessions of an older generation are surely over after it.
	MaxTTL = time.Minute
)
