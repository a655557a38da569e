package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/objstore/openstore"
)

// App is the world that commands see. The zero value of a field means what its
// comment says.
type App struct {
	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer // nil: discarded
	// Getenv is asked for TABLETDB_LOCKSERVICE, TABLETDB_STORE and credentials;
	// nil: there are no variables.
	Getenv func(string) string
	// Network is how servers are dialled; nil: TCP.
	Network rpc.Network
	// LockService connects to the lock service; nil: by client.New.
	LockService func(endpoints []string) (lockservice.Client, error)
	// Store opens a bucket; nil: by openstore.Open.
	Store func(ctx context.Context, url string) (openstore.Store, error)
	// Interactive: a person sits at Stdin and may be asked.
	Interactive bool
	// Progress: Stderr is a terminal on which bars may be drawn.
	Progress bool
	// Version is shown by the command version.
	Version string
}

func (a App) withDefaults() App {
	if a.Stdin == nil {
		a.Stdin = eof{}
	}
	if a.Stdout == nil {
		a.Stdout = io.Discard
	}
	if a.Stderr == nil {
		a.Stderr = io.Discard
	}
	if a.Getenv == nil {
		a.Getenv = func(string) string { return "" }
	}
	if a.Network == nil {
		a.Network = rpc.TCP{}
	}
	if a.LockService == nil {
		network := a.Network
		a.LockService = func(endpoints []string) (lockservice.Client, error) {
			return client.New(client.Config{Endpoints: endpoints, Network: network, Logger: slog.New(slog.DiscardHandler)})
		}
	}
	if a.Store == nil {
		getenv := a.Getenv
		a.Store = func(ctx context.Context, url string) (openstore.Store, error) {
			return openstore.Open(ctx, url, openstore.Options{Getenv: getenv})
		}
	}
	return a
}

// eof is an input without anything in it.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// run is what belongs to one run of the program.
type run struct {
	app   App
	flags globals
	began bool // the arguments were understood
}

// NewCommand returns the tree of commands. Each tree is executed once.
func NewCommand(a App) *cobra.Command { return newRoot(&run{app: a.withDefaults()}) }

// Run runs the program with the arguments that follow its name and returns the
// exit code.
func Run(ctx context.Context, a App, args []string) int {
	r := &run{app: a.withDefaults()}
	root := newRoot(r)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !r.began { // cobra's own complaints about arguments, perhaps before it read the flags
		err = &usageError{err}
		if wantsJSON(args) {
			r.flags.output = string(output.JSON)
		}
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	code := ExitCode(err)
	r.report(err, code)
	return code
}

func newRoot(r *run) *cobra.Command {
	root := &cobra.Command{
		Use:   "tabletadm",
		Short: "Look after a TabletDB cluster",
		Long: `tabletadm looks after a TabletDB cluster: it shows its state, makes tables,
reads and writes rows, and looks into every file. What only inspects works while
the master is down.

Exit codes:
  0  done
  1  failed
  2  the command line, or what it asks for, is not valid
  3  the table, tablet, row, session, ... does not exist
  4  check found problems, import found bad rows, or something is not served
  5  something did not answer in time, or has no leader; try again

Row keys, qualifiers and values with bytes that cannot be printed are shown as
"..." with escapes such as \x00, and can be given as arguments like that.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: subcommand, RunE: needCommand,
	}
	root.SetIn(r.app.Stdin)
	root.SetOut(r.app.Stdout)
	root.SetErr(r.app.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
	})
	r.flags.register(root, r.app.Getenv)
	root.AddGroup(
		&cobra.Group{ID: groupCluster, Title: "Cluster:"}, &cobra.Group{ID: groupData, Title: "Tables and rows:"},
		&cobra.Group{ID: groupInside, Title: "Inside:"},
	)
	root.SetCompletionCommandGroupID(groupCluster)
	root.SetHelpCommandGroupID(groupCluster)
	r.addCluster(root)
	r.addData(root)
	r.addInside(root)
	addExamples(root, examples())
	return root
}

const (
	groupCluster = "cluster"
	groupData    = "data"
	groupInside  = "inside"
)

func grouped(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

func (r *run) addCluster(root *cobra.Command) {
	grouped(root, groupCluster, r.statusCommand(), r.availabilityCommand(), r.serversCommand(), r.serverCommand(), r.compactorsCommand(), r.balanceCommand(), r.recoveryCommand(), r.safeModeCommand(), r.checkCommand(), r.gcCommand(), r.raftCommand(), r.versionCommand())
}

func (r *run) addData(root *cobra.Command) {
	grouped(root, groupData, r.tableCommand(), r.familyCommand(), r.snapshotCommand(), r.cloneCommand(), r.tabletsCommand(), r.tabletCommand(), r.hotCommand(), r.getCommand(), r.scanCommand(), r.countCommand(), r.putCommand(),
		r.deleteCommand(), r.importCommand(), r.exportCommand(), r.flushCommand(), r.compactCommand())
}

func (r *run) addInside(root *cobra.Command) {
	grouped(root, groupInside, r.lockCommand(), r.metaCommand(), r.walCommand(), r.sstCommand(), r.manifestCommand())
}

// subcommand complains about a command that does not exist.
func subcommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q (see %s --help)", args[0], c.CommandPath())
	}
	return nil
}

// needCommand is what a command does that only holds others.
func needCommand(c *cobra.Command, _ []string) error {
	if !c.HasParent() {
		return c.Help()
	}
	var names []string
	for _, x := range c.Commands() {
		if x.IsAvailableCommand() {
			names = append(names, x.Name())
		}
	}
	return fmt.Errorf("which command of %s? There are %s (see %s --help)", c.CommandPath(), strings.Join(names, ", "), c.CommandPath())
}

// wantsJSON reports whether the arguments ask for JSON.
func wantsJSON(args []string) bool {
	for i, a := range args {
		switch a {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == string(output.JSON) {
				return true
			}
		}
	}
	return false
}

// group returns a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: subcommand, RunE: needCommand}
	c.AddCommand(commands...)
	return c
}

// body is what a command does. The env is closed after it.
type body func(ctx context.Context, e *env, args []string) error

// command returns a command. Its errors are those of the body.
func (r *run) command(use, short string, args cobra.PositionalArgs, f body) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(args), RunE: func(c *cobra.Command, args []string) error {
		r.began = true
		return r.do(c, args, f)
	}}
}

// usage adds to a complaint about arguments what is wanted.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return fmt.Errorf("%w; usage: %s", err, c.UseLine())
		}
		return nil
	}
}

func (r *run) do(c *cobra.Command, args []string, f body) (err error) {
	e, err := newEnv(r)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := e.close(); err == nil {
			err = cerr
		}
	}()
	ctx := c.Context()
	if d := r.timeout(c); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	err = f(ctx, e, args)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, errProblems) {
		err = &timeoutError{err, r.flags.timeout}
	}
	return err
}

// timeout is what was asked for, else the default, else, for commands that may
// take long, none.
func (r *run) timeout(c *cobra.Command) time.Duration {
	if _, long := c.Annotations[takesLong]; long && !c.Flags().Changed("timeout") {
		return 0
	}
	return r.flags.timeout
}

// takesLong annotates commands that run as long as they need unless --timeout
// is given.
const takesLong = "takes-long"

func long(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{takesLong: ""}
	return c
}
