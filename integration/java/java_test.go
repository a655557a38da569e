//go:build e2e

package java

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/tabletdb/tabletdb/integration/emulatortest"
)

func TestJavaClient(t *testing.T) {
	for _, p := range []string{"javac", "mvn"} {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("E2E_REQUIRE") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("%s is not installed", p)
	}
	addr := emulatortest.Start(t, emulatortest.Build(t))
	cmd := exec.CommandContext(t.Context(), "mvn", "-q", "-B", "-ntp", "compile", "exec:java", "-Dexec.mainClass=BigtableTest")
	// The client would look for a metadata server of Google's.
	cmd.Env = append(os.Environ(), "BIGTABLE_EMULATOR_HOST="+addr, "NO_GCE_CHECK=true")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nPASS\n")) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
