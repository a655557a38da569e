package local

import (
	"errors"
	"os"
	"syscall"
)

// syncData makes the content of f durable, and its size, which is all of its
// metadata that reading needs. It is fdatasync, which saves the journal the time
// stamps.
func syncData(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		for {
			syncErr = syscall.Fdatasync(int(fd))
			if !errors.Is(syncErr, syscall.EINTR) {
				return
			}
		}
	})
	if syncErr != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: syncErr}
	}
	return err
}
