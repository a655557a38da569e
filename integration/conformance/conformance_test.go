//go:build conformance

package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestConformance(t *testing.T) {
	dir := workDir(t)
	suite := build(t)
	pattern, err := regexp.Compile(os.Getenv("CONFORMANCE_RUN"))
	if err != nil {
		t.Fatal(err)
	}
	var results []result
	for _, name := range suite.list(t) {
		if !pattern.MatchString(name) {
			continue
		}
		r := result{name: name, outcome: "fail"}
		if addr, stop, err := serve(t, filepath.Join(dir, name+".server.log")); err != nil {
			r.detail = err.Error()
		} else {
			r = suite.run(t, dir, name, addr)
			stop()
		}
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
