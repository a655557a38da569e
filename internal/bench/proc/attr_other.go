//go:build !linux

package proc

import "syscall"

// attr keeps a terminal's signals from a server, which is stopped in order
// instead.
func attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
