// Package master is the server that assigns tablets to tablet servers, fails
// them over, creates and alters tables and collects the logs of the dead.
//
// A master keeps no state: all it knows stands in the lock service, and every
// step it takes is one transaction that compares what the step depends on
// (package meta). So it does not matter which master takes a step, or whether
// two believe to be active; the lock only keeps them from doing the same work.
// A master that dies anywhere leaves something that the next one continues.
//
// The active master holds the lock meta.MasterLock; its life from winning to
// losing it is a term. A term keeps a mirror of the records, fed by a watch and
// verified by a slow pass, and reconciles: whatever the mirror shows that
// should not be so starts a job that sets it right. Jobs are named after what
// they work on, one of a name runs at a time, and one that fails is started
// again as long as the reason stands. There is no queue that could be lost.
//
//	shown by the mirror                            job
//	tablets without owner                          assign
//	a log not sealed, or tablets owned, by nobody  recover
//	a sealed log that nothing refers to            collect
//	a sealed log whose index is not known          index
//	a deleted table                                drop
//	a server                                       its peer: heartbeat and hints
//
// The decisions are in master/assign, as pure functions.
package master
