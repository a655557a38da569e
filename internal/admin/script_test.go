package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/internal/admin"
)

// script runs the commands in testdata/<name> and compares what they print with
// what stands there:
//
//	# a comment
//	@ something that the test does
//	$ arguments of tabletadm, quoted as in a shell
//	~ the same; numbers in the output do not count
//	lines of the standard output
//	! lines of the standard error
//	[exit 3]
//
// With UPDATE_GOLDEN set it writes the file instead.
type script struct {
	app   admin.App
	scrub []*regexp.Regexp
	do    map[string]func()
}

// scrubbed is what differs from run to run, with what takes its place.
func (s *script) clean(text string) string {
	for _, re := range s.scrub {
		text = re.ReplaceAllString(text, fmt.Sprintf("<%s>", re.SubexpNames()[1]))
	}
	return regexp.MustCompile(`(\S) {2,}`).ReplaceAllString(text, "$1  ") // tables shift with what was replaced
}

// run runs it. It may be called in a bubble.
func (s *script) run(t *testing.T, name string) {
	t.Helper()
	file := "testdata/" + name
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(want)) {
		switch {
		case strings.HasPrefix(line, "#"), line == "\n" && !strings.HasSuffix(got.String(), "\n\n"):
			got.WriteString(line)
		case strings.HasPrefix(line, "@ "):
			got.WriteString(line)
			f := s.do[strings.TrimSpace(line[2:])]
			if f == nil {
				t.Fatalf("%s: unknown directive %q", file, line)
			}
			f()
		case strings.HasPrefix(line, "$ "):
			got.WriteString(line)
			got.WriteString(s.command(t, line[2:]))
		case strings.HasPrefix(line, "~ "):
			got.WriteString(line)
			got.WriteString(regexp.MustCompile(`\d+`).ReplaceAllString(s.command(t, line[2:]), "N"))
		}
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(want) {
		t.Errorf("%s differs; run with UPDATE_GOLDEN=1 and look at the changes\n%s", file, difference(string(want), got.String()))
	}
}

// difference shows the first lines that differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s\n\nall of it:\n%s", i+1, w[i], g[i], got)
		}
	}
	return fmt.Sprintf("%d lines, want %d; all of it:\n%s", len(g), len(w), got)
}

func (s *script) command(t *testing.T, line string) string {
	t.Helper()
	args, stdin, err := words(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	code, out, errs := invoke(t.Context(), s.app, stdin, args...)
	var b strings.Builder
	b.WriteString(s.clean(out))
	if out != "" && !strings.HasSuffix(out, "\n") {
		b.WriteString("\n")
	}
	for l := range strings.Lines(s.clean(errs)) {
		b.WriteString("! " + l)
	}
	if code != 0 {
		fmt.Fprintf(&b, "[exit %d]\n", code)
	}
	return b.String()
}

// invoke runs tabletadm once.
func invoke(ctx context.Context, app admin.App, stdin string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	app.Stdin, app.Stdout, app.Stderr = strings.NewReader(stdin), &stdout, &stderr
	code = admin.Run(ctx, app, args)
	return code, stdout.String(), stderr.String()
}

// words splits a line like a shell: single quotes keep everything. "<<< text"
// at the end is the standard input, with \n for newlines.
func words(line string) (args []string, stdin string, err error) {
	line, stdin, _ = strings.Cut(line, "<<<")
	stdin = strings.ReplaceAll(strings.TrimSpace(stdin), `\n`, "\n")
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				args = append(args, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quoted {
		return nil, "", fmt.Errorf("a quote is not closed")
	}
	if begun {
		args = append(args, word.String())
	}
	return args, stdin, nil
}
