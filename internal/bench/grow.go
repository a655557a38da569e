package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lockclient "github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
)

// growSpread is how many times as large as the smallest the largest tablet may
// be in the end.
const growSpread = 2

// growFlags are the flags of grow.
type growFlags struct {
	tabletd, store string
	tabletdArgs    []string
	rows           int64
	valueBytes     int
	workers        int
	servers        int
	quiet, limit   time.Duration
	require        bool
}

func (a *app) growCommand() *cobra.Command {
	f := &growFlags{}
	c := &cobra.Command{
		Use: "grow", Args: cobra.NoArgs,
		Short: "Load many rows into one tablet and see what becomes of it",
		Long: `grow runs a TabletDB with several tablet servers and loads rows, in random order
and in batches, into a table that begins as one tablet. When tablets have stopped
to split, move and be compacted, it reports the tablets and their sizes, how they
are spread, and what was written to and read from the bucket for each operation;
it collects garbage and reports how much the bucket holds; then it reads every row
back and checks it.`,
	}
	s := c.Flags()
	registerTabletd(c, &f.tabletd, &f.tabletdArgs)
	s.StringVar(&f.store, "store", "", "bucket for TabletDB (default: a new directory)")
	s.Int64Var(&f.rows, "rows", 5_000_000, "rows to load")
	s.IntVar(&f.valueBytes, "value-bytes", 1000, "size of values")
	s.IntVar(&f.workers, "workers", 16, "batches that are under way at once")
	s.IntVar(&f.servers, "tablet-servers", 3, "tablet servers")
	s.DurationVar(&f.quiet, "quiet", 30*time.Second, "how long nothing must have happened for the load to be digested")
	s.DurationVar(&f.limit, "digest", 15*time.Minute, "how long to wait for that")
	s.BoolVar(&f.require, "require", false, "exit with 4 if the tablets differ too much")
	c.RunE = a.body(func(ctx context.Context) error { return a.grow(ctx, f) })
	return c
}

// GrowStudy is what grow measured.
type GrowStudy struct {
	Rows      int64   `json:"rows"`
	UserBytes int64   `json:"user_bytes"` // of keys and values
	Load      float64 `json:"load_s"`
	Speed     float64 `json:"rows_per_s"`
	Digest    float64 `json:"digest_s"` // until nothing moved any more

	Tablets  []int64        `json:"tablets"` // their bytes
	Smallest int64          `json:"smallest"`
	Largest  int64          `json:"largest"`
	Servers  map[string]int `json:"servers"` // tablets of each
	Met      bool           `json:"met"`     // Largest is at most growSpread times Smallest

	Traffic map[string]Traffic `json:"traffic"` // by kind of object
	// WriteAmplification is all bytes written to the bucket, divided by
	// UserBytes; SpaceAmplification all bytes in it once garbage is collected.
	WriteAmplification float64  `json:"write_amplification"`
	SpaceAmplification float64  `json:"space_amplification"`
	Garbage            gc.Count `json:"garbage"` // that was collected at the end
	Stored             gc.Count `json:"stored"`
	PutsPerBatch       float64  `json:"puts_per_batch"`
	GetsPerBatch       float64  `json:"gets_per_batch"`

	Read float64 `json:"read_rows_per_s"` // of the scan that checks
}

// Traffic is what went to and came from the bucket.
type Traffic struct {
	Puts     int64 `json:"puts"`
	PutBytes int64 `json:"put_bytes"`
	Gets     int64 `json:"gets"`
	GetBytes int64 `json:"get_bytes"`
	Deletes  int64 `json:"deletes"`
}

func (a *app) grow(ctx context.Context, f *growFlags) (err error) {
	if f.rows < batch || f.workers < 1 || f.servers < 1 {
		return fmt.Errorf("%w: want at least %d rows, one worker and one server", errUsage, batch)
	}
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	g, err := a.openGrow(ctx, f, &undo)
	if err != nil {
		return err
	}
	if err := g.load(ctx); err != nil {
		return err
	}
	if err := g.digest(ctx); err != nil {
		return err
	}
	if err := g.account(ctx); err != nil {
		return err
	}
	if err := g.check(ctx); err != nil {
		return err
	}
	return a.printGrow(g.study, f.require)
}

// growth is a run of grow.
type growth struct {
	*growFlags
	app   *app
	db    *proc.TabletDB
	raw   string // the bucket
	t     target.Target
	ls    lockservice.Client
	meta  *meta.Store
	conn  *grpc.ClientConn
	data  *load.Data
	study *GrowStudy
}

const growTable = "bench-grow"

func (a *app) openGrow(ctx context.Context, f *growFlags, u *undo) (*growth, error) {
	g := &growth{growFlags: f, app: a, study: &GrowStudy{Rows: f.rows, Servers: map[string]int{}, Traffic: map[string]Traffic{}}}
	dir, err := u.dir("", "tabletbench-grow-")
	if err != nil {
		return nil, err
	}
	if g.raw = f.store; g.raw == "" {
		g.raw = dir + "/bucket"
	} else if g.raw, err = below(f.store, "tabletbench-"+randomName()); err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if _, err := u.bucket(ctx, g.raw); err != nil { // to remove it in the end
		return nil, err
	}
	if g.db, err = u.startTabletDB(ctx, f.tabletd, &proc.TabletDBConfig{Data: dir, Store: g.raw, TabletServers: f.servers, Args: f.tabletdArgs}); err != nil {
		return nil, err
	}
	if g.t, err = u.open(target.OpenOfficial(ctx, g.db.Endpoint, target.Config{})); err != nil {
		return nil, err
	}
	ls, err := lockclient.New(lockclient.Config{
		Endpoints: []string{g.db.LockService}, Network: rpc.TCP{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	u.add(ls.Close)
	g.ls, g.meta = ls, meta.NewStore(ls)
	if g.conn, err = grpc.NewClient("passthrough:///"+g.db.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, err
	}
	u.add(g.conn.Close)
	if g.data, err = load.NewData(f.rows, f.valueBytes, false, true); err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return g, g.t.CreateTable(ctx, growTable, nil)
}

// load writes every row once.
func (g *growth) load(ctx context.Context) error {
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.progress(ctx, done)
	}()
	began := time.Now()
	r, err := load.Run(ctx, load.NewBulk(g.data, batch, false), load.Options{
		Workers: g.workers, Ops: g.rows / batch, Tables: g.t.Tables(growTable),
	})
	close(done)
	<-watched
	if err != nil {
		return err
	}
	for c, n := range r.Errors {
		return fmt.Errorf("%w: %d batches: %s", errFailures, n, r.Examples[c])
	}
	s := g.study
	s.Load = time.Since(began).Seconds()
	s.Rows = r.Rows
	s.Speed = float64(r.Rows) / s.Load
	s.UserBytes = r.Rows * int64(g.valueBytes+len(load.Keys{}.Key(0)))
	g.app.note("loaded %d rows in %.0f s", r.Rows, s.Load)
	return nil
}

// progress says now and then how far the load is.
func (g *growth) progress(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if all, err := g.tablets(ctx); err == nil {
			sizes, _ := g.sizes(ctx, all)
			var sum int64
			for _, n := range sizes {
				sum += n
			}
			g.app.note("%d tablets, about %s", len(all), megabytes(sum))
		}
	}
}

// tablets returns the records of the table's tablets.
func (g *growth) tablets(ctx context.Context) ([]meta.Tablet, error) {
	all, _, err := g.meta.All(ctx, lockservice.ReadOptions{})
	return all, err
}

// digest waits until nothing happens any more.
func (g *growth) digest(ctx context.Context) error {
	began, last, since := time.Now(), "", time.Now()
	for time.Since(since) < g.quiet {
		if time.Since(began) > g.limit {
			return fmt.Errorf("%w: tablets and files still change %v after the load", errFailures, g.limit)
		}
		all, err := g.tablets(ctx)
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, t := range all {
			fmt.Fprintln(&b, t.ID, t.Epoch, t.OwnerAddress, t.State, t.ManifestVersion)
		}
		if now := b.String(); now != last {
			last, since = now, time.Now()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.study.Digest = (time.Since(began) - g.quiet).Seconds()
	g.app.note("digested after %.0f s more", g.study.Digest)
	return nil
}

// check reads every row.
func (g *growth) check(ctx context.Context) error {
	began := time.Now()
	r, err := load.Run(ctx, load.NewScan(g.data, 0), load.Options{Workers: 1, Ops: 1, Tables: g.t.Tables(growTable), Grace: g.limit})
	if err != nil {
		return err
	}
	for c := range r.Errors {
		return fmt.Errorf("read all rows: %s: %s: %w", c, r.Examples[c], load.ErrWrong)
	}
	if r.Rows != g.study.Rows {
		return fmt.Errorf("%w: %d rows were written, %d are there", load.ErrWrong, g.study.Rows, r.Rows)
	}
	g.study.Read = float64(r.Rows) / time.Since(began).Seconds()
	return nil
}
