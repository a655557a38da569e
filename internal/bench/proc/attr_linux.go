package proc

import "syscall"

// attr keeps a terminal's signals from a server, which is stopped in order
// instead, and lets it die with this process.
func attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
