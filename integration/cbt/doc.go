// Package cbt runs sessions of Google's command-line tool cbt against `tabletd
// emulator` and compares every word of its output. The sessions are in
// testdata:
//
//	# A comment.
//	cbt read t prefix=a
//	----
//	what it prints; "exit 1" is the code; blank lines are "(blank)"
//
// strict.txt runs against an emulator with -strict. All subcommands of cbt
// occur. CBT_UPDATE=1 writes the output that there is
// into the files, to be read before it is believed.
//
// The cbt is that of cloud.google.com/go/bigtable v1.13.0, the last one that is
// part of a module of the Go proxy; directory tool, a module of its own, pins
// it with all it needs. Later ones can also read in reverse order, through
// authorized views, keys only and with statistics, query with SQL, and add to
// aggregates; the requests that this makes are tested with the Go client.
package cbt
