package local

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// isOwnFileSystem reports whether path is on a file system that a machine has
// for itself, so that names in it stay for as long as the machine runs.
func isOwnFileSystem(path string) bool {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return false
	}
	switch uint32(st.Type) {
	case 0xef53, // ext2, ext3, ext4
		0x58465342, // xfs
		0x9123683e, // btrfs
		0xf2f52010, // f2fs
		0x01021994, // tmpfs
		0x794c7630: // overlayfs
		return true
	}
	return false
}

// hostID names this machine, in this life, and the device that holds path.
func hostID(path string) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fmt.Sprintf("%s %d\n", strings.TrimSpace(string(boot)), st.Dev), nil
}

// preallocate gives f n bytes of zeros from off on, with their blocks.
func preallocate(f *os.File, off, n int64) error {
	err := control(f, func(fd int) error { return syscall.Fallocate(fd, 0, off, n) })
	if errors.Is(err, syscall.EOPNOTSUPP) {
		err = f.Truncate(off + n)
	}
	return err
}

// lockFile locks f for this process, for as long as f is open; it fails where
// another has it.
func lockFile(f *os.File) error {
	return control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
}

// waitForLock is lockFile that waits.
func waitForLock(f *os.File) error {
	return control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX) })
}

// control calls a system call on the descriptor of f until it is not
// interrupted.
func control(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); !errors.Is(callErr, syscall.EINTR) {
				return
			}
		}
	})
	return errors.Join(callErr, err)
}
