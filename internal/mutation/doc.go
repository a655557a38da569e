// Package mutation turns the write requests of the Bigtable API into row
// records: the bytes that go to the commit log and from which the entries of a
// memtable are made.
//
// Requests are read straight from their wire bytes, only as far as needed and
// without message objects; everything a parsed request gives out aliases those
// bytes. AppendRecord validates the mutations of one row against a Schema and
// encodes them once, all or nothing. The record is described in
// docs/format/record.md; Decode reads it.
//
// Nothing here does I/O, blocks or keeps state; all functions may be called
// concurrently. Errors wrap base.ErrInvalid, base.ErrFamilyNotFound or
// base.ErrUnimplemented where the request is to blame, and read word for word
// like those of Cloud Bigtable where they are known; Decode's wrap
// base.ErrCorrupt.
package mutation
