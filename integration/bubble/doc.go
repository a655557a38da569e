// Package bubble tests whole clusters in testing/synctest bubbles: every role,
// over a network in memory, in fake time.
package bubble
