// Package tabletserver is the server that serves tablets: it holds a session
// with the lock service, writes one commit log, loads the tablets that the
// master assigns to it, answers their reads and writes, and keeps them in shape
// (flushes, compactions, truncation of its log).
//
// A server lives as long as its session: when the session expires, or the log
// finds itself sealed, it stops serving for good (Done) and whoever runs it
// opens another one, with a new incarnation.
package tabletserver
