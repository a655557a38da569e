//go:build e2e && !linux

package e2e

import "syscall"

// childAttributes leaves a process in the test's group, so that Ctrl-C ends it
// too.
func childAttributes() *syscall.SysProcAttr { return nil }
