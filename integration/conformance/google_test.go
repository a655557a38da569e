package conformance

import (
	"bytes"
	"context"
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

// suite is Google's tests, built.
type suite struct {
	bin string
	dir string // of the module, where the tests find their data
}

// build builds the tests of the module where it lies in the module cache, with
// the dependencies of our go.mod; what it compiles stays in Go's build cache.
func build(t *testing.T) *suite {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", module, err)
	}
	s := &suite{bin: filepath.Join(t.TempDir(), "bigtable.test"), dir: strings.TrimSpace(string(out))}
	if s.dir == "" {
		t.Fatalf("module %s is not in the module cache: run go mod download", module)
	}
	began := time.Now()
	if out, err := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", s.bin, module).CombinedOutput(); err != nil {
		t.Fatalf("build Google's tests: %v\n%s", err, out)
	}
	t.Logf("built in %v", time.Since(began).Round(time.Millisecond))
	return s
}

// list returns the names of the integration tests that are about a server.
func (s *suite) list(t *testing.T) []string {
	cmd := exec.Command(s.bin, "-test.list", "^TestIntegration_")
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list Google's tests: %v", err)
	}
	names := strings.Fields(string(out))
	slices.Sort(names)
	return slices.DeleteFunc(names, unusable.MatchString)
}

func logFile(dir, name string) string { return filepath.Join(dir, name+".log") }

// run runs one test against the server at addr; its output goes into dir.
func (s *suite) run(t *testing.T, dir, name, addr string) result {
	r := result{name: name, outcome: "fail"}
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
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Dir, cmd.Env = s.dir, env
	// A client that is not told of an emulator wants to report its metrics
	// before it exits, for minutes, to a place that does not exist here.
	o := &output{done: cancel}
	cmd.Stdout, cmd.Stderr = o, o
	began := time.Now()
	err := cmd.Run()
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
