package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// loadFlags are what all loads have in common.
type loadFlags struct {
	endpoint, project, instance, table string
	native                             bool
	lockService                        []string
	connections                        int

	rows                int64
	valueBytes, workers int
	duration, warmup    time.Duration
	ops                 int64
	rate                float64
	timeout             time.Duration
	seed                uint64
	splits              int
	verify, cleanup     bool
	allowErrors         bool
	sequential          bool
	batch               int
	scanRows            int64
	workload            string
}

func (f *loadFlags) register(c *cobra.Command) {
	endpoint := os.Getenv("BIGTABLE_EMULATOR_HOST")
	if endpoint == "" {
		endpoint = "127.0.0.1:8086"
	}
	s := c.Flags()
	s.StringVar(&f.endpoint, "endpoint", endpoint, "address of the Bigtable API (default: BIGTABLE_EMULATOR_HOST)")
	s.StringVar(&f.project, "project", "local", "project of the table")
	s.StringVar(&f.instance, "instance", "main", "instance of the table")
	s.StringVar(&f.table, "table", "tabletbench", "name of the table")
	s.BoolVar(&f.native, "native", false, "use TabletDB's own client instead of Google's")
	s.StringSliceVar(&f.lockService, "lockservice", nil, "addresses of the lock service, with --native (none: ask the gateway at --endpoint)")
	s.IntVar(&f.connections, "connections", 1, "connections to the server, or to each tablet server")
	s.Int64Var(&f.rows, "rows", 100_000, "rows of the table")
	s.IntVar(&f.valueBytes, "value-bytes", 1000, "size of values")
	s.IntVar(&f.workers, "workers", 64, "operations that are under way at once")
	s.DurationVar(&f.duration, "duration", 10*time.Second, "how long to measure")
	s.Int64Var(&f.ops, "ops", 0, "measure so many operations, instead of --duration")
	s.DurationVar(&f.warmup, "warmup", time.Second, "how long to work before measuring")
	s.Float64Var(&f.rate, "rate", 0, "operations to begin in a second; latencies count from when they should begin (0: as fast as workers can)")
	s.DurationVar(&f.timeout, "timeout", 0, "deadline of each operation (0: none)")
	s.Uint64Var(&f.seed, "seed", 1, "seed of random choices")
	s.IntVar(&f.splits, "splits", 1, "tablets of the table, if it is made")
	s.BoolVar(&f.verify, "verify", false, "check all that is read")
	s.BoolVar(&f.cleanup, "cleanup", false, "drop the table at the end")
	s.BoolVar(&f.allowErrors, "allow-errors", false, "exit with 0 in spite of errors, but not of wrong values")
}

func (f *loadFlags) options(tables []load.Table) load.Options {
	o := load.Options{
		Workers: f.workers, Duration: f.duration, Ops: f.ops, Warmup: f.warmup, Rate: f.rate, Timeout: f.timeout, Seed: f.seed, Tables: tables,
	}
	if f.ops > 0 {
		o.Duration = 0
	}
	return o
}

func (f *loadFlags) open(ctx context.Context) (target.Target, error) {
	c := target.Config{Project: f.project, Instance: f.instance, Connections: f.connections}
	if f.native {
		return target.OpenNative(ctx, f.lockService, f.endpoint, c)
	}
	return target.OpenOfficial(ctx, f.endpoint, c)
}

// loads returns the commands that put load on a server.
func (a *app) loads() []*cobra.Command {
	return []*cobra.Command{
		a.load("write", "Write single rows", false, func(f *loadFlags, d *load.Data) (load.Load, error) { return load.NewWrite(d, f.sequential), nil }),
		a.load("bulk", "Write rows in batches", false, func(f *loadFlags, d *load.Data) (load.Load, error) {
			if f.batch < 1 {
				return nil, fmt.Errorf("%w: --batch %d: want at least 1", errUsage, f.batch)
			}
			return load.NewBulk(d, f.batch, f.sequential), nil
		}),
		a.load("read", "Read single rows", true, func(_ *loadFlags, d *load.Data) (load.Load, error) { return load.NewRead(d), nil }),
		a.load("scan", "Scan the table, once per worker at a time", true, func(f *loadFlags, d *load.Data) (load.Load, error) {
			return load.NewScan(d, f.scanRows), nil
		}),
		a.load("ycsb", "Run one of YCSB's core workloads, with one value per record", true, func(f *loadFlags, d *load.Data) (load.Load, error) {
			return load.NewYCSB(d, f.workload)
		}),
		a.rmw(),
	}
}

// load returns the command of a load; if fill, its rows are written before.
func (a *app) load(name, short string, fill bool, newLoad func(*loadFlags, *load.Data) (load.Load, error)) *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	f.register(c)
	s := c.Flags()
	switch name {
	case "write":
		s.BoolVar(&f.sequential, "sequential", false, "write rows in the order of their keys")
	case "bulk":
		s.BoolVar(&f.sequential, "sequential", false, "write rows in the order of their keys")
		s.IntVar(&f.batch, "batch", 100, "rows of a batch")
		c.Flag("workers").DefValue, f.workers = "4", 4
	case "scan":
		s.Int64Var(&f.scanRows, "scan-rows", 0, "rows of a scan, from a random row on (0: the whole table)")
		c.Flag("workers").DefValue, f.workers = "1", 1
	case "ycsb":
		s.StringVar(&f.workload, "workload", "a", "a: half updates, b: 5 % updates, c: reads, d: reads of the latest, 5 % insertions, e: scans, 5 % insertions, f: half read-modify-writes")
	}
	c.RunE = a.body(func(ctx context.Context) error {
		d, err := load.NewData(f.rows, f.valueBytes, name == "ycsb", f.verify)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		l, err := newLoad(f, d)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if name == "ycsb" {
			name = "ycsb-" + f.workload
		}
		return a.onTable(ctx, f, d.Keys, func(t target.Target, made bool) error {
			if fill && made {
				a.note("writing %d rows first", f.rows)
				if _, err := load.Fill(ctx, d, 100, 4, t.Tables(f.table)); err != nil {
					return err
				}
			}
			return a.runLoad(ctx, f, t, name, l)
		})
	})
	return c
}

// onTable runs work on a table that exists; made: it did not before.
func (a *app) onTable(ctx context.Context, f *loadFlags, k load.Keys, work func(t target.Target, made bool) error) (err error) {
	t, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	has, err := t.HasTable(ctx, f.table)
	if err != nil {
		return err
	}
	if !has {
		if err := t.CreateTable(ctx, f.table, k.Splits(f.splits, f.rows)); err != nil {
			return err
		}
	}
	err = work(t, !has)
	if f.cleanup {
		err = errors.Join(err, t.DropTable(ctx, f.table))
	}
	return err
}

// runLoad measures and prints.
func (a *app) runLoad(ctx context.Context, f *loadFlags, t target.Target, name string, l load.Load) error {
	r, err := load.Run(ctx, l, f.options(t.Tables(f.table)))
	if err != nil {
		return err
	}
	r.Load, r.Server, r.Client, r.Table = name, f.endpoint, t.Client(), f.table
	if f.native && len(f.lockService) > 0 {
		r.Server = f.lockService[0]
	}
	if err := a.out.result(r); err != nil {
		return err
	}
	switch {
	case r.Wrong() > 0:
		return fmt.Errorf("%w: %d answers; see above", load.ErrWrong, r.Wrong())
	case r.Failed() > 0 && !f.allowErrors:
		return fmt.Errorf("%w: %d of %d", errFailures, r.Failed(), r.Failed()+r.Latency.Count)
	}
	return nil
}

// rmw returns the command of increments.
func (a *app) rmw() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{Use: "rmw", Short: "Increment counters, and check at the end that each is exact", Args: cobra.NoArgs}
	f.register(c)
	c.Flag("rows").DefValue, f.rows = "1000", 1000
	c.RunE = a.body(func(ctx context.Context) error {
		return a.onTable(ctx, f, load.Keys{}, func(t target.Target, _ bool) error {
			table := t.Tables(f.table)[0]
			l, err := load.OpenCounters(ctx, f.rows, table)
			if err != nil {
				return err
			}
			if err := a.runLoad(ctx, f, t, "rmw", l); err != nil && !errors.Is(err, errFailures) {
				return errors.Join(err, l.Check(ctx, table))
			} else if cerr := l.Check(ctx, table); cerr != nil {
				return cerr
			} else if err != nil {
				return err
			}
			a.note("all %d counters are exact", f.rows)
			return nil
		})
	})
	return c
}
