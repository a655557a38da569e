//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	module = "cloud.google.com/go/bigtable"
	// perTest is how long one of Google's tests may take.
	perTest = 120 * time.Second
	// project, instance and cluster need not be created: they exist by use.
	project, instance, clusterID = "proj", "inst", "inst-c1"
	// keyring names a key ring for the test of encryption, which no one asks.
	keyring = "projects/proj/locations/us-central1/keyRings/ring"
)

// unusable are tests that are not about a server, or about what only Google's
// network has.
var unusable = regexp.MustCompile(`SessionVRpc|ExportBuiltIn|DirectPath|NewClientWithEmul`)

// overTLS are the tests that run as against the service itself, over TLS:
// with an emulator the client limits messages to 4 MiB, and takes whole rows
// only, so that it could not read a row of 5 MiB from anybody.
var overTLS = []string{"TestIntegration_LargeReadsWritesAndScans"}

// exempt are the tests that may fail, with the reason.
var exempt = map[string]string{
	"TestIntegration_DataMaterializedView": "materialized views are kept as definitions and not filled",
}

// result is what became of one test.
type result struct {
	name, outcome, detail string
	took                  time.Duration
}

func TestConformance(t *testing.T) {
	dir := workDir(t)
	bin := build(t, dir)
	pattern, err := regexp.Compile(os.Getenv("CONFORMANCE_RUN"))
	if err != nil {
		t.Fatal(err)
	}
	var results []result
	for _, name := range list(t, bin) {
		if unusable.MatchString(name) || !pattern.MatchString(name) {
			continue
		}
		r := runOne(t, dir, bin, name)
		t.Logf("%-70s %s %s", r.name, r.outcome, r.detail)
		results = append(results, r)
		if reason := exempt[name]; r.outcome != "pass" && reason == "" {
			t.Errorf("%s: %s: %s (log: %s)", name, r.outcome, r.detail, logFile(dir, name))
		} else if r.outcome == "pass" && reason != "" {
			t.Logf("%s passes and need not be exempt any more", name)
		}
	}
	table := render(results)
	out := os.Getenv("CONFORMANCE_TABLE")
	if out == "" {
		out = filepath.Join(dir, "results.txt")
	}
	if err := os.WriteFile(out, []byte(table), 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Println(table)
}

func render(results []result) string {
	var b strings.Builder
	passed := 0
	for _, r := range results {
		if r.outcome == "pass" {
			passed++
		}
		detail := r.detail
		if reason := exempt[r.name]; reason != "" && r.outcome != "pass" {
			detail = "(exempt: " + reason + ") " + detail
		}
		fmt.Fprintf(&b, "%-70s %-8s %6.1fs  %s\n", r.name, r.outcome, r.took.Seconds(), detail)
	}
	fmt.Fprintf(&b, "%d of %d pass\n", passed, len(results))
	return b.String()
}

func workDir(t *testing.T) string {
	dir := os.Getenv("CONFORMANCE_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "tabletdb-conformance")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// build copies the module out of the cache, where nothing can be built, and
// builds its tests, unless that was done before.
func build(t *testing.T, dir string) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", module, err)
	}
	version, src, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok {
		t.Fatalf("module %s is not in the module cache: run go mod download", module)
	}
	work := filepath.Join(dir, "bigtable@"+version)
	bin := filepath.Join(work, "bt.test")
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	if err := copyTree(src, work); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-c", "-o", bin, ".")
	cmd.Dir, cmd.Env = work, append(os.Environ(), "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build Google's tests: %v\n%s", err, out)
	}
	return bin
}

// copyTree copies files, which become writable.
func copyTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
}

func list(t *testing.T, bin string) []string {
	cmd := exec.Command(bin, "-test.list", "^TestIntegration_")
	cmd.Dir = filepath.Dir(bin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list Google's tests: %v", err)
	}
	names := strings.Fields(string(out))
	slices.Sort(names)
	return names
}

func logFile(dir, name string) string { return filepath.Join(dir, name+".log") }

// runOne runs one test against a server of its own.
func runOne(t *testing.T, dir, bin, name string) result {
	r := result{name: name, outcome: "fail"}
	addr, stop, err := serve(t, filepath.Join(dir, name+".server.log"))
	if err != nil {
		r.detail = err.Error()
		return r
	}
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), perTest)
	defer cancel()
	args := []string{"-test.run", "^" + name + "$", "-test.v", "-it.use-prod", "-it.project=" + project, "-it.instance=" + instance, "-it.cluster=" + clusterID}
	env := append(os.Environ(), "GCLOUD_TESTS_BIGTABLE_KEYRING="+keyring)
	if slices.Contains(overTLS, name) {
		endpoint, more := front(t, addr)
		args = append(args, "-it.data-endpoint="+endpoint, "-it.admin-endpoint="+endpoint)
		env = append(env, more...)
	} else {
		env = append(env, "BIGTABLE_EMULATOR_HOST="+addr)
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Env = filepath.Dir(bin), env
	// A client that is not told of an emulator wants to report its metrics
	// before it exits, for minutes, to a place that does not exist here.
	o := &output{done: cancel}
	cmd.Stdout, cmd.Stderr = o, o
	began := time.Now()
	err = cmd.Run()
	r.took = time.Since(began)
	out := o.buf.Bytes()
	if werr := os.WriteFile(logFile(dir, name), out, 0o644); werr != nil {
		t.Fatal(werr)
	}
	switch {
	case o.ended && bytes.Contains(out, []byte("--- PASS: "+name+" ")):
		r.outcome = "pass"
	case !o.ended && ctx.Err() != nil:
		r.outcome, r.detail = "timeout", reason(out, nil)
	case err != nil:
		r.detail = reason(out, err)
	case bytes.Contains(out, []byte("--- SKIP: "+name+" ")):
		r.outcome, r.detail = "skip", reason(out, nil)
	default:
		r.detail = "no verdict"
	}
	return r
}

// output collects what a test prints and calls done when its verdict is there.
type output struct {
	buf   bytes.Buffer // not embedded: its ReadFrom would go around Write
	done  func()
	ended bool
}

var verdict = regexp.MustCompile(`(?m)^(PASS|FAIL)$`)

func (o *output) Write(b []byte) (int, error) {
	n, err := o.buf.Write(b)
	if !o.ended && verdict.Match(o.buf.Bytes()[max(0, o.buf.Len()-n-8):]) {
		o.ended = true
		o.done()
	}
	return n, err
}

var complaint = regexp.MustCompile(`(?m)^(\s+\w+_test\.go:\d+: .*|panic: .*)$`)

// reason returns the first thing that a test complained of.
func reason(out []byte, err error) string {
	if m := complaint.Find(out); m != nil {
		s := strings.TrimSpace(string(m))
		return s[:min(len(s), 300)]
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// serve starts a fresh server; stop ends it and deletes its data.
func serve(t *testing.T, log string) (addr string, stop func(), err error) {
	tabletd := os.Getenv("TABLETD")
	if tabletd == "" {
		tabletd = "../../bin/tabletd"
	}
	data := t.TempDir()
	f, err := os.Create(log)
	if err != nil {
		return "", nil, err
	}
	addr = freeAddr(t)
	cmd := exec.Command(tabletd, "dev", "--data", data, "--listen", addr, "--lock-listen", freeAddr(t))
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		f.Close()
		return "", nil, fmt.Errorf("start %s: %w", tabletd, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(15 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
		f.Close()
		_ = os.RemoveAll(data)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		select {
		case <-exited:
			stop()
			return "", nil, fmt.Errorf("the server ended at once; see %s", log)
		case <-tick.C:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr, stop, nil
		}
	}
	stop()
	return "", nil, errors.New("the server does not listen; see " + log)
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
