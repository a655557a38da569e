// Package base is the vocabulary of TabletDB: the identifiers, numbers, cell
// keys and error sentinels that every other package speaks. It imports nothing
// of ours and does no I/O.
package base
