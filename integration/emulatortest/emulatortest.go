// Package emulatortest starts `tabletd emulator` for tests of other programs
// against it.
package emulatortest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Build builds tabletd and returns where it is; the environment variable
// TABLETD may name one that is there. It is removed when the test ends.
func Build(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("TABLETD"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "tabletd")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, "github.com/tabletdb/tabletdb/cmd/tabletd")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tabletd: %v\n%s", err, out)
	}
	return bin
}

// Start starts an emulator in memory and returns its address, as
// BIGTABLE_EMULATOR_HOST wants it. When the test ends it is asked to end; that
// it does so in order, and has logged no error, is part of the test.
func Start(t *testing.T, tabletd string, args ...string) (addr string) {
	t.Helper()
	cmd := exec.Command(tabletd, append([]string{"emulator", "-host", "127.0.0.1", "-port", "0"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the emulator: %v", err)
	}
	t.Cleanup(func() { stop(t, cmd, &stderr) })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the emulator says nothing: %v", err)
	}
	return strings.TrimSpace(line[strings.LastIndex(line, " ")+1:])
}

// stop ends an emulator.
func stop(t *testing.T, cmd *exec.Cmd, stderr *bytes.Buffer) {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("the emulator has ended before: %v", err)
	}
	kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the emulator: %v", err)
	}
	if stderr.Len() > 0 {
		t.Errorf("the emulator's log:\n%s", stderr.String())
	}
}
