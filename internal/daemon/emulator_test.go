package daemon

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
)

// runAsDaemon makes the test binary tabletd: its arguments are tabletd's.
const runAsDaemon = "TABLETDB_TEST_RUN_AS_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(runAsDaemon) != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr, "test"))
	}
	os.Exit(m.Run())
}

// emulator is a process that runs `tabletd emulator`.
type emulator struct {
	*testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bytes.Buffer
	addr   string
}

func command(t *testing.T, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), runAsDaemon+"=1")
	return cmd
}

// start runs an emulator until it says that it is ready.
func start(t *testing.T, args ...string) *emulator {
	t.Helper()
	e := &emulator{T: t, cmd: command(t, append([]string{"emulator"}, args...)...), stderr: &bytes.Buffer{}}
	e.cmd.Stderr = e.stderr
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	e.stdout = bufio.NewReader(out)
	began := time.Now()
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.cmd.Process.Kill(); e.cmd.Wait() })
	line, err := e.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("no line on stdout: %v; stderr: %s", err, e.stderr)
	}
	t.Logf("ready after %v", time.Since(began))
	addr, ok := strings.CutPrefix(line, "Cloud Bigtable emulator running on ")
	if !ok {
		t.Fatalf("it says %q", line)
	}
	e.addr = strings.TrimSuffix(addr, "\n")
	return e
}

// client returns the official client.
func (e *emulator) client(ctx context.Context) (*bigtable.Client, *bigtable.AdminClient) {
	e.Helper()
	target := e.addr
	if strings.HasPrefix(target, "/") {
		target = "unix://" + target
	}
	e.Setenv("BIGTABLE_EMULATOR_HOST", target)
	admin, err := bigtable.NewAdminClient(ctx, "p", "i")
	if err != nil {
		e.Fatal(err)
	}
	c, err := bigtable.NewClient(ctx, "p", "i")
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { admin.Close(); c.Close() })
	return c, admin
}

// terminate ends the emulator as a test suite does and checks how it goes.
func (e *emulator) terminate(sig os.Signal) {
	e.Helper()
	if err := e.cmd.Process.Signal(sig); err != nil {
		e.Fatal(err)
	}
	rest, err := io.ReadAll(e.stdout)
	if err != nil {
		e.Fatal(err)
	}
	if err := e.cmd.Wait(); err != nil {
		e.Fatalf("%v; stderr: %s", err, e.stderr)
	}
	if want := "Cloud Bigtable emulator running on " + e.addr + " is now shutting down\n"; string(rest) != want {
		e.Errorf("last words %q, want %q", rest, want)
	}
	if e.stderr.Len() > 0 {
		e.Errorf("stderr: %s", e.stderr)
	}
}

func write(ctx context.Context, c *bigtable.Client, row, value string) error {
	m := bigtable.NewMutation()
	m.Set("f", "q", bigtable.Now(), []byte(value))
	return c.Open("t").Apply(ctx, row, m)
}

func read(ctx context.Context, c *bigtable.Client, row string) (string, error) {
	r, err := c.Open("t").ReadRow(ctx, row)
	if err != nil || len(r["f"]) == 0 {
		return "", err
	}
	return string(r["f"][0].Value), nil
}

// use makes a table, writes a row and reads it.
func (e *emulator) use() {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), 30*time.Second)
	defer cancel()
	c, admin := e.client(ctx)
	if err := admin.CreateTableFromConf(ctx, &bigtable.TableConf{TableID: "t", Families: map[string]bigtable.GCPolicy{"f": bigtable.MaxVersionsPolicy(1)}, SplitKeys: []string{"m"}}); err != nil {
		e.Fatal(err)
	}
	for _, row := range []string{"a", "z"} {
		if err := write(ctx, c, row, "value of "+row); err != nil {
			e.Fatal(err)
		}
		if v, err := read(ctx, c, row); err != nil || v != "value of "+row {
			e.Fatalf("%s: %q, %v", row, v, err)
		}
	}
}

func TestEmulator(t *testing.T) {
	for name, args := range map[string][]string{
		"one dash":   {"-host", "127.0.0.1", "-port", "0"},
		"two dashes": {"--host=127.0.0.1", "--port=0"},
		"defaults":   {"-port=0"},
		"address":    {"-address", "127.0.0.1:0", "-host", "nowhere.invalid"},
		"socket":     {"-address", filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, args...)
			if host, _, err := net.SplitHostPort(e.addr); name != "socket" && (err != nil || !net.ParseIP(host).IsLoopback()) {
				t.Errorf("it serves on %q", e.addr)
			}
			e.use()
			e.terminate(syscall.SIGTERM)
		})
	}
}

// TestEmulatorKeeps: what was acknowledged is there after a crash as after an
// orderly end, whatever port the next one gets.
func TestEmulatorKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	e := start(t, "-port", "0", "-data", dir)
	e.use()
	if err := e.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e.cmd.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e = start(t, "-port", "0", "-data", dir)
	c, _ := e.client(ctx)
	if v, err := read(ctx, c, "a"); err != nil || v != "value of a" {
		t.Fatalf("after a crash: %q, %v", v, err)
	}
	if err := write(ctx, c, "a", "second"); err != nil {
		t.Fatal(err)
	}
	second := command(t, "emulator", "-port", "0", "-data", dir)
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "used by another process") {
		t.Errorf("a second one on the same directory: %v, %s", err, out)
	}
	e.terminate(os.Interrupt)

	e = start(t, "-port", "0", "-data", dir)
	c, _ = e.client(ctx)
	if v, err := read(ctx, c, "a"); err != nil || v != "second" {
		t.Fatalf("after an orderly end: %q, %v", v, err)
	}
	e.terminate(syscall.SIGTERM)
}

func TestEmulatorUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"unknown flag": {[]string{"-nonsense"}, ExitUsage, "nonsense"},
		"bad port":     {[]string{"-port", "70000"}, ExitUsage, "port"},
		"argument":     {[]string{"extra"}, ExitUsage, "extra"},
		"log level":    {[]string{"-log-level=loud"}, ExitUsage, "--log-level"},
		"taken":        {[]string{"-address", taken.Addr().String()}, ExitError, "address already in use"},
		"help":         {[]string{"-help"}, ExitOK, "cbtemulator"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := Main(append([]string{"emulator"}, c.args...), &stdout, &stderr, "test"); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if out := stdout.String() + stderr.String(); !strings.Contains(out, c.says) || strings.Contains(out, "running on") {
				t.Errorf("it says %q", out)
			}
		})
	}
}

func TestEmulatorArgs(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"emulator -host ::1 -port 9", "emulator --host ::1 --port 9"},
		{"emulator -port=9 --data d", "emulator --port=9 --data d"},
		{"emulator -h", "emulator -h"},
		{"dev -port", "dev -port"},
		{"", ""},
	} {
		if got := emulatorArgs(strings.Fields(c.args)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: %q", c.args, got)
		}
	}
	for _, c := range []struct {
		o    emulatorOptions
		want string
	}{
		{emulatorOptions{host: "localhost", port: 9000}, "localhost:9000"},
		{emulatorOptions{host: "[::1]", port: 1}, "[::1]:1"},
		{emulatorOptions{host: "::1", port: 1}, "[::1]:1"},
		{emulatorOptions{host: "h", address: ":7"}, ":7"},
		{emulatorOptions{address: "/tmp/s"}, "unix:/tmp/s"},
	} {
		if got := c.o.listen(); got != c.want {
			t.Errorf("%+v listens on %s, want %s", c.o, got, c.want)
		}
	}
}
