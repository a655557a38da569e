// Package offload lets other processes do the merges of compactions. A Worker
// does them: it has no state, and everything it makes is named and committed by
// the tablet server that asked. A Pool, in each tablet server, knows the
// workers that are alive and hands out jobs.
//
// The names of the files are drawn by the tablet server, one at a time, while
// the worker writes. So they are the server's: in flight from the moment they
// are drawn until its transaction is decided (R4, R12), garbage when it dies
// (R1). The death of a worker concerns nobody but the job it was at.
package offload
