//go:build e2e && linux

package e2e

import "syscall"

// childAttributes puts a process out of reach of the terminal's signals, so
// that Ctrl-C reaches the test alone, and lets it end with the test.
//
// The kernel sends the signal when the thread that started the process ends.
// Go ends a thread only when a goroutine that is locked to it returns; there is
// none here.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
