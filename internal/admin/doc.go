// Package admin is tabletadm, the command line of TabletDB for operators and
// for trying things out, as a library: NewCommand returns the tree of commands,
// Run runs it as the main function does.
//
// What only inspects reads the lock service and the bucket directly and works
// while the master, or every tablet server, is down. What changes the schema
// goes through the active master; what reads and writes rows goes to the tablet
// servers.
//
// Answers go to the standard output, as text for people or, with -o json or
// -o yaml, for programs; commands with many answers (get, scan, dumps) print
// one JSON object per line. An error is one line on the standard error, with
// -o json {"error": "...", "exit": N}. The exit codes are those of ExitCode.
//
// Row keys, qualifiers and values with bytes that cannot be printed are shown
// as Go strings in double quotes, and are taken in this form as arguments.
package admin
