// Package conformance runs the integration tests of Google's own Bigtable
// client for Go against TabletDB. The tests come from the module cache, at the
// version go.mod names, and are built where they lie; each runs in a process of
// its own against a fresh cluster. All but the slow ones are part of
//
//	make test
//
// with a cluster inside the test's process. All of them, against `tabletd dev`
// as a process, are behind the build tag "conformance":
//
//	make conformance
//
// Environment variables of the latter:
//
//	CONFORMANCE_DIR    where logs are kept (default: the user's cache)
//	CONFORMANCE_RUN    regular expression of the tests to run (default: all)
//	CONFORMANCE_TABLE  where the table of results goes (default: results.txt
//	                   in CONFORMANCE_DIR)
//	TABLETD            the server to test (default: bin/tabletd)
//
// What cannot pass, and why, stands in the list of exemptions; a test that is
// not in it and fails, fails the run.
package conformance
