package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// compareFlags are the flags of compare.
type compareFlags struct {
	measureFlags
	tabletd, data, store string
	tabletdArgs          []string
	only                 []string
	rounds               int
	require, native      bool
}

func (a *app) compareCommand() *cobra.Command {
	f := &compareFlags{}
	c := &cobra.Command{
		Use: "compare", Args: cobra.NoArgs,
		Short: "Compare TabletDB with Google's in-memory emulator",
		Long: `compare runs Google's in-memory emulator and a TabletDB, each as a process of
its own on this machine, and measures both by Google's client: single writes,
single reads, bulk writes and scans. They take turns in short rounds, so that
what else the machine does slows down both. A ratio is the median of the rounds'
ratios of rows per second, TabletDB's to the emulator's.

TabletDB keeps what it acknowledges in a directory (or at --store); the emulator
keeps everything in memory and loses it.`,
	}
	s := c.Flags()
	registerTabletd(c, &f.tabletd, &f.tabletdArgs)
	s.StringVar(&f.data, "data", "", "directory for TabletDB, which is left there (default: a new one, removed at the end)")
	s.StringVar(&f.store, "store", "", "bucket for TabletDB (default: a directory below --data)")
	s.StringSliceVar(&f.only, "only", nil, "phases to measure, by name or its beginning, such as writes,read-64: "+phaseNames(phases()))
	s.IntVar(&f.rounds, "rounds", 5, "how often each phase is measured at each server")
	s.DurationVar(&f.duration, "duration", 3*time.Second, "how long a phase is measured in a round")
	s.DurationVar(&f.warmup, "warmup", 500*time.Millisecond, "how long to work before measuring")
	s.Int64Var(&f.rows, "rows", 100_000, "rows of the table that is read")
	s.IntVar(&f.valueBytes, "value-bytes", 1000, "size of values")
	s.IntVar(&f.splits, "splits", 1, "tablets of each table")
	s.BoolVar(&f.verify, "verify", false, "check all that is read")
	s.StringVar(&f.profiles, "profile", "", "directory for CPU profiles of TabletDB, one for each phase and round")
	s.BoolVar(&f.require, "require", false, "exit with 4 if a ratio misses its goal")
	s.BoolVar(&f.native, "native", false, "reach TabletDB by its own client, the emulator by Google's")
	c.RunE = a.body(func(ctx context.Context) error { return a.compare(ctx, f) })
	return c
}

// registerTabletd registers the flags that say how to run a TabletDB.
func registerTabletd(c *cobra.Command, path *string, args *[]string) {
	c.Flags().StringVar(path, "tabletd", "", "the program tabletd (default: beside this one, or in the path)")
	c.Flags().StringArrayVar(args, "tabletd-arg", nil, "a flag for `tabletd dev`, such as --flush-mb=32; may be repeated")
}

// Comparison is what compare measured in one phase.
type Comparison struct {
	Phase string  `json:"phase"`
	Ratio float64 `json:"ratio"` // the median of Ratios
	// Ratios has, for each round, TabletDB's rows per second divided by the
	// emulator's.
	Ratios   []float64    `json:"ratios"`
	Goal     float64      `json:"goal"`
	Later    float64      `json:"later_goal"`
	Met      bool         `json:"met"`
	TabletDB *load.Result `json:"tabletdb"` // the round in the middle
	Emulator *load.Result `json:"emulator"`
}

func (a *app) compare(ctx context.Context, f *compareFlags) (err error) {
	ps, err := choose(phases(), f.only)
	if err != nil {
		return err
	}
	if f.rounds < 1 {
		return fmt.Errorf("%w: --rounds %d: want at least 1", errUsage, f.rounds)
	}
	if f.profiles != "" {
		if err := os.MkdirAll(f.profiles, 0o755); err != nil {
			return err
		}
	}
	tablet, emulator, closeAll, err := a.openSides(ctx, f)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ps, func(p phase) bool { return !p.fresh }) {
		for _, s := range []*side{tablet, emulator} {
			if err := s.fill(ctx, &f.measureFlags); err != nil {
				return err
			}
		}
	}
	results, err := a.rounds(ctx, f, ps, tablet, emulator)
	if err != nil {
		return err
	}
	return a.printComparison(results, f.require)
}

// openSides starts both servers. closeAll is never nil.
func (a *app) openSides(ctx context.Context, f *compareFlags) (tablet, emulator *side, closeAll func() error, err error) {
	var undo undo
	closeAll = undo.do
	dir, err := undo.dir(f.data, "tabletbench-compare-")
	if err != nil {
		return nil, nil, closeAll, err
	}
	db, err := undo.startTabletDB(ctx, f.tabletd, &proc.TabletDBConfig{Data: dir, Store: f.store, Args: f.tabletdArgs})
	if err != nil {
		return nil, nil, closeAll, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, closeAll, err
	}
	ep, addr, err := proc.StartEmulator(ctx, self)
	if err != nil {
		return nil, nil, closeAll, err
	}
	undo.add(func() error { return ep.Stop(10 * time.Second) })
	emulator = &side{name: "emulator", proc: ep}
	if emulator.target, err = undo.open(target.OpenOfficial(ctx, addr, target.Config{})); err != nil {
		return nil, nil, closeAll, err
	}
	tablet = &side{name: "tabletdb", proc: db.Process, status: db.Status}
	if f.native {
		tablet.target, err = undo.open(target.OpenNative(ctx, []string{db.LockService}, "", target.Config{}))
	} else {
		tablet.target, err = undo.open(target.OpenOfficial(ctx, db.Endpoint, target.Config{}))
	}
	return tablet, emulator, closeAll, err
}

// rounds measures all phases in turns.
func (a *app) rounds(ctx context.Context, f *compareFlags, ps []phase, tablet, emulator *side) ([]*Comparison, error) {
	byPhase := make([]struct{ tablet, emulator []*load.Result }, len(ps))
	for round := range f.rounds {
		for i, p := range ps {
			order := []*side{emulator, tablet}
			if round%2 == 1 {
				order = []*side{tablet, emulator}
			}
			for _, s := range order {
				if err := proc.Settle(ctx, 20*time.Second, tablet.proc, emulator.proc); err != nil {
					return nil, err
				}
				r, err := s.measure(ctx, p, round, &f.measureFlags)
				if err != nil {
					return nil, err
				}
				a.note("round %d of %d: %-8s %s", round+1, f.rounds, s.name, r)
				if s == tablet {
					byPhase[i].tablet = append(byPhase[i].tablet, r)
				} else {
					byPhase[i].emulator = append(byPhase[i].emulator, r)
				}
			}
		}
	}
	var out []*Comparison
	for i, p := range ps {
		out = append(out, newComparison(p, byPhase[i].tablet, byPhase[i].emulator))
	}
	return out, nil
}

// newComparison compares the results of the same rounds.
func newComparison(p phase, tablet, emulator []*load.Result) *Comparison {
	c := &Comparison{Phase: p.name, Goal: p.goal, Later: max(p.goal, p.later), TabletDB: load.Median(tablet), Emulator: load.Median(emulator)}
	for i := range tablet {
		c.Ratios = append(c.Ratios, tablet[i].RowsPerSecond/emulator[i].RowsPerSecond)
	}
	c.Ratio = median(c.Ratios)
	c.Met = c.Ratio >= c.Goal
	return c
}

// median returns the middle of xs, or the mean of the two in the middle; 0 if
// there are none.
func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

func (a *app) printComparison(cs []*Comparison, require bool) error {
	missed := 0
	for _, c := range cs {
		if !c.Met {
			missed++
		}
	}
	if a.json {
		for _, c := range cs {
			if err := a.out.print(c, nil); err != nil {
				return err
			}
		}
	} else if err := a.out.print(nil, func(w io.Writer) error { return comparisonTable(w, cs) }); err != nil {
		return err
	}
	if require && missed > 0 {
		return fmt.Errorf("%w: %d of %d ratios", ErrGoal, missed, len(cs))
	}
	return nil
}

func comparisonTable(w io.Writer, cs []*Comparison) error {
	fmt.Fprintln(w, "\tTabletDB\t\t\temulator\t\t\tratio\t\t\tgoal")
	fmt.Fprintln(w, "phase\trows/s\tp50\tp99\trows/s\tp50\tp99\tmedian\tlowest\thighest\t")
	for _, c := range cs {
		met := ""
		if !c.Met {
			met = "  missed"
		}
		t, e := c.TabletDB, c.Emulator
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f%s\n", c.Phase,
			count(t.RowsPerSecond), brief(t.Latency), count(e.RowsPerSecond), brief(e.Latency),
			c.Ratio, slices.Min(c.Ratios), slices.Max(c.Ratios), c.Goal, met)
		if err != nil {
			return err
		}
	}
	return nil
}

// undo is what a study must do at its end, the last first.
type undo struct{ steps []func() error }

func (u *undo) add(f func() error) { u.steps = append(u.steps, f) }

func (u *undo) do() error {
	var errs []error
	for _, f := range slices.Backward(u.steps) {
		errs = append(errs, f())
	}
	u.steps = nil
	return errors.Join(errs...)
}

// dir returns a directory for a server: the given one, or a new one that is
// removed at the end.
func (u *undo) dir(given, pattern string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", err
	}
	u.add(func() error { return os.RemoveAll(dir) })
	return dir, nil
}

// startTabletDB starts a TabletDB that is stopped at the end.
func (u *undo) startTabletDB(ctx context.Context, tabletd string, c *proc.TabletDBConfig) (*proc.TabletDB, error) {
	path, err := proc.FindTabletd(tabletd)
	if err != nil {
		return nil, err
	}
	c.Tabletd = path
	db, err := proc.StartTabletDB(ctx, c)
	if err != nil {
		return nil, err
	}
	u.add(func() error { return db.Stop(2 * time.Minute) })
	return db, nil
}

// open closes the target at the end.
func (u *undo) open(t target.Target, err error) (target.Target, error) {
	if err == nil {
		u.add(t.Close)
	}
	return t, err
}
