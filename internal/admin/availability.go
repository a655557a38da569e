package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/availability"
	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/admin/output"
)

// availabilityFlags are the flags of availability.
type availabilityFlags struct {
	all, watch, firstRow bool
	interval, patience   time.Duration
	count, parallel      int
	limit                int
}

func (r *run) availabilityCommand() *cobra.Command {
	var f availabilityFlags
	c := r.ofTable(long(r.command("availability [table]", "Measure which rows are served right now", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		if f.patience <= 0 || f.interval <= 0 || f.parallel < 1 || f.count < 0 || f.limit < 0 {
			return usagef("--patience, --interval and --parallel must be positive, --count and --limit must not be negative")
		}
		if f.count > 0 && !f.watch {
			return usagef("--count goes with --watch")
		}
		c, err := e.availability(ctx, args, f)
		if err != nil {
			return err
		}
		if f.watch {
			return e.watchAvailability(ctx, c, f)
		}
		return e.measureOnce(ctx, c, f.limit)
	})))
	c.Long = `Ask the servers of all tablets to read a row of each, and say which rows of which
tables are not served, since when and why, and how much of the tablets and of their
bytes is served. The exit code is 4 if something is not. No master is needed.

A probe reads a key that mostly is not there, which costs nothing; with --first-row
the first row is read, from the bucket if need be. With --watch it is measured again
and again, a line (with -o json an object) each time.`
	c.Example = `  tabletadm availability
  tabletadm availability pages --all --first-row
  tabletadm availability --watch --interval 1s`
	fl := c.Flags()
	fl.BoolVar(&f.all, "all", false, "list all tablets, not only those that are not served")
	fl.BoolVar(&f.watch, "watch", false, "measure again and again")
	fl.BoolVar(&f.firstRow, "first-row", false, "read the first row of each tablet")
	fl.DurationVar(&f.interval, "interval", 5*time.Second, "with --watch: the time from one measurement to the next")
	fl.DurationVar(&f.patience, "patience", 2*time.Second, "how long one probe may take")
	fl.IntVar(&f.count, "count", 0, "with --watch: end after that many measurements (0: never)")
	fl.IntVar(&f.limit, "limit", 50, "show people that many tablets (0: all); -o json has all")
	fl.IntVar(&f.parallel, "parallel", 64, "how many probes are under way at once")
	return c
}

// availability returns what is to be measured.
func (e *env) availability(ctx context.Context, args []string, f availabilityFlags) (availability.Config, error) {
	c := availability.Config{
		Source: e.source(), Patience: f.patience, Parallel: f.parallel, FirstRow: f.firstRow, All: f.all,
	}
	if len(args) > 0 {
		t, err := e.table(ctx, args[0])
		if err != nil {
			return c, err
		}
		c.Table = t.Name
	}
	if store, err := e.store(ctx); err == nil { // else sizes are not told
		c.Store = store
	}
	return c, nil
}

// unserved is the error of a measurement that found tablets that are not served.
func unserved(r *availability.Report) error {
	if n := r.Total.Tablets - r.Total.Served; n > 0 {
		return problemsf("%d of %d tablets are not served", n, r.Total.Tablets)
	}
	return nil
}

func (e *env) measureOnce(ctx context.Context, c availability.Config, limit int) error {
	bar := newBar(e.run.app, 1, "probing")
	c.Progress = func(done, total int) { bar.set(int64(done), int64(total)) }
	r, err := availability.Measure(ctx, c)
	bar.finish()
	if err != nil {
		return err
	}
	if err := e.out.Print(r, func(p *output.Page) { e.humanAvailability(p, r, limit) }); err != nil {
		return err
	}
	return unserved(r)
}

// watchAvailability measures until it is interrupted, or often enough.
func (e *env) watchAvailability(ctx context.Context, c availability.Config, f availabilityFlags) error {
	since := map[uint64]time.Time{} // from when on a tablet was found not to be served
	var probes, served int
	var worst error
	for n := 1; ; n++ {
		next := time.Now().Add(f.interval)
		r, err := availability.Measure(ctx, c)
		if err != nil {
			return err
		}
		since = follow(r, since)
		probes, served = probes+r.Total.Tablets, served+r.Total.Served
		if err := unserved(r); err != nil {
			worst = err
		}
		err = e.out.Stream(r, func(p *output.Page) {
			part := 100.0
			if probes > 0 {
				part = 100 * float64(served) / float64(probes)
			}
			p.Line("%s  %s; so far %s of all probes", time.Time(r.At).UTC().Format(time.TimeOnly), line(r.Total), inPercent(part))
			for _, t := range few(r.Tablets, f.limit) {
				p.Line("          %s", e.lineOf(t))
			}
			if n := len(r.Tablets) - len(few(r.Tablets, f.limit)); n > 0 {
				p.Line("          ... and %d more", n)
			}
		})
		if err != nil || f.count > 0 && n == f.count {
			return firstError(err, worst)
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// follow says of tablets whose records say that they are served since when they
// have been found not to be.
func follow(r *availability.Report, before map[uint64]time.Time) map[uint64]time.Time {
	since := map[uint64]time.Time{}
	for i := range r.Tablets {
		t := &r.Tablets[i]
		if t.Served {
			continue
		}
		at, ok := before[t.ID]
		if !ok {
			at = time.Time(r.At)
		}
		since[t.ID] = at
		t.For = max(t.For, output.Duration(time.Time(r.At).Sub(at)))
	}
	return since
}

// inPercent never rounds what is less up to 100, nor more down to 0.
func inPercent(p float64) string {
	switch s := fmt.Sprintf("%.2f%%", p); {
	case s == "100.00%" && p < 100:
		return "99.99%"
	case s == "0.00%" && p > 0:
		return "0.01%"
	default:
		return strings.Replace(s, ".00%", "%", 1)
	}
}

func line(s availability.Sum) string {
	text := fmt.Sprintf("%s of %s tablets served (%s)", output.Count(s.Served), output.Count(s.Tablets), inPercent(s.Percent()))
	if s.Bytes > 0 {
		text += fmt.Sprintf(", %s of %v", inPercent(s.BytesPercent()), s.Bytes)
	}
	if s.Unknown > 0 {
		text += fmt.Sprintf(" (not known of %d tablets)", s.Unknown)
	}
	return text
}

func (e *env) lineOf(t availability.Tablet) string {
	if t.Served {
		return fmt.Sprintf("%s %s: tablet %d at %s, in %v", e.short(t.Table), inspect.Rows(t.Start, t.End), t.ID, t.Server, t.Took)
	}
	return fmt.Sprintf("%s %s: tablet %d, %s for %v: %s", e.short(t.Table), inspect.Rows(t.Start, t.End), t.ID, t.State, t.For, t.Error)
}

func (e *env) humanAvailability(p *output.Page, r *availability.Report, limit int) {
	if r.Stale {
		p.Line("The lock service has no leader: what tablets there are is what one replica knows.")
	}
	p.Line("%s; the slowest answered in %v", line(r.Total), r.Slowest)
	if len(r.Tables) > 0 {
		p.Line("")
		p.Header("TABLE", "TABLETS", "SERVED", "", "BYTES", "SERVED")
		for _, s := range r.Tables {
			p.Row(e.short(s.Table), s.Tablets, s.Served, inPercent(s.Percent()), s.Bytes, inPercent(s.BytesPercent()))
		}
	}
	if len(r.Tablets) > 0 {
		p.Line("")
		p.Header("TABLE", "ROWS", "TABLET", "SERVER", "STATE", "FOR", "PROBE")
		for _, t := range few(r.Tablets, limit) {
			probe := t.Error
			if t.Served {
				probe = t.Took.String()
			}
			p.Row(e.short(t.Table), inspect.Rows(t.Start, t.End), t.ID, t.Server, t.State, t.For, probe)
		}
	}
	if n := len(r.Tablets) - len(few(r.Tablets, limit)); n > 0 {
		p.Line("... and %v more (--limit 0 shows all)", output.Count(n))
	}
	e.humanReasons(p, r)
}

// few returns the first n; with 0, all.
func few[T any](list []T, n int) []T {
	if n == 0 {
		return list
	}
	return list[:min(len(list), n)]
}

// humanReasons tells each reason once, with how many tablets it is for.
func (e *env) humanReasons(p *output.Page, r *availability.Report) {
	count, order := map[string]int{}, []string{}
	for _, t := range r.Tablets {
		for _, why := range t.Why {
			if strings.HasPrefix(why, "It has ") || strings.HasPrefix(why, "Its owner was told") { // with its age, which stands in the list
				continue
			}
			if count[why]++; count[why] == 1 {
				order = append(order, why)
			}
		}
	}
	if len(order) > 0 {
		p.Line("")
	}
	for _, why := range order {
		p.Line("%d tablets: %s", count[why], why)
	}
}
