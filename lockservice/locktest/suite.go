// Package locktest is the conformance suite of lockservice.Client: what every
// implementation has to do, whatever it is built of. Every case runs in a
// synctest bubble of its own.
package locktest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
)

// Service is one lock service under test.
type Service interface {
	// NewClient returns a client; the caller closes it.
	NewClient(t *testing.T) lockservice.Client
	// Close stops the service and waits.
	Close(t *testing.T)
}

// env is what a case works with.
type env struct {
	*testing.T
	ctx context.Context
	s   Service
	lockservice.Client
}

var cases = map[string]func(*env){
	"Compares":             testCompares,
	"SessionCompares":      testSessionCompares,
	"TxnOperations":        testTxnOperations,
	"TxnElse":              testTxnElse,
	"TxnOneRevision":       testTxnOneRevision,
	"TxnSameIDOnce":        testTxnSameIDOnce,
	"TxnLimits":            testTxnLimits,
	"Reads":                testReads,
	"OneView":              testOneView,
	"WatchNoGaps":          testWatchNoGaps,
	"WatchRange":           testWatchRange,
	"WatchOneRevision":     testWatchOneRevision,
	"WatchStops":           testWatchStops,
	"SessionLives":         testSessionLives,
	"SessionExpires":       testSessionExpires,
	"SessionCloses":        testSessionCloses,
	"SessionIDsNeverReuse": testSessionIDs,
	"Ephemeral":            testEphemeral,
	"RevokeProved":         testRevokeProved,
	"RevokeUnproved":       testRevokeUnproved,
	"LockExclusive":        testLockExclusive,
	"LockShared":           testLockShared,
	"LockWaits":            testLockWaits,
	"LockDelay":            testLockDelay,
	"LockRevokedBlocks":    testLockRevokedBlocks,
	"LockSequencer":        testLockSequencer,
	"Increments":           testIncrements,
	"Cancelled":            testCancelled,
}

// Run runs the suite; open starts a fresh service inside a bubble.
func Run(t *testing.T, open func(t *testing.T) Service) {
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				e := &env{T: t, ctx: ctx, s: s, Client: s.NewClient(t)}
				f(e)
				cancel()
				e.Client.Close()
				s.Close(t)
			})
		})
	}
}
