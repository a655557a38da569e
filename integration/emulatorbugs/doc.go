// Package emulatorbugs lists where Google's emulator for Cloud Bigtable (bttest
// of its Go client, v1.58.0, which cbtemulator runs) does the wrong thing, and
// tests that TabletDB does the right one. With EMULATORBUGS_SERVER=host:port the
// server there is tested instead, to see which of the bugs it has.
package emulatorbugs
