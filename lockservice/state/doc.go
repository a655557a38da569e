// Package state is the lock service's state machine: keys, sessions, locks and
// the decisions of recent transactions. It is pure: it does no I/O and reads no
// clock, and the same commands at the same indexes give the same state and the
// same results on every replica.
//
// Machine is the state itself and belongs to one goroutine. Store wraps a
// Machine for concurrent use: one goroutine at a time applies, any number read
// immutable Views and wait for changes.
//
// Life of a session: alive -> gone (it expired, closed itself, or was revoked
// with proof of death), or alive -> revoked -> gone, where "revoked" is dead
// but its lease may still run, and the leader proposes EndLease a full TTL
// later (rule R15). A session that is gone leaves no record: an id that was
// issued and is not in the table is gone.
package state
