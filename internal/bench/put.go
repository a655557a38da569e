package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/openstore"
)

// putGoal is how many times as long as a PUT of the same size a write of a
// single worker may take, at the median.
const putGoal = 1.4

// putFlags are the flags of put.
type putFlags struct {
	store, tabletd string
	tabletdArgs    []string
	sizes          []int
	rounds, ops    int
	valueBytes     int
	require        bool
}

func (a *app) putCommand() *cobra.Command {
	f := &putFlags{}
	c := &cobra.Command{
		Use: "put --store URL", Args: cobra.NoArgs,
		Short: "Compare the latency of TabletDB's writes with that of PUTs to its bucket",
		Long: `put measures, one at a time, PUTs of objects of some sizes, and writes of single
rows by one worker to a TabletDB that keeps its log in the same bucket. Both take
turns in short rounds. All is below a prefix of its own in the bucket, and
removed at the end.`,
	}
	s := c.Flags()
	registerTabletd(c, &f.tabletd, &f.tabletdArgs)
	s.StringVar(&f.store, "store", "", "bucket: a directory, file:///dir or s3://bucket/prefix?endpoint=http://host:9000")
	s.IntSliceVar(&f.sizes, "sizes", []int{64 << 10, 1 << 20}, "sizes of further objects to PUT, in bytes")
	s.IntVar(&f.rounds, "rounds", 5, "how often each is measured")
	s.IntVar(&f.ops, "ops", 200, "operations in a round; of large objects fewer")
	s.IntVar(&f.valueBytes, "value-bytes", 1000, "size of values, and of the objects that they are compared with")
	s.BoolVar(&f.require, "require", false, fmt.Sprintf("exit with 4 if a write takes more than %.1f times as long as a PUT", putGoal))
	c.RunE = a.body(func(ctx context.Context) error { return a.put(ctx, f) })
	return c
}

// PutStudy is what put measured.
type PutStudy struct {
	Store string       `json:"store"`
	Puts  []PutLatency `json:"puts"`
	Write load.Latency `json:"write"` // of one worker; the median over the rounds of each number
	// Ratio is the median over the rounds of the median time of a write divided
	// by that of a conditional PUT of the same size, as the log's are.
	Ratio  float64   `json:"ratio"`
	Ratios []float64 `json:"ratios"`
	Goal   float64   `json:"goal"`
	Met    bool      `json:"met"`
}

// PutLatency is the latency of PUTs of one size.
type PutLatency struct {
	Bytes       int          `json:"bytes"`
	Conditional bool         `json:"conditional"` // only if there is no such object
	Latency     load.Latency `json:"latency"`

	rounds []load.Latency
}

func (a *app) put(ctx context.Context, f *putFlags) (err error) {
	if f.store == "" || f.rounds < 1 || f.ops < 1 {
		return fmt.Errorf("%w: want --store URL, and at least one round of one operation", errUsage)
	}
	scratch := "tabletbench-" + randomName()
	raw, err := below(f.store, scratch+"/raw")
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	db, err := below(f.store, scratch+"/db")
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	store, err := undo.bucket(ctx, raw)
	if err != nil {
		return err
	}
	if _, err := undo.bucket(ctx, db); err != nil { // to remove it in the end
		return err
	}
	dir, err := undo.dir("", "tabletbench-put-")
	if err != nil {
		return err
	}
	server, err := undo.startTabletDB(ctx, f.tabletd, &proc.TabletDBConfig{Data: dir, Store: db, TabletServers: 1, Args: f.tabletdArgs})
	if err != nil {
		return err
	}
	t, err := undo.open(target.OpenOfficial(ctx, server.Endpoint, target.Config{}))
	if err != nil {
		return err
	}
	study, err := a.putRounds(ctx, f, store, t)
	if err != nil {
		return err
	}
	return a.printPuts(study, f.require)
}

func (a *app) putRounds(ctx context.Context, f *putFlags, store objstore.Store, t target.Target) (*PutStudy, error) {
	const table = "bench-put"
	if err := t.CreateTable(ctx, table, nil); err != nil {
		return nil, err
	}
	d, err := load.NewData(freshRows, f.valueBytes, false, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	study := &PutStudy{Store: f.store, Goal: putGoal, Puts: []PutLatency{{Bytes: f.valueBytes, Conditional: true}, {Bytes: f.valueBytes}}}
	for _, size := range f.sizes {
		study.Puts = append(study.Puts, PutLatency{Bytes: size})
	}
	write, writes := load.NewWrite(d, false), []load.Latency(nil)
	for round := range f.rounds {
		for i := range study.Puts {
			p := &study.Puts[i]
			l := newPuts(store, p.Bytes, p.Conditional)
			r, err := a.alone(ctx, l, max(10, f.ops*1000/max(1000, p.Bytes)), nil, round)
			if err != nil {
				return nil, fmt.Errorf("PUT %d bytes: %w", p.Bytes, err)
			}
			p.rounds = append(p.rounds, r.Latency)
		}
		r, err := a.alone(ctx, write, f.ops, t.Tables(table), round)
		if err != nil {
			return nil, fmt.Errorf("write: %w", err)
		}
		writes = append(writes, r.Latency)
		study.Ratios = append(study.Ratios, float64(r.Latency.P50)/float64(study.Puts[0].rounds[round].P50))
		a.note("round %d of %d: conditional PUT p50 %s, write p50 %s", round+1, f.rounds, micros(study.Puts[0].rounds[round].P50), micros(r.Latency.P50))
	}
	for i := range study.Puts {
		study.Puts[i].Latency = medianLatency(study.Puts[i].rounds)
	}
	study.Write, study.Ratio = medianLatency(writes), median(study.Ratios)
	study.Met = study.Ratio <= study.Goal
	return study, nil
}

// alone runs a load with one worker. Errors of operations are errors.
func (a *app) alone(ctx context.Context, l load.Load, ops int, tables []load.Table, round int) (*load.Result, error) {
	if tables == nil {
		tables = []load.Table{nil} // the load has no table
	}
	r, err := load.Run(ctx, l, load.Options{Workers: 1, Ops: int64(ops), Warmup: 200 * time.Millisecond, Tables: tables, Seed: uint64(round) + 1})
	if err != nil {
		return nil, err
	}
	for c := range r.Errors {
		return nil, fmt.Errorf("%w: %s", errFailures, r.Examples[c])
	}
	return r, nil
}

// medianLatency returns the median of each number.
func medianLatency(ls []load.Latency) load.Latency {
	pick := func(f func(load.Latency) float64) float64 {
		var xs []float64
		for _, l := range ls {
			xs = append(xs, f(l))
		}
		return median(xs)
	}
	return load.Latency{
		Count: int64(pick(func(l load.Latency) float64 { return float64(l.Count) })),
		Mean:  pick(func(l load.Latency) float64 { return l.Mean }),
		P50:   int64(pick(func(l load.Latency) float64 { return float64(l.P50) })),
		P95:   int64(pick(func(l load.Latency) float64 { return float64(l.P95) })),
		P99:   int64(pick(func(l load.Latency) float64 { return float64(l.P99) })),
		P999:  int64(pick(func(l load.Latency) float64 { return float64(l.P999) })),
		Max:   int64(pick(func(l load.Latency) float64 { return float64(l.Max) })),
	}
}

// puts is a load of PUTs, each of a new object.
type puts struct {
	store       objstore.Store
	data        []byte // not written to
	conditional bool
}

func newPuts(s objstore.Store, size int, conditional bool) *puts {
	p := &puts{store: s, data: make([]byte, size), conditional: conditional}
	rand.Read(p.data) // never fails
	return p
}

func (l *puts) Do(ctx context.Context, w *load.Worker) (load.Kind, error) {
	put := l.store.Put
	if l.conditional {
		put = l.store.PutIfAbsent
	}
	w.Moved(1, int64(len(l.data)))
	return load.KindWrite, put(ctx, "put/"+randomName(), l.data)
}

func (a *app) printPuts(s *PutStudy, require bool) error {
	err := a.out.print(s, func(w io.Writer) error {
		fmt.Fprintln(w, "one at a time\tbytes\tmean\tp50\tp99\tmax")
		line := func(name string, bytes int, l load.Latency) error {
			_, err := fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", name, bytes, micros(int64(l.Mean)), micros(l.P50), micros(l.P99), micros(l.Max))
			return err
		}
		for _, p := range s.Puts {
			name := "PUT"
			if p.Conditional {
				name = "conditional PUT"
			}
			if err := line(name, p.Bytes, p.Latency); err != nil {
				return err
			}
		}
		if err := line("write by TabletDB", s.Puts[0].Bytes, s.Write); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "ratio of the p50 of a write to that of a conditional PUT: %.2f (goal: at most %.1f)\n", s.Ratio, s.Goal)
		return err
	})
	if err == nil && require && !s.Met {
		return fmt.Errorf("%w: a write takes %.2f times as long as a PUT; want at most %.1f", ErrGoal, s.Ratio, s.Goal)
	}
	return err
}

// below returns the URL of a prefix in a bucket.
func below(store, prefix string) (string, error) {
	if !strings.HasPrefix(store, "s3:") && !strings.HasPrefix(store, "file:") {
		if strings.HasPrefix(store, "mem:") {
			return "", errors.New("a bucket in memory is not shared by processes")
		}
		return filepath.Join(store, filepath.FromSlash(prefix)), nil
	}
	u, err := url.Parse(store)
	if err != nil {
		return "", err
	}
	return u.JoinPath(prefix).String(), nil
}

func randomName() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// openBucket opens a bucket until the end.
func (u *undo) openBucket(ctx context.Context, rawURL string) (objstore.Store, error) {
	s, err := openstore.Open(ctx, rawURL, openstore.Options{})
	if err == nil {
		u.add(s.Close)
	}
	return s, err
}

// bucket opens a bucket whose objects are deleted at the end.
func (u *undo) bucket(ctx context.Context, rawURL string) (objstore.Store, error) {
	s, err := openstore.Open(ctx, rawURL, openstore.Options{})
	if err != nil {
		return nil, err
	}
	u.add(func() error {
		// Also after an interrupt.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		return errors.Join(empty(ctx, s), s.Close(), removeLocal(rawURL))
	})
	return s, nil
}

// empty deletes all objects of a store.
func empty(ctx context.Context, s objstore.Store) error {
	var keys []string
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list what to delete: %w", err)
		}
		keys = append(keys, info.Key)
		if len(keys) == 1000 {
			if err := s.Delete(ctx, keys...); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			keys = keys[:0]
		}
	}
	return s.Delete(ctx, keys...)
}

// removeLocal removes the directory of a store, if it is one.
func removeLocal(rawURL string) error {
	if strings.HasPrefix(rawURL, "s3:") {
		return nil
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "file" {
		return os.RemoveAll(rawURL)
	}
	return os.RemoveAll(filepath.FromSlash(u.Path))
}
