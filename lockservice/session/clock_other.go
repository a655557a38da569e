//go:build unix && !linux

package session

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime reads CLOCK_MONOTONIC, which counts suspend on Darwin; on other
// systems a machine that was suspended may believe in its lease for too long.
func Boottime() time.Duration { return read(unix.CLOCK_MONOTONIC) }
