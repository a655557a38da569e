package mem

import "github.com/tabletdb/tabletdb/lockservice"

// Fault is what happens to one attempt of a transaction. The client then
// retries verbatim, as the remote one does, except where it says "gives up":
// there the call returns base.ErrUndecided at once, as if its context had
// ended.
type Fault uint8

const (
	// Deliver: the attempt is applied and answered.
	Deliver Fault = iota
	// LoseRequest: not applied, no answer; the client retries.
	LoseRequest
	// LoseReply: applied, no answer; the client retries.
	LoseReply
	// LandLate: no answer; the client retries. The attempt is applied when
	// Client.Land is called.
	LandLate
	// GiveUpLost: never applied; the client gives up.
	GiveUpLost
	// GiveUpApplied: applied; the client gives up.
	GiveUpApplied
	// GiveUpLate: the client gives up; applied when Client.Land is called.
	GiveUpLate
)

// Hook decides the fate of each attempt (counted from 0) of each transaction
// of a client. It may be called concurrently and may block, but must not call
// the client.
type Hook func(t lockservice.Txn, attempt int) Fault

func (f Fault) applies() bool { return f == Deliver || f == LoseReply || f == GiveUpApplied }
func (f Fault) isLate() bool  { return f == LandLate || f == GiveUpLate }
func (f Fault) givesUp() bool { return f >= GiveUpLost }
