package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/load"
)

// ErrGoal says that something was measured that is worse than its goal.
var ErrGoal = errors.New("goal missed")

// errFailures says that operations had errors.
var errFailures = errors.New("operations had errors")

// errUsage marks what is wrong with the command line.
var errUsage = errors.New("usage")

// The exit codes, which scripts depend on.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitWrong    = 3
	exitGoal     = 4
	exitFailures = 5
)

// ExitCode returns the exit code of a command that ended with err:
//
//	0  done
//	1  failed
//	2  the command line is not valid
//	3  the server returned wrong values, or lost some
//	4  a goal was missed, and --require was given
//	5  operations had errors
func ExitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, load.ErrWrong), errors.Is(err, load.ErrMissing):
		return exitWrong
	case errors.Is(err, ErrGoal):
		return exitGoal
	case errors.Is(err, errFailures):
		return exitFailures
	}
	return exitFailed
}

// app is what belongs to one run of the program.
type app struct {
	out     printer
	errOut  io.Writer
	json    bool
	profile string // of this process
	gogc    int
	began   bool // the arguments were understood
}

// Main runs tabletbench with the arguments behind the program's name and
// returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	a := &app{out: printer{w: stdout}, errOut: stderr}
	root := a.command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !a.began {
		err = fmt.Errorf("%w: %w", errUsage, err)
	}
	fmt.Fprintln(stderr, "tabletbench:", strings.ReplaceAll(err.Error(), "\n", "; "))
	return ExitCode(err)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "tabletbench",
		Short: "Measure TabletDB and other servers of the Bigtable API",
		Long: `tabletbench puts load on a server of the Bigtable API and measures it.

The loads (write, read, bulk, scan, ycsb, rmw) make their table, and the rows
that they read, if the table does not exist. Values are functions of their row
and version, so that --verify finds every wrong, stale or lost one.

Exit codes:
  0  done
  1  failed
  2  the command line is not valid
  3  the server returned wrong values, or lost some
  4  a goal was missed, and --require was given
  5  operations had errors`,
		SilenceErrors: true, SilenceUsage: true, Args: subcommand, RunE: needCommand,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON object per line")
	f.StringVar(&a.profile, "cpuprofile", "", "file for a CPU profile of this process")
	f.IntVar(&a.gogc, "gogc", 400, "garbage collection target of this process, in percent")
	root.AddGroup(&cobra.Group{ID: groupLoads, Title: "Loads:"}, &cobra.Group{ID: groupStudies, Title: "Studies, which run their own servers:"})
	for _, l := range a.loads() {
		l.GroupID = groupLoads
		root.AddCommand(l)
	}
	for _, s := range []*cobra.Command{a.compareCommand(), a.gatewayCommand(), a.filtersCommand(), a.growCommand(), a.putCommand(), a.cacheCommand(), a.scanRateCommand(), a.idleCommand()} {
		s.GroupID = groupStudies
		root.AddCommand(s)
	}
	root.AddCommand(a.emulatorCommand())
	return root
}

// subcommand complains about a command that does not exist.
func subcommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q (see %s --help)", args[0], c.CommandPath())
	}
	return nil
}

// needCommand is what the program does without a command.
func needCommand(c *cobra.Command, _ []string) error {
	if err := c.Help(); err != nil {
		return err
	}
	return errors.New("which command?")
}

const (
	groupLoads   = "loads"
	groupStudies = "studies"
)

// body makes a RunE of f.
func (a *app) body(f func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		a.began = true
		a.out.json = a.json
		defer debug.SetGCPercent(debug.SetGCPercent(a.gogc))
		stop, err := startProfile(a.profile)
		if err != nil {
			return err
		}
		return errors.Join(f(c.Context()), stop())
	}
}

// startProfile writes a CPU profile to path until stop is called; "": none.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

// note tells a person what goes on.
func (a *app) note(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.errOut, format+"\n", args...)
	}
}
