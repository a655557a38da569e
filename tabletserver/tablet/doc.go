// Package tablet is one tablet as a tablet server holds it: a memtable that
// the commit log backs, runs of SSTables that the manifest lists, and the
// protocol by which they change (rules R1 to R9, R12, R13, R18 and R21).
//
// # Life of a write
//
// Apply encodes the mutations as one record, takes the lock of the row, then
// the tablet's: there the record gets its sequence numbers, goes to the log's
// open batch and into the memtable, in one step (R6). The locks are released
// and the writer waits for its batch. When the log acknowledges it the
// tablet's watermark moves and readers see the record.
//
// # Life of a read
//
// A read checks the session's deadline, takes the present view (an immutable
// set of memtables and files) together with the watermark, and merges them.
// It takes no lock that a writer holds.
//
// # What changes a tablet
//
// Flush and compaction write SSTables, then a manifest, then commit it with a
// transaction on the tablet's record; one such change is under way at a time.
// Then the view is exchanged. A split writes manifests, stops writes for the time
// of one transaction, and gives the memtables to the children; a merge flushes
// both tablets first.
package tablet
