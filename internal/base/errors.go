package base

import (
	"errors"
	"time"
)

// The sentinels that cross the network. They live here so that internal/rpc
// can map each to a gRPC code and a reason, once, in both directions; packages
// above alias them where the concept lives. Ask for them with errors.Is.
var (
	// ErrNotServing: the server does not serve the tablet (any more, or yet).
	// The caller drops the location, looks the tablet up and retries.
	ErrNotServing = errors.New("tablet is not served here")
	// ErrWrongTablet: the row lies outside the tablet. Retried like ErrNotServing.
	ErrWrongTablet = errors.New("row lies outside the tablet")
	// ErrFenced: the server lost its log or its session; the outcome of the
	// writes it had pending is unknown to it.
	ErrFenced = errors.New("server is fenced off")
	// ErrUnknownOutcome: the write may or may not have been applied. Only
	// idempotent requests are sent again (rule R13).
	ErrUnknownOutcome = errors.New("outcome of the write is unknown")
	// ErrNotLeader: this replica of the lock service, or this master, is not
	// the active one. The detail names the leader where it is known.
	ErrNotLeader = errors.New("not the leader")
	// ErrNoLeader: the lock service has no leader that answers.
	ErrNoLeader = errors.New("lock service has no leader")
	// ErrOverloaded: the server sheds load; retry after the delay it names.
	ErrOverloaded = errors.New("server is overloaded")
	// ErrUnavailable: a dependency (bucket, peer) does not answer; retry anywhere.
	ErrUnavailable = errors.New("temporarily unavailable")
	// ErrNotFound: the named table, instance, backup, ... does not exist.
	ErrNotFound = errors.New("not found")
	// ErrFamilyNotFound: the table has no such column family.
	ErrFamilyNotFound = errors.New("requested column family not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrInvalid: the request can never succeed; the text says what to change.
	ErrInvalid = errors.New("invalid argument")
	// ErrPrecondition: the request is well-formed but the state forbids it.
	ErrPrecondition = errors.New("precondition failed")
	// ErrPermission: the caller may not do this, whatever the state (a write
	// outside of its authorized view).
	ErrPermission = errors.New("permission denied")
	// ErrAborted: a concurrent change won (an etag or revision did not match).
	ErrAborted = errors.New("aborted by a concurrent change")
	// ErrSessionExpired: the lock service ended the session.
	ErrSessionExpired = errors.New("session expired")
	// ErrUndecided: a transaction got no reply; it may have been applied, or
	// may yet be (rule R4).
	ErrUndecided = errors.New("transaction is undecided")
	// ErrCorrupt marks stored bytes that fail their checksum or do not parse.
	// It is the one marker for corruption; it is never retried. The text names
	// the object.
	ErrCorrupt = errors.New("stored data is corrupt")
	// ErrUnimplemented: not offered by this server.
	ErrUnimplemented = errors.New("not implemented")
)

// LeaderError is ErrNotLeader with the address of the leader where the replica
// knows it ("" else).
type LeaderError struct{ Leader string }

func (e *LeaderError) Error() string {
	if e.Leader == "" {
		return ErrNotLeader.Error()
	}
	return ErrNotLeader.Error() + "; the leader is at " + e.Leader
}

// Is makes errors.Is(err, ErrNotLeader) hold.
func (e *LeaderError) Is(target error) bool { return target == ErrNotLeader }

// OverloadError is ErrOverloaded with the time after which a retry is welcome
// and what there is too much of.
type OverloadError struct {
	After  time.Duration
	Reason string
}

func (e *OverloadError) Error() string {
	return ErrOverloaded.Error() + ": " + e.Reason + "; retry after " + e.After.String()
}

// Is makes errors.Is(err, ErrOverloaded) hold.
func (e *OverloadError) Is(target error) bool { return target == ErrOverloaded }
