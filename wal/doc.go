// Package wal is the commit log as it lies in the bucket: the bytes of its
// objects, and everything that is done to a log by others than its writer.
//
// A log belongs to one incarnation of a tablet server and is a run of objects
// at positions 0, 1, 2, ... Each position is created once, by create-if-absent,
// with the writer's data or with a seal. The writer (package
// tabletserver/commitlog) acknowledges a position only when it and all before
// it hold its own data; so whoever has placed a seal knows that nothing at or
// past it was or ever will be acknowledged, and finds everything before it.
//
//   - Seal ends a log; racing sealers agree on where.
//   - WriteIndex and ReadIndex condense a sealed log to the extents of each
//     tablet (rule R22).
//   - Replay delivers the records of one tablet to its new owner (rule R5).
//   - Collect deletes the data of a log that nothing names any more; the seal
//     stays for ever (invariant L3).
//   - Objects, ReadObject and Check show and verify a log for tabletadm.
//
// docs/format/log.md draws the formats. The package keeps no state and starts
// no goroutine that outlives a call; all functions may be called concurrently.
package wal
