// Package npm runs Google's Bigtable client for Node.js, at the version that
// package.json pins, against `tabletd emulator`. bigtable.test.js has the tests;
// the Go test behind the build tag "e2e" installs the client, starts the server
// and runs them:
//
//	make npm
package npm
