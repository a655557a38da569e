// Package bench is the body of tabletbench: it puts load on servers of the
// Bigtable API, compares TabletDB with Google's in-memory emulator, and
// measures what TabletDB promises about its bucket and about idle tablets.
//
// Answers go to the standard output: a table for people, or with --json one
// object per line. Errors go to the standard error. The exit codes are those of
// ExitCode.
package bench
