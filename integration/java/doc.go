// Package java runs Google's Bigtable client for Java, at the version that
// pom.xml pins, against `tabletd emulator`. BigtableTest.java has the tests; the
// Go test behind the build tag "e2e" starts the server, and Maven, which fetches
// the client and runs them:
//
//	make java
package java
