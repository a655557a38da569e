package session

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime reads CLOCK_BOOTTIME, which counts suspend (rule R16).
func Boottime() time.Duration { return read(unix.CLOCK_BOOTTIME) }
