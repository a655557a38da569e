//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one program that runs beside the test. It can be started again
// after it ended.
type process struct {
	name string
	args []string // the program first
	env  []string // beside the test's own
	// answers tells whether it is ready; nil: once it printed "serve".
	answers func() bool
	// out and log collect what it prints; log is appended to over restarts.
	out, log string

	mu struct {
		sync.Mutex
		cmd   *exec.Cmd
		ended chan struct{} // closed when it was reaped
		err   error         // how it ended; after ended
	}
}

func newProcess(dir, name string, env []string, args ...string) *process {
	return &process{name: name, args: args, env: env,
		out: filepath.Join(dir, name+".out"), log: filepath.Join(dir, name+".log")}
}

// start starts the process; ready says when it serves.
func (p *process) start(t testing.TB) {
	t.Helper()
	if err := p.run(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
}

func (p *process) run() error {
	out, err := os.Create(p.out)
	if err != nil {
		return err
	}
	defer out.Close()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s %s\n", time.Now().Format(time.StampMilli), strings.Join(p.args, " "))
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.mu.cmd, p.mu.ended = cmd, ended
	p.mu.Unlock()
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.mu.err = err
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

// running reports whether the process was started and has not ended.
func (p *process) running() bool {
	p.mu.Lock()
	ended := p.mu.ended
	p.mu.Unlock()
	if ended == nil {
		return false
	}
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// ready waits until the process serves.
func (p *process) ready(t testing.TB) {
	t.Helper()
	answers := p.answers
	if answers == nil {
		answers = func() bool {
			b, err := os.ReadFile(p.out)
			return err == nil && strings.Contains(string(b), "serve")
		}
	}
	within(t, time.Minute, p.name+" serves", func() error {
		if !p.running() {
			t.Fatalf("%s has ended: %v\n%s", p.name, p.exit(), tail(p.log))
		}
		if !answers() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// signal sends a signal to the process.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	p.mu.Lock()
	cmd := p.mu.cmd
	p.mu.Unlock()
	if cmd == nil {
		t.Fatalf("%s was never started", p.name)
	}
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatalf("%v to %s: %v", s, p.name, err)
	}
}

// kill ends the process without warning, and waits until it is gone.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.wait(t, 10*time.Second)
}

// stop asks the process to end, and waits until it has.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.wait(t, time.Minute)
}

// wait waits for the end of the process, and returns its exit code.
func (p *process) wait(t testing.TB, d time.Duration) int {
	t.Helper()
	p.mu.Lock()
	ended := p.mu.ended
	p.mu.Unlock()
	select {
	case <-ended:
	case <-time.After(d):
		t.Fatalf("%s has not ended within %v\n%s", p.name, d, tail(p.log))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.cmd.ProcessState.ExitCode()
}

func (p *process) exit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.err
}

// end makes sure that the process is gone; for cleaning up.
func (p *process) end() {
	if !p.running() {
		return
	}
	p.mu.Lock()
	cmd, ended := p.mu.cmd, p.mu.ended
	p.mu.Unlock()
	cmd.Process.Signal(syscall.SIGKILL)
	<-ended
}

// tail returns the last lines of a log.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// within calls f until it returns nil, and fails the test when that takes
// longer than d.
func within(t testing.TB, d time.Duration, what string, f func() error) {
	t.Helper()
	if err := poll(t.Context(), d, f); err != nil {
		t.Fatalf("%s: not within %v: %v", what, d, err)
	}
}

// poll calls f until it returns nil, or d is over; then it returns f's error.
func poll(ctx context.Context, d time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
