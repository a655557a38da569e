package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// gatewayGoal is the least that single reads through a gateway may be, of
// those that a client sends to the tablet server itself.
const gatewayGoal = 0.9

// Contrast is what a study measured of a thing, One, and of what it is held
// against, Other, in the same rounds.
type Contrast struct {
	Name string `json:"name"`
	// Ratio is the median over the rounds of One's speed divided by Other's.
	Ratio  float64      `json:"ratio"`
	Ratios []float64    `json:"ratios"`
	Goal   float64      `json:"goal"`
	Met    bool         `json:"met"`
	One    *load.Result `json:"one"`
	Other  *load.Result `json:"other"`
}

// newContrast compares results of the same rounds by a measure of speed.
func newContrast(name string, goal float64, one, other []*load.Result, speed func(*load.Result) float64) *Contrast {
	c := &Contrast{Name: name, Goal: goal, One: load.Median(one), Other: load.Median(other)}
	for i := range one {
		c.Ratios = append(c.Ratios, speed(one[i])/speed(other[i]))
	}
	c.Ratio = median(c.Ratios)
	c.Met = c.Ratio >= goal
	return c
}

// printContrasts prints a study; one and other head its columns.
func (a *app) printContrasts(cs []*Contrast, one, other string, speed func(*load.Result) float64, require bool) error {
	missed := 0
	for _, c := range cs {
		if !c.Met {
			missed++
		}
		if a.json {
			if err := a.out.print(c, nil); err != nil {
				return err
			}
		}
	}
	if !a.json {
		if err := a.out.print(nil, func(w io.Writer) error {
			fmt.Fprintf(w, "\t%s/s\t%s/s\tratio\tlowest\thighest\tgoal\n", one, other)
			for _, c := range cs {
				met := ""
				if !c.Met {
					met = "  missed"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f%s\n", c.Name, count(speed(c.One)), count(speed(c.Other)),
					c.Ratio, slices.Min(c.Ratios), slices.Max(c.Ratios), c.Goal, met)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if require && missed > 0 {
		return fmt.Errorf("%w: %d of %d ratios", ErrGoal, missed, len(cs))
	}
	return nil
}

// studyFlags are the flags of studies of one TabletDB.
type studyFlags struct {
	measureFlags
	tabletd, store string
	tabletdArgs    []string
	rounds         int
	require        bool
}

func (f *studyFlags) register(c *cobra.Command) {
	s := c.Flags()
	registerTabletd(c, &f.tabletd, &f.tabletdArgs)
	s.StringVar(&f.store, "store", "", "bucket for TabletDB (default: a new directory)")
	s.IntVar(&f.rounds, "rounds", 5, "how often each is measured")
	s.DurationVar(&f.duration, "duration", 3*time.Second, "how long each is measured in a round")
	s.DurationVar(&f.warmup, "warmup", 500*time.Millisecond, "how long to work before measuring")
	s.Int64Var(&f.rows, "rows", 100_000, "rows of the table")
	s.IntVar(&f.valueBytes, "value-bytes", 1000, "size of values")
	s.BoolVar(&f.require, "require", false, "exit with 4 if a goal is missed")
	f.splits = 1
}

// start runs a TabletDB with one tablet server until the study ends.
func (f *studyFlags) start(ctx context.Context, u *undo) (*proc.TabletDB, error) {
	if f.rounds < 1 || f.rows < 1 {
		return nil, fmt.Errorf("%w: want at least one round and one row", errUsage)
	}
	dir, err := u.dir("", "tabletbench-study-")
	if err != nil {
		return nil, err
	}
	return u.startTabletDB(ctx, f.tabletd, &proc.TabletDBConfig{Data: dir, Store: f.store, TabletServers: 1, Args: f.tabletdArgs})
}

func (a *app) gatewayCommand() *cobra.Command {
	f := &studyFlags{}
	c := &cobra.Command{
		Use: "gateway", Args: cobra.NoArgs,
		Short: "Measure what the gateway costs",
		Long: `gateway runs a TabletDB with one tablet server and reads single rows by the
native client, in turns through the gateway, that is by the Bigtable API, and
from the tablet server itself.`,
	}
	f.register(c)
	c.RunE = a.body(func(ctx context.Context) error { return a.gateway(ctx, f) })
	return c
}

func (a *app) gateway(ctx context.Context, f *studyFlags) (err error) {
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	db, err := f.start(ctx, &undo)
	if err != nil {
		return err
	}
	direct, err := undo.open(target.OpenNative(ctx, []string{db.LockService}, "", target.Config{}))
	if err != nil {
		return err
	}
	through, err := undo.open(target.OpenNative(ctx, nil, db.Endpoint, target.Config{}))
	if err != nil {
		return err
	}
	sides := []*side{{name: "gateway", target: through, proc: db.Process}, {name: "direct", target: direct, proc: db.Process}}
	if err := sides[1].fill(ctx, &f.measureFlags); err != nil {
		return err
	}
	var out []*Contrast
	for _, p := range []phase{{name: "read-1", workers: 1, load: load.NewRead}, {name: "read-64", workers: 64, load: load.NewRead}} {
		var results [2][]*load.Result
		for round := range f.rounds {
			for k := range sides {
				i := (k + round) % 2 // who begins changes
				r, err := sides[i].measure(ctx, p, round, &f.measureFlags)
				if err != nil {
					return err
				}
				a.note("round %d of %d: %-8s %s", round+1, f.rounds, sides[i].name, r)
				results[i] = append(results[i], r)
			}
		}
		out = append(out, newContrast(p.name, gatewayGoal, results[0], results[1], rowsPerSecond))
	}
	return a.printContrasts(out, "gateway", "direct", rowsPerSecond, f.require)
}

func rowsPerSecond(r *load.Result) float64 { return r.RowsPerSecond }
