// Package load puts load on a table and measures what comes back: closed loops
// of workers (or, with a rate, open ones), a warm-up that does not count,
// latencies in HDR histograms, errors by code.
//
// Every value is a function of its row and its version, and the version is the
// cell's timestamp in milliseconds. So a reader can tell a right value from a
// wrong one without asking who wrote it, and, in the process that wrote, a
// present one from a lost one.
package load
