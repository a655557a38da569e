package admin_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin"
)

// TestHelp: every command says what it does and shows examples, which are
// commands that there are, with flags that they have and arguments they take.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	n := 0
	walk = func(c *cobra.Command) {
		for _, x := range c.Commands() {
			walk(x)
		}
		if c.HasSubCommands() {
			if c.HasParent() && c.Example != "" {
				t.Errorf("%s: examples are for its commands", c.CommandPath())
			}
			return
		}
		n++
		if c.Short == "" || utf8.RuneCountInString(c.Short) > 72 || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		found := false
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			if args, ok := strings.CutPrefix(line, c.CommandPath()); ok && (args == "" || args[0] == ' ') {
				found = true
				checkExample(t, line)
			}
		}
		if !found {
			t.Errorf("%s has no example", c.CommandPath())
		}
	}
	walk(admin.NewCommand(admin.App{}))
	if n < 60 {
		t.Errorf("%d commands were looked at", n)
	}
}

// checkExample parses an example as the command would.
func checkExample(t *testing.T, line string) {
	t.Helper()
	line, _, _ = strings.Cut(strings.TrimPrefix(line, "tabletadm "), " > ")
	line, _, _ = strings.Cut(line, " < ")
	args, _, err := words(line)
	if err != nil {
		t.Errorf("%s: %v", line, err)
		return
	}
	c, rest, err := admin.NewCommand(admin.App{}).Find(args)
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err != nil {
		t.Errorf("example %q: %v", line, err)
	}
}

// TestShellCompletion: the shells get their scripts, and flags with few values
// offer them.
func TestShellCompletion(t *testing.T) {
	app := admin.App{Getenv: func(string) string { return "" }}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errs := invoke(t.Context(), app, "", "completion", shell); code != 0 || !strings.Contains(out, "tabletadm") {
			t.Errorf("%s: exit %d, %d bytes %s", shell, code, len(out), errs)
		}
	}
	for want, args := range map[string][]string{
		"availability":     {"avail"},
		"holes":            {"check", "--repair", "--accept-loss", ""},
		"unserved":         {"tablets", "list", "--state", "un"},
		"yaml":             {"status", "-o", "y"},
		"--accept-loss":    {"check", "--acc"},
		"restart\tRestart": {"server", "re"},
	} {
		if _, out, _ := invoke(t.Context(), app, "", append([]string{"__complete"}, args...)...); !strings.Contains(out, want) {
			t.Errorf("%v offers %q, not %q", args, out, want)
		}
	}
}
