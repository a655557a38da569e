package commitlog

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output of testdata/*.txt")

// TestCoreScripts plays testdata/*.txt against the core. A script is a list of
// steps: comments, one command, "----" and what the core then does, up to an
// empty line. Each command may start with +duration, which advances the time.
// Closing the open batch when the core asks for it is done at once.
func TestCoreScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(script))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(script) {
				t.Errorf("%s: got\n%s", file, got)
			}
		})
	}
}

func playScript(t *testing.T, script string) string {
	var out bytes.Buffer
	s := &coreScript{now: time.Unix(1000, 0)}
	for _, step := range strings.Split(strings.TrimSpace(script), "\n\n") {
		input, _, _ := strings.Cut(step, "----")
		lines := strings.Split(strings.TrimSpace(input), "\n")
		fmt.Fprintf(&out, "%s\n----\n", strings.TrimSpace(input))
		if err := s.run(strings.Fields(lines[len(lines)-1])); err != nil {
			t.Fatalf("step %q: %v", step, err)
		}
		fmt.Fprintf(&out, "%s\n", s.drain())
	}
	return strings.TrimSpace(out.String()) + "\n"
}

type coreScript struct {
	core       core
	filled     int       // records last told
	now, since time.Time // since: when the open batch got its first record
}

func (s *coreScript) run(words []string) error {
	if strings.HasPrefix(words[0], "+") {
		d, err := time.ParseDuration(words[0][1:])
		if err != nil {
			return err
		}
		s.now = s.now.Add(d)
		words = words[1:]
	}
	pos := func() base.Position {
		n, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			panic(err)
		}
		return base.Position(n)
	}
	switch words[0] {
	case "new":
		return s.open(words[1:])
	case "fill":
		n := 1
		if len(words) > 1 {
			n = int(pos())
		}
		if s.core.open == 0 {
			s.since = s.now
		}
		s.filled = n
		s.core.filled(s.now, s.since, n)
	case "full":
		s.core.closed(s.now, 1)
	case "flush":
		s.core.flushed(s.now)
	case "tick":
		s.core.tick(s.now)
	case "put":
		out, ok := map[string]putOutcome{"ok": putOK, "exists": putExists, "failed": putFailed, "throttled": putThrottled}[words[2]]
		if !ok {
			return fmt.Errorf("no outcome %q", words[2])
		}
		s.core.put(s.now, pos(), out)
	case "read":
		out, ok := map[string]readOutcome{"own": readOwn, "absent": readAbsent, "seal": readSeal,
			"stranger": readStranger, "garbled": readGarbled, "failed": readFailed}[words[2]]
		if !ok {
			return fmt.Errorf("no outcome %q", words[2])
		}
		s.core.read(s.now, pos(), out)
	default:
		return fmt.Errorf("no command %q", words[0])
	}
	return nil
}

func (s *coreScript) open(words []string) error {
	s.core = core{hedges: 1}
	s.core.limits = coreLimits{
		window: 2, retryBase: 10 * time.Millisecond, retryMax: 100 * time.Millisecond,
		hedgeShare: 0.5, hedgeBurst: 1, garbledMax: 2,
		jitter: func(d time.Duration) time.Duration { return d },
	}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		d, _ := time.ParseDuration(v)
		switch k {
		case "window":
			s.core.limits.window, _ = strconv.Atoi(v)
		case "linger":
			s.core.linger = d
		case "gather":
			s.core.gather = d
		case "hedge":
			s.core.hedgeAfter = d
		default:
			return fmt.Errorf("no option %q", k)
		}
	}
	return nil
}

// drain performs what the core asks for and shows it, and when it wants to be
// woken.
func (s *coreScript) drain() string {
	var out strings.Builder
	for len(s.core.todo) > 0 {
		todo := s.core.todo
		s.core.todo = nil
		for _, a := range todo {
			fmt.Fprintf(&out, "%s %d", a.kind, a.pos)
			if a.kind == doFence {
				fmt.Fprintf(&out, " %s", a.cause)
				for p := s.core.acked; p < s.core.next; p++ {
					if s.core.unknown(p) {
						fmt.Fprintf(&out, " unknown=%d", p)
					}
				}
			}
			out.WriteByte('\n')
			if a.kind == doClose {
				s.core.closed(s.now, s.filled)
			}
		}
	}
	for i := range s.core.slots {
		fmt.Fprintf(&out, "  %d %s\n", s.core.acked+base.Position(i), s.core.slots[i].state)
	}
	if at := s.core.wakeAt(); !at.IsZero() {
		fmt.Fprintf(&out, "  wake +%v\n", at.Sub(s.now))
	}
	return out.String()
}
