package proc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memory is what a process uses, in bytes.
type Memory struct {
	Resident int64 `json:"resident_bytes"`
	Peak     int64 `json:"peak_bytes"`
}

// Memory reads the use of memory of a process from /proc.
func (p *Process) Memory() (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return Memory{}, fmt.Errorf("read memory of process %d: %w", p.Pid(), err)
	}
	return parseMemory(string(b))
}

func parseMemory(status string) (Memory, error) {
	var m Memory
	for line := range strings.Lines(status) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kb, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "VmRSS:":
			m.Resident = kb << 10
		case "VmHWM:":
			m.Peak = kb << 10
		}
	}
	if m.Resident == 0 {
		return m, fmt.Errorf("read memory of a process: no VmRSS in %d bytes of status", len(status))
	}
	return m, nil
}

// ticksPerSecond is Linux's USER_HZ, which is 100 on all its platforms that Go
// supports.
const ticksPerSecond = 100

// CPU returns the processor time that a process has used.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("read processor time of process %d: %w", p.Pid(), err)
	}
	return parseCPU(string(b))
}

// parseCPU adds up the fields utime and stime of /proc/PID/stat.
func parseCPU(stat string) (time.Duration, error) {
	_, rest, ok := cutLast(stat, ") ") // the name may have blanks and brackets
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("read processor time of a process: %q has too few fields", stat)
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read processor time of a process: %w", err)
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read processor time of a process: %w", err)
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Share returns the share of one processor that a process uses over d.
func (p *Process) Share(ctx context.Context, d time.Duration) (float64, error) {
	before, err := p.CPU()
	if err != nil {
		return 0, err
	}
	from := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(d):
	}
	after, err := p.CPU()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(time.Since(from)), nil
}

// Settle waits until none of the processes uses more than a tenth of a
// processor, so that what one did before does not slow down what another does
// next, or for as long as it may take.
func Settle(ctx context.Context, atMost time.Duration, ps ...*Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, errSettled)
	defer cancel()
	for {
		busy := false
		for _, p := range ps {
			share, err := p.Share(ctx, 200*time.Millisecond)
			if context.Cause(ctx) == errSettled {
				return nil
			}
			if err != nil {
				return err
			}
			busy = busy || share > 0.1
		}
		if !busy {
			return nil
		}
	}
}

// errSettled ends the patience of Settle.
var errSettled = fmt.Errorf("waited long enough")

// Save stores what a status server answers in a file. The path is one of
// /debug/pprof, or /metrics.
func Save(ctx context.Context, statusAddr, path, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+statusAddr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: status %s", path, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		f.Close()
		return fmt.Errorf("get %s: %w", path, err)
	}
	return f.Close()
}
