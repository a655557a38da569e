//go:build e2e

package npm

import (
	"os"
	"os/exec"
	"testing"

	"github.com/tabletdb/tabletdb/integration/emulatortest"
)

// need skips the test where a program is missing, unless E2E_REQUIRE is set.
func need(t *testing.T, programs ...string) {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("E2E_REQUIRE") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("%s is not installed", p)
	}
}

// install installs what package-lock.json names, unless that was done.
func install(t *testing.T) {
	lock, err := os.Stat("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	// npm writes this one when it has installed everything.
	if done, err := os.Stat("node_modules/.package-lock.json"); err == nil && done.ModTime().After(lock.ModTime()) {
		return
	}
	if out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

func TestNodeClient(t *testing.T) {
	need(t, "node", "npm")
	install(t)
	addr := emulatortest.Start(t, emulatortest.Build(t))
	cmd := exec.CommandContext(t.Context(), "node", "--test", "--test-reporter=spec")
	// The client would look for a metadata server of Google's.
	cmd.Env = append(os.Environ(), "BIGTABLE_EMULATOR_HOST="+addr, "METADATA_SERVER_DETECTION=none")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
