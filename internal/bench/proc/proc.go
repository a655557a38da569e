// Package proc runs servers as processes of their own and looks at what they
// use: memory, processor time, profiles.
package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a server that runs. Its methods may be called concurrently.
type Process struct {
	cmd    *exec.Cmd
	output *tail
	ended  chan struct{}
	err    error // of the process; valid when ended is closed
}

// Command is a process to start.
type Command struct {
	Path string
	Args []string
	Env  []string // in addition to this process's
	// Ready is called with each line of the standard output until it returns
	// true, which means that the server serves.
	Ready func(line string) bool
	// Within limits the time until then; 0 is a minute.
	Within time.Duration
}

// Start starts a process and returns when it is ready.
func Start(ctx context.Context, c Command) (*Process, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = attr()
	p := &Process{cmd: cmd, output: &tail{}, ended: make(chan struct{})}
	cmd.Stderr = p.output
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	ready := make(chan struct{})
	go p.follow(out, c.Ready, ready)
	if c.Within == 0 {
		c.Within = time.Minute
	}
	timer := time.NewTimer(c.Within)
	defer timer.Stop()
	select {
	case <-ready:
		return p, nil
	case <-p.ended:
		err = p.failure()
	case <-timer.C:
		err = fmt.Errorf("not ready after %v", c.Within)
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.Kill()
	return nil, fmt.Errorf("start %s: %w; it said: %s", c.Path, err, p.Output())
}

// follow reads the standard output and waits for the end of the process.
func (p *Process) follow(out io.Reader, isReady func(string) bool, ready chan<- struct{}) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if isReady != nil && isReady(lines.Text()) {
			isReady = nil
			close(ready)
		}
		fmt.Fprintln(p.output, lines.Text())
	}
	io.Copy(io.Discard, out) // after a line too long to scan; the process must not block
	p.err = p.cmd.Wait()
	close(p.ended)
}

func (p *Process) failure() error {
	if p.err == nil {
		return errors.New("it has ended")
	}
	return p.err
}

// Pid returns the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Alive reports whether the process runs.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Output returns the last lines that the process wrote.
func (p *Process) Output() string { return p.output.String() }

// Kill ends the process at once, as a crash would, and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // fails only if it has ended
	<-p.ended
}

// Stop asks the process to stop and waits for its end; after a while it is
// killed, which is an error.
func (p *Process) Stop(within time.Duration) error {
	if !p.Alive() {
		return fmt.Errorf("process %d had ended: %w; it said: %s", p.Pid(), p.failure(), p.Output())
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", p.Pid(), err)
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("process %d did not stop within %v; it said: %s", p.Pid(), within, p.Output())
	}
	if p.err != nil {
		return fmt.Errorf("process %d: %w; it said: %s", p.Pid(), p.err, p.Output())
	}
	return nil
}

// FreeAddr returns a loopback address with a port that nobody uses at present.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// tailBytes is how much of a server's output is kept.
const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > 2*tailBytes {
		t.b = append([]byte(nil), t.b[len(t.b)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.b
	if len(b) > tailBytes {
		b = b[len(b)-tailBytes:]
	}
	return strings.TrimSpace(string(b))
}
