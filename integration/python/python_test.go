//go:build e2e

package python

import (
	"os"
	"os/exec"
	"testing"

	"github.com/tabletdb/tabletdb/integration/emulatortest"
)

// installed is a file that says that everything is in venv.
const installed = "venv/installed"

// install installs what requirements.txt names, unless that was done.
func install(t *testing.T) {
	wanted, err := os.Stat("requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	if done, err := os.Stat(installed); err == nil && done.ModTime().After(wanted.ModTime()) {
		return
	}
	for _, args := range [][]string{{"python3", "-m", "venv", "--clear", "venv"}, {"venv/bin/pip", "install", "-q", "-r", "requirements.txt"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(installed, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPythonClient(t *testing.T) {
	// The module venv is a package of its own in some distributions.
	if err := exec.Command("python3", "-c", "import venv, ensurepip").Run(); err != nil {
		if os.Getenv("E2E_REQUIRE") != "" {
			t.Fatalf("python3 with venv is not installed: %v", err)
		}
		t.Skipf("python3 with venv is not installed: %v", err)
	}
	install(t)
	addr := emulatortest.Start(t, emulatortest.Build(t))
	cmd := exec.CommandContext(t.Context(), "venv/bin/python", "-W", "ignore", "-m", "unittest", "-v")
	// The client would look for a metadata server of Google's.
	cmd.Env = append(os.Environ(), "BIGTABLE_EMULATOR_HOST="+addr, "NO_GCE_CHECK=true", "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
