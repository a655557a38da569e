//go:build !linux

package local

import (
	"errors"
	"os"
)

// isOwnFileSystem: there are no packs on other systems than Linux.
func isOwnFileSystem(string) bool { return false }

var errNoPacks = errors.New("packs are supported on Linux only; they may hold commit logs that are not flushed: open the directory there first")

func hostID(string) (string, error) { return "", errNoPacks }

func preallocate(*os.File, int64, int64) error { return errNoPacks }

func lockFile(*os.File) error { return errNoPacks }

func waitForLock(*os.File) error { return errNoPacks }
