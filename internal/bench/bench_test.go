package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/bttest"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/objstore/openstore"
)

// runMain runs the program and returns what it printed.
func runMain(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	var o, e bytes.Buffer
	exit = Main(args, &o, &e)
	return o.String(), e.String(), exit
}

func TestLoadsFromTheCommandLine(t *testing.T) {
	s, err := bttest.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range [][]string{
		{"write"}, {"write", "--sequential"}, {"bulk", "--batch", "10"}, {"read"}, {"scan"}, {"scan", "--scan-rows", "5"},
		{"ycsb", "--workload", "e"}, {"rmw", "--rows", "10"},
	} {
		args := append(c, "--endpoint", s.Addr, "--json", "--ops", "20", "--warmup", "10ms", "--verify", "--cleanup", "--splits", "3", "--workers", "4")
		if c[0] != "rmw" {
			args = append(args, "--rows", "200")
		}
		out, errOut, exit := runMain(t, args...)
		var r load.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil || exit != exitOK {
			t.Fatalf("%q: exit %d, %v: %s%s", args, exit, err, out, errOut)
		}
		if r.Ops != 20 || r.Latency.Count != 20 || r.Workers != 4 || r.Client != "official" || !strings.HasPrefix(r.Load, c[0]) {
			t.Errorf("%q: %s", args, out)
		}
	}
	out, _, exit := runMain(t, "read", "--endpoint", s.Addr, "--rows", "100", "--ops", "10")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); exit != exitOK || len(lines) != 2 || !strings.HasPrefix(lines[0], "load") || !strings.HasPrefix(lines[1], "read") {
		t.Errorf("exit %d: %s", exit, out)
	}
	// That table has 100 rows.
	if _, _, exit := runMain(t, "read", "--endpoint", s.Addr, "--rows", "100000", "--ops", "50", "--verify"); exit != exitWrong {
		t.Errorf("missing rows: exit %d; want %d", exit, exitWrong)
	}
}

func TestCommandLinesThatAreWrong(t *testing.T) {
	for _, args := range [][]string{
		{}, {"bogus"}, {"write", "--no-such-flag"}, {"write", "more"}, {"write", "--rows", "0"}, {"write", "--value-bytes", "3"},
		{"bulk", "--batch", "0"}, {"ycsb", "--workload", "z"}, {"compare", "--only", "nonsense"}, {"compare", "--rounds", "0"},
		{"put"}, {"put", "--store", "mem:"}, {"idle", "--tablets", "0"},
	} {
		if _, errOut, exit := runMain(t, args...); exit != exitUsage || !strings.HasPrefix(errOut, "tabletbench: ") {
			t.Errorf("%q: exit %d: %s", args, exit, errOut)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		exitOK: nil, exitFailed: errors.New("x"), exitWrong: fmt.Errorf("y: %w", load.ErrWrong),
		exitGoal: fmt.Errorf("z: %w", ErrGoal), exitFailures: errFailures, exitUsage: errUsage,
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("ExitCode(%v) = %d; want %d", err, got, want)
		}
	}
}

func TestChoosePhases(t *testing.T) {
	for only, want := range map[string]string{
		"": "write-64 write-256 read-64 bulk-4 bulk-16 bulk-64 scan-1 scan-4", "writes": "write-64 write-256", "reads,write-2": "write-256 read-64",
		"scan-4": "scan-4", "bulk,scans": "bulk-4 bulk-16 bulk-64 scan-1 scan-4",
	} {
		var list []string
		if only != "" {
			list = strings.Split(only, ",")
		}
		ps, err := choose(phases(), list)
		if got := strings.ReplaceAll(phaseNames(ps), ",", ""); err != nil || got != want {
			t.Errorf("choose(%q) = %s, %v; want %s", only, got, err, want)
		}
	}
}

func TestComparison(t *testing.T) {
	rs := func(speeds ...float64) (out []*load.Result) {
		for _, s := range speeds {
			out = append(out, &load.Result{RowsPerSecond: s})
		}
		return out
	}
	// The machine is half as fast in the second round, and TabletDB has a bad
	// third.
	c := newComparison(phase{name: "p", goal: 0.9}, rs(100, 50, 20), rs(100, 50, 100))
	if c.Ratio != 1 || !c.Met || c.TabletDB.RowsPerSecond != 50 || c.Emulator.RowsPerSecond != 100 || c.Later != 0.9 {
		t.Errorf("%+v", c)
	}
	var b bytes.Buffer
	a := &app{out: printer{w: &b}}
	if err := a.printComparison([]*Comparison{c, newComparison(phase{name: "q", goal: 2}, rs(1), rs(1))}, true); !errors.Is(err, ErrGoal) {
		t.Errorf("a missed goal is no error: %v", err)
	}
	if s := b.String(); !strings.Contains(s, "missed") || len(strings.Split(strings.TrimSpace(s), "\n")) != 4 {
		t.Errorf("table:\n%s", s)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		xs   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.xs); got != c.want {
			t.Errorf("median(%v) = %v; want %v", c.xs, got, c.want)
		}
	}
}

func TestBelow(t *testing.T) {
	for url, want := range map[string]string{
		"s3://b?endpoint=http://h:9000": "s3://b/x/y?endpoint=http://h:9000",
		"s3://b/p?create=true":          "s3://b/p/x/y?create=true",
		"file:///srv/t":                 "file:///srv/t/x/y",
		"/srv/t":                        "/srv/t/x/y",
	} {
		if got, err := below(url, "x/y"); err != nil || got != want {
			t.Errorf("below(%q) = %q, %v; want %q", url, got, err, want)
		}
	}
}

func TestPutsAndRemoval(t *testing.T) {
	dir := t.TempDir()
	var u undo
	s, err := u.bucket(t.Context(), dir+"/bucket")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{}
	for _, conditional := range []bool{false, true} {
		r, err := a.alone(t.Context(), newPuts(s, 1000, conditional), 20, nil, 0)
		if err != nil || r.Ops != 20 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := u.do(); err != nil {
		t.Fatal(err)
	}
	left, err := openstore.Open(t.Context(), dir+"/bucket", openstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	for info := range left.List(t.Context(), "", "") {
		t.Errorf("%s is left", info.Key)
	}
}

func TestUnits(t *testing.T) {
	for us, want := range map[int64]string{0: "0us", 999: "999us", 1000: "1.00ms", 99_999: "100.00ms", 100_000: "100ms", 1_500_000: "1.50s", 12_340_000: "12.3s"} {
		if got := micros(us); got != want {
			t.Errorf("micros(%d) = %s; want %s", us, got, want)
		}
	}
	for x, want := range map[float64]string{0: "0.0", 999.94: "999.9", 1000: "1.0k", 123_456: "123k"} {
		if got := count(x); got != want {
			t.Errorf("count(%v) = %s; want %s", x, got, want)
		}
	}
}
