package conformance

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/cluster"
)

// slow are those of Google's tests that take longer than all others together.
var slow = []string{"TestIntegration_LargeReadsWritesAndScans"}

// TestGoogle runs those of Google's tests that take moments, each against a
// fresh cluster on a directory. `make conformance` runs them all, against
// tabletd as a process.
func TestGoogle(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds Google's tests")
	}
	s := build(t)
	ran := 0
	for _, name := range s.list(t) {
		if exempt[name] != "" || slices.Contains(slow, name) {
			continue
		}
		ran++
		t.Run(strings.TrimPrefix(name, "TestIntegration_"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := s.run(t, dir, name, onDirectory(t))
			if r.outcome == "pass" {
				return
			}
			out, err := os.ReadFile(logFile(dir, name))
			t.Errorf("%s: %s\n%s%v", r.outcome, r.detail, out[max(0, len(out)-4000):], err)
		})
	}
	if ran < 30 {
		t.Errorf("only %d tests were found", ran)
	}
}

// onDirectory returns the address of a fresh cluster on a directory.
func onDirectory(t *testing.T) string {
	c, err := cluster.Open(t.Context(), cluster.Config{Dir: t.TempDir(), GatewayAddr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("close the cluster: %v", err)
		}
	})
	return c.Gateway()
}
