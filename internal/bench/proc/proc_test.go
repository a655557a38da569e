package proc

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParseMemory(t *testing.T) {
	m, err := parseMemory("Name:\ttabletd\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n")
	if err != nil || m.Resident != 1<<20 || m.Peak != 2<<20 {
		t.Errorf("parseMemory = %+v, %v", m, err)
	}
	if _, err := parseMemory("Name:\tx\n"); err == nil {
		t.Error("a status without VmRSS passes")
	}
}

func TestParseCPU(t *testing.T) {
	d, err := parseCPU("42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 1000 0 0")
	if err != nil || d != 2*time.Second {
		t.Errorf("parseCPU = %v, %v; want 2s", d, err)
	}
	for _, bad := range []string{"", "42 (x) S 1 2", "42 (x) S 1 42 42 0 -1 4194560 100 0 0 0 a 50 0 0 20"} {
		if d, err := parseCPU(bad); err == nil {
			t.Errorf("parseCPU(%q) = %v", bad, d)
		}
	}
}

func shell(t *testing.T, script string) Command {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	return Command{Path: sh, Args: []string{"-c", script}, Ready: func(line string) bool { return line == "ready" }}
}

func TestProcessIsFollowed(t *testing.T) {
	p, err := Start(t.Context(), shell(t, "echo first; echo ready; trap 'echo bye >&2; exit 0' TERM; while :; do sleep 0.01; done"))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("a process that runs is not alive")
	}
	if _, err := os.Stat("/proc/self/status"); err == nil {
		if m, err := p.Memory(); err != nil || m.Resident == 0 {
			t.Errorf("Memory = %+v, %v", m, err)
		}
		if _, err := p.CPU(); err != nil {
			t.Error(err)
		}
	}
	if err := p.Stop(20 * time.Second); err != nil {
		t.Error(err)
	}
	if o := p.Output(); !strings.Contains(o, "first") || !strings.Contains(o, "bye") {
		t.Errorf("output %q", o)
	}
	if p.Alive() {
		t.Error("a process that was stopped is alive")
	}
	if err := p.Stop(time.Second); err == nil {
		t.Error("a process was stopped twice")
	}
}

func TestFailuresToStartSayWhy(t *testing.T) {
	if _, err := Start(t.Context(), shell(t, "echo no such luck >&2; exit 3")); err == nil ||
		!strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
	c := shell(t, "while :; do sleep 0.01; done")
	c.Within = 20 * time.Millisecond
	if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("error %v", err)
	}
	if _, err := Start(t.Context(), Command{Path: "/no/such/program"}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var o tail
	for range 100 {
		o.Write([]byte(strings.Repeat("x", 1000) + "\n"))
	}
	o.Write([]byte("the end\n"))
	if s := o.String(); !strings.HasSuffix(s, "the end") || len(s) > tailBytes {
		t.Errorf("%d bytes, ending %q", len(s), s[len(s)-20:])
	}
}
