// Package sstable is the immutable, sorted file of cells: its writer, reader,
// iterators and block cache. Keys are the cell keys of internal/base.
//
// A file is written in one piece from memory. Its tail (filters, index,
// properties, footer) is contiguous, so that opening costs one ranged read
// where the caller knows the offset, and a point read one more, of one block.
// docs/format/sstable.md draws the bytes.
//
// Stored bytes that fail a checksum or do not parse give an error that wraps
// base.ErrCorrupt and names the object and the offset; they never make this
// package panic or return other cells than were written.
package sstable
