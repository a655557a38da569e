// Package commitlog is the writer of a tablet server's commit log: one log per
// incarnation, into which all its tablets append, one object of the bucket per
// batch of records.
//
// # Life of a record
//
// A tablet, under its own lock, gives a record its sequence numbers and calls
// Stream.Append (rule R6), which copies the body into the open batch and
// returns. The driver, a goroutine of the log, closes the batch: when nothing is
// in flight (at once, or as soon as the writers whose records were just
// acknowledged are back, for at most an eighth of an upload), when it is full,
// or when it has waited for the linger and an upload is free. It groups the records by tablet, so that a loader
// fetches one extent per tablet, and uploads the object with create-if-absent
// at the batch's position. When that position and all before it hold the log's
// own data the batch is acknowledged: each stream's callback moves its tablet's
// watermark, then the waiters wake.
//
// # What is promised
//
//   - An acknowledged record is in the bucket before any seal (invariant L1),
//     and acknowledgement is in order of position (L2).
//   - A position names one sequence of bytes for ever: every retry and hedge
//     sends the same, no position is skipped.
//   - When a position turns out to hold a seal, or another's data, the log is
//     fenced: nothing is acknowledged any more, everything pending fails.
//   - While the bucket does not answer the log stalls; it never drops or gives
//     up (rule R20). Stats tells since when.
//
// # Parts
//
// The decisions are those of a pure state machine (core.go), which is told what
// happened and answers what to do; drive.go does it. The bytes of the objects,
// sealing and replay are package wal's.
package commitlog
