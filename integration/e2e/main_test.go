//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// settings are what the environment says; see doc.go. They are read once,
// before the first test.
var settings struct {
	tabletd, tabletadm string // tabletadm may be ""
	minio              string
	storeDir, require  bool
	keep               bool
	artifacts          string
	seed               uint64
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	bin, err := os.MkdirTemp("", "tabletdb-e2e-bin-")
	if err == nil {
		defer os.RemoveAll(bin)
		err = configure(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "e2e: SEED=%d, artifacts in %s\n", settings.seed, settings.artifacts)
	code := m.Run()
	if err := results.write(settings.artifacts); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: write results:", err)
		return 1
	}
	return code
}

func configure(bin string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	s := &settings
	switch store := os.Getenv("E2E_STORE"); store {
	case "", "minio":
	case "dir":
		s.storeDir = true
	default:
		return fmt.Errorf("E2E_STORE is %q; want minio or dir", store)
	}
	s.require, s.keep = os.Getenv("E2E_REQUIRE") == "1", os.Getenv("E2E_KEEP") == "1"
	if s.minio = os.Getenv("E2E_MINIO"); s.minio == "" {
		s.minio = filepath.Join(root, "bin", "minio")
	}
	if s.seed, err = strconv.ParseUint(os.Getenv("SEED"), 10, 64); err != nil {
		s.seed = rand.Uint64()
	}
	if s.artifacts = os.Getenv("E2E_ARTIFACTS"); s.artifacts == "" {
		s.artifacts = filepath.Join(os.TempDir(), "tabletdb-e2e")
	}
	if s.artifacts, err = filepath.Abs(s.artifacts); err != nil {
		return err
	}
	if err := os.MkdirAll(s.artifacts, 0o755); err != nil {
		return err
	}
	if given := os.Getenv("E2E_BIN"); given != "" {
		if bin, err = filepath.Abs(given); err != nil {
			return err
		}
	} else {
		build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "./cmd/...")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the binaries: %w\n%s", err, out)
		}
	}
	s.tabletd, s.tabletadm = filepath.Join(bin, "tabletd"), filepath.Join(bin, "tabletadm")
	if _, err := os.Stat(s.tabletd); err != nil {
		return err
	}
	if _, err := os.Stat(s.tabletadm); err != nil {
		s.tabletadm = ""
	}
	return nil
}

// workDir returns a directory for a test. It is removed in the end; logs of a
// test that failed are copied to the artifacts.
func workDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tabletdb-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() || settings.keep {
			to := filepath.Join(settings.artifacts, strings.ReplaceAll(t.Name(), "/", "-"))
			logs, _ := filepath.Glob(filepath.Join(dir, "*.*"))
			os.MkdirAll(to, 0o755)
			for _, file := range logs {
				if b, err := os.ReadFile(file); err == nil {
					os.WriteFile(filepath.Join(to, filepath.Base(file)), b, 0o644)
				}
			}
			t.Logf("logs of the processes: %s", to)
		}
		os.RemoveAll(dir)
	})
	return dir
}
