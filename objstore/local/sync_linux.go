package local

import (
	"os"
	"syscall"
)

// syncData makes the content of f durable, and its size, which is all of its
// metadata that reading needs. It is fdatasync, which saves the journal the time
// stamps.
func syncData(f *os.File) error {
	if err := control(f, syscall.Fdatasync); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
