// Package python runs Google's Bigtable client for Python, at the versions that
// requirements.txt pins, against `tabletd emulator`. test_bigtable.py has the
// tests; the Go test behind the build tag "e2e" installs the client into the
// directory venv, starts the server and runs them:
//
//	make python
package python
