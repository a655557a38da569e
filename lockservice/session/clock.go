//go:build unix

package session

import (
	"time"

	"golang.org/x/sys/unix"
)

// read panics where the kernel does not have the clock: no lease can be kept
// without one.
func read(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("session: reading the clock: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
