package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// cycle is a TabletDB whose server is started again and again with other flags,
// on a part of its own of a bucket.
type cycle struct {
	config *proc.TabletDBConfig
	store  string // URL of its part of the bucket
	args   []string
	db     *proc.TabletDB // nil: it does not run
	target target.Target
}

// cycle makes one, which is removed with all that it has stored at the end. dir
// is for its state, and others may put files of theirs beside it.
func (u *undo) cycle(ctx context.Context, f *studyFlags) (c *cycle, dir string, err error) {
	if f.rounds < 1 || f.rows < 1 {
		return nil, "", fmt.Errorf("%w: want at least one round and one row", errUsage)
	}
	path, err := proc.FindTabletd(f.tabletd)
	if err != nil {
		return nil, "", err
	}
	if dir, err = u.dir("", "tabletbench-study-"); err != nil {
		return nil, "", err
	}
	store := f.store
	if store == "" {
		store = filepath.Join(dir, "store")
	}
	if store, err = below(store, "tabletbench-"+randomName()); err != nil {
		return nil, "", fmt.Errorf("%w: %w", errUsage, err)
	}
	if _, err := u.bucket(ctx, store); err != nil { // to remove it in the end
		return nil, "", err
	}
	c = &cycle{store: store, args: f.tabletdArgs, config: &proc.TabletDBConfig{
		Tabletd: path, Data: filepath.Join(dir, "data"), Store: store, TabletServers: 1,
	}}
	u.add(c.end)
	return c, dir, nil
}

// start starts the server. Flags of the command line come last, and win.
func (c *cycle) start(ctx context.Context, args ...string) (err error) {
	c.config.Args = append(args[:len(args):len(args)], c.args...)
	if c.db, err = proc.StartTabletDB(ctx, c.config); err != nil {
		return err
	}
	c.target, err = target.OpenOfficial(ctx, c.db.Endpoint, target.Config{})
	return err
}

// stop stops the server; what is in memory is flushed.
func (c *cycle) stop() error {
	db, t := c.db, c.target
	c.db, c.target = nil, nil
	var err error
	if t != nil {
		err = t.Close()
	}
	return errors.Join(err, db.Stop(2*time.Minute))
}

// end ends the server if an error has left it running.
func (c *cycle) end() error {
	if c.db == nil {
		return nil
	}
	c.db.Kill()
	if c.target != nil {
		return c.target.Close()
	}
	return nil
}

// fill makes the table with rows.
func (c *cycle) fill(ctx context.Context, f *studyFlags) error {
	s := &side{name: "tabletdb", target: c.target, proc: c.db.Process}
	return s.fill(ctx, &f.measureFlags)
}

// fillAndSettle makes the table with rows, all in files that wait for no
// compaction, and stops the server.
func (c *cycle) fillAndSettle(ctx context.Context, f *studyFlags, args ...string) error {
	if err := c.start(ctx, args...); err != nil {
		return err
	}
	if err := c.fill(ctx, f); err != nil {
		return err
	}
	if err := c.quiet(ctx); err != nil {
		return err
	}
	if err := c.stop(); err != nil { // flushes, and there may be something to compact again
		return err
	}
	if err := c.start(ctx, args...); err != nil {
		return err
	}
	return errors.Join(c.quiet(ctx), c.stop())
}

// counts sums up what the server tells of its reads of SSTables.
type counts struct{ gets, bytes, hits int64 }

func (c *cycle) counts(ctx context.Context) (n counts, err error) {
	samples, err := c.db.Metrics(ctx)
	if err != nil {
		return n, err
	}
	for _, m := range samples {
		op := m.Labels["op"]
		get := m.Labels["kind"] == "sst" && (op == "get" || op == "get_range" || op == "download")
		switch {
		case m.Name == "tabletdb_objstore_calls_total" && get:
			n.gets += int64(m.Value)
		case m.Name == "tabletdb_objstore_bytes_total" && get:
			n.bytes += int64(m.Value)
		case m.Name == "tabletdb_pagecache_pages_total" && m.Labels["outcome"] == "hit":
			n.hits += int64(m.Value)
		}
	}
	return n, nil
}

// quiet waits until nothing is being flushed or compacted.
func (c *cycle) quiet(ctx context.Context) error {
	last, since := -1.0, time.Now()
	for deadline := time.Now().Add(5 * time.Minute); time.Since(since) < 2*time.Second; {
		if time.Now().After(deadline) {
			return errors.New("the server flushes and compacts without end")
		}
		samples, err := c.db.Metrics(ctx)
		if err != nil {
			return err
		}
		sum := 0.0
		for _, m := range samples {
			if name, ok := strings.CutPrefix(m.Name, "tabletdb_tabletserver_"); ok && (strings.HasPrefix(name, "compact") || strings.HasPrefix(name, "flush")) {
				sum += m.Value
			}
		}
		if sum != last {
			last, since = sum, time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// run runs a load of a number of operations on the table with rows. Errors of
// operations are errors.
func (c *cycle) run(ctx context.Context, l load.Load, workers int, ops int64, seed int) (*load.Result, error) {
	return runOps(ctx, l, load.Options{Workers: workers, Ops: ops, Seed: uint64(seed) + 1, Tables: c.target.Tables(tableRows)})
}

// once does a load's operation once, without a warm-up.
func (a *app) once(ctx context.Context, l load.Load, tables []load.Table, round int) (*load.Result, error) {
	return runOps(ctx, l, load.Options{Workers: 1, Ops: 1, Seed: uint64(round) + 1, Tables: tables})
}

func runOps(ctx context.Context, l load.Load, o load.Options) (*load.Result, error) {
	r, err := load.Run(ctx, l, o)
	if err != nil {
		return nil, err
	}
	for code := range r.Errors {
		return nil, fmt.Errorf("%w: %s: %s", errFailures, code, r.Examples[code])
	}
	return r, nil
}
