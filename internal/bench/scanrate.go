package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
	"github.com/tabletdb/tabletdb/objstore"
)

// scanGoal is the least that a scan of what is in the bucket may be, of the speed
// of one of a table in memory: what the client can take.
const scanGoal = 0.7

// plainRange is the length of the ranges that plain GETs read, in bytes, and
// plainAhead how many are on their way at once: about what a scan does.
const (
	plainRange = 4 << 20
	plainAhead = 2
)

// scanFlags are the flags of scanrate.
type scanFlags struct {
	studyFlags
	megabytes int64
}

func (a *app) scanRateCommand() *cobra.Command {
	f := &scanFlags{}
	c := &cobra.Command{
		Use: "scanrate", Args: cobra.NoArgs,
		Short: "Measure scans from the bucket and from the disk cache",
		Long: `scanrate scans a table by Google's client: from the page cache on the server's
disk, and straight from the bucket. Each is held against the same scan of a
TabletDB that keeps everything in memory, and against plain GETs of the bytes of
the table's SSTables, in the same rounds.`,
	}
	f.register(c)
	s := c.Flags()
	for _, name := range []string{"rows", "duration", "warmup"} {
		if err := s.MarkHidden(name); err != nil {
			panic(err) // a flag of studyFlags
		}
	}
	s.Int64Var(&f.megabytes, "mb", 1024, "size of the table, in units of 2^20 bytes")
	s.Lookup("rounds").DefValue, f.rounds = "3", 3
	c.RunE = a.body(func(ctx context.Context) error { return a.scanRate(ctx, f) })
	return c
}

// scanRate has two parts, for the server with the table in the bucket runs with
// a page cache, and then without.
func (a *app) scanRate(ctx context.Context, f *scanFlags) (err error) {
	if f.megabytes < 1 || f.valueBytes < load.MinValue {
		return fmt.Errorf("%w: want at least one MiB, and values of %d bytes", errUsage, load.MinValue)
	}
	f.rows = max(1, f.megabytes<<20/int64(f.valueBytes))
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	c, dir, err := undo.cycle(ctx, &f.studyFlags)
	if err != nil {
		return err
	}
	r := &scanRates{app: a, f: f, c: c}
	if r.memory, err = a.openMemory(ctx, f, &undo, filepath.Join(dir, "memory")); err != nil {
		return err
	}
	if err := c.fillAndSettle(ctx, &f.studyFlags, "--cache-dir=none"); err != nil {
		return err
	}
	store, err := undo.openBucket(ctx, c.store)
	if err != nil {
		return err
	}
	if r.plain, err = newPlainGets(ctx, store); err != nil {
		return err
	}
	if err := c.start(ctx, "--cache-dir="+filepath.Join(dir, "pages"), fmt.Sprintf("--cache-gb=%.3f", 0.05+2*float64(f.megabytes)/1024)); err != nil {
		return err
	}
	if _, err := r.scan(ctx, c.target, 0); err != nil { // fills the page cache
		return err
	}
	if err := r.part(ctx, "disk cache"); err != nil {
		return err
	}
	if err := errors.Join(c.stop(), c.start(ctx, "--cache-dir=none")); err != nil {
		return err
	}
	if err := r.part(ctx, "bucket"); err != nil {
		return err
	}
	return errors.Join(c.stop(), a.printContrasts(r.out, "scan, MB", "other, MB", func(r *load.Result) float64 { return r.MBPerSecond }, f.require))
}

// openMemory runs a TabletDB that keeps the table in its memtable.
func (a *app) openMemory(ctx context.Context, f *scanFlags, u *undo, dir string) (target.Target, error) {
	flush := 2*f.megabytes + 64
	db, err := u.startTabletDB(ctx, f.tabletd, &proc.TabletDBConfig{Data: dir, Store: "mem:", TabletServers: 1, Args: []string{
		fmt.Sprintf("--flush-mb=%d", flush), fmt.Sprintf("--memtable-mb=%d", 5*flush),
	}})
	if err != nil {
		return nil, err
	}
	t, err := u.open(target.OpenOfficial(ctx, db.Endpoint, target.Config{}))
	if err != nil {
		return nil, err
	}
	s := &side{name: "memory", target: t, proc: db.Process}
	return t, s.fill(ctx, &f.measureFlags)
}

// scanRates is scanrate at work.
type scanRates struct {
	app    *app
	f      *scanFlags
	c      *cycle
	memory target.Target
	plain  *plainGets
	out    []*Contrast
}

// part measures scans of the table from where its bytes are now.
func (s *scanRates) part(ctx context.Context, from string) error {
	var scans, memory, plain []*load.Result
	for round := range s.f.rounds {
		before, err := s.c.counts(ctx)
		if err != nil {
			return err
		}
		for k := range 3 {
			var r *load.Result
			var err error
			switch (k + round) % 3 { // who begins changes
			case 0:
				r, err = s.scan(ctx, s.c.target, round)
				scans = append(scans, r)
			case 1:
				r, err = s.scan(ctx, s.memory, round)
				memory = append(memory, r)
			case 2:
				r, err = s.app.once(ctx, s.plain, []load.Table{nil}, round)
				plain = append(plain, r)
			}
			if err != nil {
				return err
			}
		}
		after, err := s.c.counts(ctx)
		if err != nil {
			return err
		}
		s.app.note("round %d of %d: %s %.0f MB/s with %d GETs, memory %.0f MB/s, plain GETs %.0f MB/s", round+1, s.f.rounds, from,
			scans[round].MBPerSecond, after.gets-before.gets, memory[round].MBPerSecond, plain[round].MBPerSecond)
	}
	speed := func(r *load.Result) float64 { return r.MBPerSecond }
	s.out = append(s.out, newContrast(from+" / memory", scanGoal, scans, memory, speed), newContrast(from+" / plain GETs", 0, scans, plain, speed))
	return nil
}

// scan scans the whole table once.
func (s *scanRates) scan(ctx context.Context, t target.Target, round int) (*load.Result, error) {
	d, err := load.NewData(s.f.rows, s.f.valueBytes, false, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	r, err := s.app.once(ctx, load.NewScan(d, 0), t.Tables(tableRows), round)
	if err == nil && r.Rows != s.f.rows {
		err = fmt.Errorf("%w: a scan found %d rows of %d", load.ErrWrong, r.Rows, s.f.rows)
	}
	return r, err
}

// plainGets is a load that reads all SSTables of a bucket, once with each
// operation.
type plainGets struct {
	store  objstore.Store
	ranges []plainPart
}

type plainPart struct {
	key    string
	off, n int64
}

func newPlainGets(ctx context.Context, s objstore.Store) (*plainGets, error) {
	p := &plainGets{store: s}
	for info, err := range s.List(ctx, base.SSTablePrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list SSTables: %w", err)
		}
		for off := int64(0); off < info.Size; off += plainRange {
			p.ranges = append(p.ranges, plainPart{info.Key, off, min(plainRange, info.Size-off)})
		}
	}
	if len(p.ranges) == 0 {
		return nil, errors.New("there is no SSTable in the bucket")
	}
	return p, nil
}

// Do implements load.Load.
func (p *plainGets) Do(ctx context.Context, w *load.Worker) (load.Kind, error) {
	type answer struct {
		n   int
		err error
	}
	answers := make(chan chan answer, plainAhead-1) // in order, as a scan needs them
	go func() {
		defer close(answers)
		for _, r := range p.ranges {
			one := make(chan answer, 1)
			answers <- one
			go func() {
				data, err := p.store.GetRange(ctx, r.key, r.off, r.n)
				one <- answer{len(data), err}
			}()
		}
	}()
	var errs []error
	for one := range answers {
		a := <-one
		errs = append(errs, a.err)
		w.Moved(0, int64(a.n))
	}
	return load.KindRead, errors.Join(errs...)
}
