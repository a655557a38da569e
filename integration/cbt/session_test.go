package cbt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/integration/emulatortest"
)

// buildCbt builds cbt. Its modules may have to be downloaded.
func buildCbt(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "cbt")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, "cloud.google.com/go/bigtable/cmd/cbt")
	cmd.Dir = "tool"
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build cbt (its modules are fetched with `go -C integration/cbt/tool mod download`): %v\n%s", err, out)
	}
	return bin
}

// step is a command of a session with what it should print.
type step struct {
	line    int
	comment string
	command string
	want    string
}

// parse reads a session.
func parse(t *testing.T, text string) []*step {
	var steps []*step
	for i, lines := 0, strings.Split(text, "\n"); i < len(lines); i++ {
		s := &step{line: i + 1}
		for ; i < len(lines) && (lines[i] == "" || lines[i][0] == '#'); i++ {
			if lines[i] != "" || s.comment != "" {
				s.comment += lines[i] + "\n"
			}
		}
		if i == len(lines) {
			break
		}
		s.line, s.command = i+1, lines[i]
		if i+1 == len(lines) || lines[i+1] != "----" {
			t.Fatalf("line %d: no ---- behind %q", i+2, s.command)
		}
		for i += 2; i < len(lines) && lines[i] != ""; i++ {
			s.want += lines[i] + "\n"
		}
		steps = append(steps, s)
	}
	return steps
}

var (
	word = regexp.MustCompile(`'[^']*'|\S+`)
	head = regexp.MustCompile(`^(.*) \| head -(\d+)$`)
	// recent is a moment of our days; cells of the sessions are older.
	recent = regexp.MustCompile(`20[2-9]\d/\d\d/\d\d-\d\d:\d\d:\d\d(\.\d+)?`)
	// minute is when a snapshot was taken, or ends.
	minute = regexp.MustCompile(`20[2-9]\d-\d\d-\d\d \d\d:\d\d UTC`)
	// logged is the time in front of what cbt logs.
	logged = regexp.MustCompile(`(?m)^20\d\d/\d\d/\d\d \d\d:\d\d:\d\d `)
)

// fromNow writes a moment as the hours from now.
func fromNow(moment string) string {
	t, err := time.Parse("2006-01-02 15:04 MST", moment)
	if err != nil {
		return moment
	}
	return fmt.Sprintf("NOW%+.0fh", time.Until(t).Round(time.Hour).Hours())
}

// run runs the command of a step and returns what it prints, made comparable.
func run(t *testing.T, cbt, addr, home string, s *step) string {
	command, lines := s.command, -1
	if m := head.FindStringSubmatch(command); m != nil {
		command = m[1]
		lines, _ = strconv.Atoi(m[2])
	}
	words := word.FindAllString(command, -1)
	if words[0] != "cbt" {
		t.Fatalf("line %d: %q is no cbt command", s.line, command)
	}
	args := []string{"-project", "p", "-instance", "i", "-creds", os.DevNull}
	for _, w := range words[1:] {
		args = append(args, strings.Trim(w, "'"))
	}
	cmd := exec.CommandContext(t.Context(), cbt, args...)
	cmd.Dir = "testdata"
	cmd.Env = []string{"BIGTABLE_EMULATOR_HOST=" + addr, "HOME=" + home, "TZ=UTC"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text := logged.ReplaceAllString(recent.ReplaceAllString(out.String(), "NOW"), "")
	text = minute.ReplaceAllStringFunc(text, fromNow)
	var b strings.Builder
	for i, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i == lines {
			break
		}
		if l = strings.TrimRight(l, " \t"); l == "" && text != "" {
			l = "(blank)"
		}
		if strings.Contains(l, "&{") { // a message as text, with one space or two
			l = strings.ReplaceAll(l, "  ", " ")
		}
		if text != "" {
			b.WriteString(l + "\n")
		}
	}
	if exit != nil {
		fmt.Fprintf(&b, "exit %d\n", exit.ExitCode())
	}
	return b.String()
}

func TestSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds cbt")
	}
	cbt, tabletd := buildCbt(t), emulatortest.Build(t)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("sessions: %q, %v", files, err)
	}
	tried := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		steps := parse(t, string(b))
		for _, s := range steps {
			tried[word.FindAllString(s.command, 2)[1]] = true
		}
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { session(t, cbt, tabletd, f, steps) })
	}
	for _, c := range subcommands(t, cbt) {
		if !tried[c] {
			t.Errorf("no session tries `cbt %s`", c)
		}
	}
}

// session runs the steps of a file against a fresh emulator.
func session(t *testing.T, cbt, tabletd, file string, steps []*step) {
	var flags []string
	if filepath.Base(file) == "strict.txt" {
		flags = append(flags, "-strict")
	}
	addr, home := emulatortest.Start(t, tabletd, flags...), t.TempDir()
	var b strings.Builder
	for i, s := range steps {
		got := run(t, cbt, addr, home, s)
		if got != s.want && os.Getenv("CBT_UPDATE") == "" {
			t.Errorf("%s:%d: %s\nprints\n%s\nwant\n%s", file, s.line, s.command, got, s.want)
		}
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s%s\n----\n%s", s.comment, s.command, got)
	}
	if os.Getenv("CBT_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// subcommands returns those that cbt says it has.
func subcommands(t *testing.T, cbt string) []string {
	cmd := exec.Command(cbt, "help")
	cmd.Env = []string{"HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cbt help: %v\n%s", err, out)
	}
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^cbt (\w+)\t+\S`).FindAllStringSubmatch(string(out), -1) {
		list = append(list, m[1])
	}
	if len(list) < 35 {
		t.Fatalf("cbt names only %q:\n%s", list, out)
	}
	return list
}
