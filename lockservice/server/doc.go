// Package server is one replica of the lock service: the state machine of
// package state under hashicorp/raft, the leader's lease timers of package
// lease, and the gRPC services of proto/lockpb.
//
// # Life of a write
//
// The leader encodes the command and hands it to Raft; commands of concurrent
// callers share one append and one fsync. Once a majority holds the entry the
// state machine applies it and the caller gets its result. An error of which it
// is not certain that nothing was applied is base.ErrUndecided (rule R4).
//
// # Life of a read
//
// A linearizable read is answered by a leader whose term began with a Barrier,
// from its applied state, after it asked a majority for their terms. The asking
// starts after the read arrived; reads that arrive meanwhile share the next
// round. hashicorp/raft's own VerifyLeader is not used for it: it also counts
// answers to heartbeats that were sent before it was called, and the votes of
// non-voters, either of which can bless a leader that was deposed already.
//
// # Life of a session
//
// Registered by a log entry, whose index is in its id. The leader renews it in
// its own memory only, after the same check as a read; its end is a log entry
// again. A new leader knows no renewals, so it grants every session a full TTL
// after its Barrier (rule R16).
//
// # Directory
//
//	<dir>/raft.db      Raft's log, term and vote (bbolt)
//	<dir>/snapshots/   the last two snapshots (docs/format/lockservice.md)
//
// A replica without a directory keeps all that in memory: for tests, and for
// one that may be lost.
package server
