package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// phase is something that is measured at both servers.
type phase struct {
	name    string
	workers int
	goal    float64 // of the ratio, for a first version
	later   float64 // of the ratio, in the end; 0: the same
	fresh   bool    // on a table of its own that is empty, else on one with rows
	load    func(*load.Data) load.Load
}

// batch is how many rows a bulk write has.
const batch = 100

// phases are what compare measures, with its goals. The number in a name is
// how many workers there are; one of a bulk load sends batches of rows.
func phases() []phase {
	write := func(d *load.Data) load.Load { return load.NewWrite(d, false) }
	bulk := func(d *load.Data) load.Load { return load.NewBulk(d, batch, false) }
	scan := func(d *load.Data) load.Load { return load.NewScan(d, 0) }
	return []phase{
		{name: "write-64", workers: 64, goal: 0.5, fresh: true, load: write},
		{name: "write-256", workers: 256, goal: 0.75, later: 1.0, fresh: true, load: write},
		{name: "read-64", workers: 64, goal: 0.9, later: 1.1, load: load.NewRead},
		{name: "bulk-4", workers: 4, goal: 0.7, later: 1.0, fresh: true, load: bulk},
		{name: "bulk-16", workers: 16, goal: 0.7, later: 1.0, fresh: true, load: bulk},
		{name: "bulk-64", workers: 64, goal: 0.7, later: 1.0, fresh: true, load: bulk},
		{name: "scan-1", workers: 1, goal: 1.3, later: 2.0, load: scan},
		{name: "scan-4", workers: 4, goal: 1.3, later: 2.0, load: scan},
	}
}

// choose returns the phases whose names begin with one of only; all if there
// are none.
func choose(all []phase, only []string) ([]phase, error) {
	if len(only) == 0 {
		return all, nil
	}
	taken := make([]bool, len(all))
	for _, o := range only {
		o = strings.TrimSuffix(strings.TrimSpace(o), "s") // reads, writes, scans
		found := false
		for i, p := range all {
			if o != "" && strings.HasPrefix(p.name, o) {
				taken[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: --only %s: there are %s", errUsage, o, phaseNames(all))
		}
	}
	var out []phase
	for i, p := range all {
		if taken[i] {
			out = append(out, p)
		}
	}
	return out, nil
}

func phaseNames(all []phase) string {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// side is one of the servers that are compared.
type side struct {
	name   string
	target target.Target
	proc   *proc.Process
	status string // of which profiles are taken; "": none
}

// tableRows is the table with rows.
const tableRows = "bench-rows"

// freshRows is how many rows a table may get that begins empty; more than any
// server writes in a round.
const freshRows = 1 << 30

// measureFlags say how a phase is measured.
type measureFlags struct {
	rows             int64
	valueBytes       int
	duration, warmup time.Duration
	splits           int
	profiles         string // directory
	verify           bool
}

// fill makes the table with rows.
func (s *side) fill(ctx context.Context, f *measureFlags) error {
	d, err := load.NewData(f.rows, f.valueBytes, false, false)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err := s.target.CreateTable(ctx, tableRows, d.Keys.Splits(f.splits, f.rows)); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if _, err := load.Fill(ctx, d, batch, 4, s.target.Tables(tableRows)); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// measure runs a phase once.
func (s *side) measure(ctx context.Context, p phase, round int, f *measureFlags) (*load.Result, error) {
	r, err := s.measureOn(ctx, p, round, f)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", s.name, p.name, err)
	}
	return r, nil
}

func (s *side) measureOn(ctx context.Context, p phase, round int, f *measureFlags) (r *load.Result, err error) {
	rows, table, verify := f.rows, tableRows, f.verify
	if p.fresh { // nothing is read, and rows are too many to remember
		verify = false
		rows, table = freshRows, fmt.Sprintf("bench-%s-%d", p.name, round)
	}
	d, err := load.NewData(rows, f.valueBytes, false, verify)
	if err != nil {
		return nil, err
	}
	if p.fresh {
		if err := s.target.CreateTable(ctx, table, d.Keys.Splits(f.splits, rows)); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.target.DropTable(ctx, table)) }()
	}
	profiled := make(chan error, 1)
	begun := func() { profiled <- nil }
	if f.profiles != "" && s.status != "" {
		begun = func() {
			go func() { profiled <- s.saveProfile(ctx, p, round, f) }()
		}
	}
	r, err = load.Run(ctx, p.load(d), load.Options{
		Workers: p.workers, Duration: f.duration, Warmup: f.warmup, Seed: uint64(round) + 1, Tables: s.target.Tables(table), Begun: begun,
	})
	if err != nil {
		return nil, err
	}
	r.Load, r.Server, r.Client, r.Table = p.name, s.name, s.target.Client(), table
	for c, n := range r.Errors {
		return r, fmt.Errorf("%w: %d times %s: %s", errFailures, n, c, r.Examples[c])
	}
	return r, <-profiled
}

func (s *side) saveProfile(ctx context.Context, p phase, round int, f *measureFlags) error {
	seconds := max(1, int(f.duration.Round(time.Second).Seconds()))
	file := fmt.Sprintf("%s/%s-%d.pprof", f.profiles, p.name, round+1)
	return proc.Save(ctx, s.status, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), file)
}
