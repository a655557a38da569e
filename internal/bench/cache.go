package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/load"
)

// Goals of cache: how many GETs of SSTables a random read may cost.
const (
	coldGoal = 1.3
	warmGoal = 0.012
)

// cacheTimes is how many times as large as the memory for blocks the data are.
const cacheTimes = 10

// cacheFlags are the flags of cache.
type cacheFlags struct {
	studyFlags
	cold, warm int64
	workers    int
}

// CacheStudy is what cache measured.
type CacheStudy struct {
	Rows       int64      `json:"rows"`
	DataBytes  int64      `json:"data_bytes"`  // of values
	CacheBytes int64      `json:"cache_bytes"` // memory for blocks
	Cold       CacheReads `json:"cold"`        // nothing in memory or on disk
	Warm       CacheReads `json:"warm"`        // nothing in memory, all on disk
	Met        bool       `json:"met"`
}

// CacheReads are random reads of single rows.
type CacheReads struct {
	Reads   int64        `json:"reads"`
	Gets    int64        `json:"gets"` // of SSTables, from the bucket
	Bytes   int64        `json:"bytes"`
	PerRead float64      `json:"gets_per_read"`
	Goal    float64      `json:"goal"`
	Latency load.Latency `json:"latency"`
}

func (r *CacheReads) met() bool { return r.PerRead <= r.Goal }

func (a *app) cacheCommand() *cobra.Command {
	f := &cacheFlags{}
	c := &cobra.Command{
		Use: "cache", Args: cobra.NoArgs,
		Short: "Count the GETs that random reads cost",
		Long: fmt.Sprintf(`cache fills a table of a TabletDB with one tablet server, whose memory for blocks
is a %dth of the data, and reads random rows: after a start without anything on
its disk, and after a start with all of the table in the page cache there. It
counts the GETs of SSTables that the server sends to the bucket.`, cacheTimes),
	}
	f.register(c)
	s := c.Flags()
	for _, name := range []string{"rounds", "duration", "warmup"} {
		if err := s.MarkHidden(name); err != nil {
			panic(err) // a flag of studyFlags
		}
	}
	s.Int64Var(&f.cold, "cold-reads", 300, "how many rows to read with a cold disk cache")
	s.Int64Var(&f.warm, "reads", 10_000, "how many rows to read with a warm disk cache")
	s.IntVar(&f.workers, "workers", 8, "how many read at once")
	c.RunE = a.body(func(ctx context.Context) error { return a.cache(ctx, f) })
	return c
}

func (a *app) cache(ctx context.Context, f *cacheFlags) (err error) {
	if f.cold < 1 || f.warm < 1 || f.workers < 1 {
		return fmt.Errorf("%w: want at least one read of each kind, and one worker", errUsage)
	}
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	c, dir, err := undo.cycle(ctx, &f.studyFlags)
	if err != nil {
		return err
	}
	s := &CacheStudy{Rows: f.rows, DataBytes: f.rows * int64(f.valueBytes)}
	mb := max(1, s.DataBytes/cacheTimes>>20)
	s.CacheBytes = mb << 20
	disk := filepath.Join(dir, "pages")
	args := []string{
		fmt.Sprintf("--cache-mb=%d", mb), "--flush-mb=16",
		"--cache-dir=" + disk, fmt.Sprintf("--cache-gb=%.3f", max(0.05, 3*float64(s.DataBytes)/(1<<30))),
	}
	if err := c.fillAndSettle(ctx, &f.studyFlags, args...); err != nil {
		return err
	}
	if err := os.RemoveAll(disk); err != nil {
		return err
	}
	if s.Cold, err = a.randomReads(ctx, c, f, f.cold, coldGoal, args); err != nil {
		return err
	}
	a.note("cold: %d GETs for %d reads", s.Cold.Gets, s.Cold.Reads)
	d, err := load.NewData(f.rows, f.valueBytes, false, false)
	if err != nil {
		return err
	}
	if _, err := c.run(ctx, load.NewScan(d, 0), 1, 1, 0); err != nil { // fills what is free
		return err
	}
	if err := c.stop(); err != nil {
		return err
	}
	if s.Warm, err = a.randomReads(ctx, c, f, f.warm, warmGoal, args); err != nil {
		return err
	}
	s.Met = s.Cold.met() && s.Warm.met()
	return errors.Join(c.stop(), a.printCache(s, f.require))
}

// randomReads starts the server and reads rows at random.
func (a *app) randomReads(ctx context.Context, c *cycle, f *cacheFlags, reads int64, goal float64, args []string) (r CacheReads, err error) {
	if err := c.start(ctx, args...); err != nil {
		return r, err
	}
	d, err := load.NewData(f.rows, f.valueBytes, false, false)
	if err != nil {
		return r, fmt.Errorf("%w: %w", errUsage, err)
	}
	before, err := c.counts(ctx)
	if err != nil {
		return r, err
	}
	res, err := c.run(ctx, load.NewRead(d), f.workers, reads, 0)
	if err != nil {
		return r, err
	}
	after, err := c.counts(ctx)
	if err != nil {
		return r, err
	}
	r = CacheReads{Reads: reads, Gets: after.gets - before.gets, Bytes: after.bytes - before.bytes, Goal: goal, Latency: res.Latency}
	r.PerRead = float64(r.Gets) / float64(r.Reads)
	return r, nil
}

func (a *app) printCache(s *CacheStudy, require bool) error {
	err := a.out.print(s, func(w io.Writer) error {
		fmt.Fprintf(w, "%d rows, %s of values, %s of memory for blocks\n", s.Rows, megabytes(s.DataBytes), megabytes(s.CacheBytes))
		fmt.Fprintln(w, "random reads\treads\tGETs\tGETs/read\tgoal\tread from the bucket\tp50\tp99")
		for _, r := range []struct {
			name string
			CacheReads
		}{{"cold disk cache", s.Cold}, {"warm disk cache", s.Warm}} {
			met := ""
			if !r.met() {
				met = "  missed"
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%.4f\t%.3f%s\t%s\t%s\n", r.name, r.Reads, r.Gets, r.PerRead, r.Goal, met, megabytes(r.Bytes), brief(r.Latency))
		}
		return nil
	})
	if err == nil && require && !s.Met {
		return fmt.Errorf("%w: %.4f GETs per read cold, %.4f warm", ErrGoal, s.Cold.PerRead, s.Warm.PerRead)
	}
	return err
}
