package membudget

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Machine returns how much memory this process can have, in bytes, as the files
// below root ("/" of the machine) tell: that of the machine, or what the control
// group of the process (version 1 or 2) limits it to, in which case limited is
// true. 0: it cannot be told.
func Machine(root fs.FS) (bytes int64, limited bool) {
	bytes = memTotal(root)
	if n := groupLimit(root); n > 0 && (bytes == 0 || n < bytes) {
		return n, true
	}
	return bytes, false
}

// memTotal reads MemTotal of /proc/meminfo.
func memTotal(root fs.FS) int64 {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) >= 2 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// groupLimit returns the lowest limit of the process's control groups, 0 where
// there is none.
func groupLimit(root fs.FS) (lowest int64) {
	lower := func(file string) {
		b, err := fs.ReadFile(root, file)
		if err != nil {
			return
		}
		// "max", and the huge numbers that version 1 has for it, are no limit.
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err == nil && n > 0 && n < 1<<60 && (lowest == 0 || n < lowest) {
			lowest = n
		}
	}
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, file := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "":
			dir, file = "sys/fs/cgroup", "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"):
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// A group is bound by all above it. In a container the path may be that
		// of the host, and the group is mounted at the top.
		for p := path.Clean("/" + parts[2]); ; p = path.Dir(p) {
			lower(path.Join(dir, p, file))
			if p == "/" {
				break
			}
		}
	}
	return lowest
}
