package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/client/bulkload"
	"github.com/tabletdb/tabletdb/internal/admin/csvload"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// loadingSST is the flags of import sst.
type loadingSST struct {
	importing
	dryRun bool
	dir    string
	memory int
	file   int
}

func (r *run) importSSTCommand() *cobra.Command {
	var o loadingSST
	c := r.ofTable(long(r.command("sst <table> <file | ->...", "Load the rows of CSV files by writing SSTables", cobra.MinimumNArgs(2), func(ctx context.Context, e *env, args []string) error {
		return o.run(ctx, e, args[0], args[1:])
	})))
	c.Long = `Load the rows of CSV or TSV files, read as import csv reads them, without going
through tablet servers: they are sorted here, written to the bucket as SSTables, and
adopted by the tablets. That is many times faster where there is much, and all or
nothing: before the command says so nothing of it is seen, and where lines are bad
nothing is loaded, unless --allow-bad is given. Different tablets show their part at
different moments, each all of it at once. When the command fails, what it
uploaded is collected by itself.

It needs the lock service and the bucket, with credentials, and room in --dir for what
does not fit in --memory. Files whose names end in .tsv are separated by tabulators.`
	c.Example = `  tabletadm import sst flights delays-*.csv --key '{Origin State}#{Airport Name}#{Flight Date}' --family cf
  tabletadm import sst pages cells.tsv --cells --dry-run`
	f := c.Flags()
	o.addFlags(f)
	f.Lookup("allow-bad").Usage = "load although lines were bad"
	f.Lookup("max-bad").Usage = "stop reading after more bad lines than this; -1: never"
	f.BoolVar(&o.dryRun, "dry-run", false, "read and check everything, load nothing")
	f.StringVar(&o.dir, "dir", "", "directory for sorting; default: that for temporary files")
	f.IntVar(&o.memory, "memory", 128, "MiB of cells to keep in memory")
	f.IntVar(&o.file, "file-size", 64, "MiB after which another SSTable is begun")
	return c
}

// sstSummary is the answer of import sst.
type sstSummary struct {
	Load       uint64          `json:"load,omitempty"`
	DryRun     bool            `json:"dry_run,omitempty"`
	Lines      int64           `json:"lines"` // that are good
	Rows       uint64          `json:"rows"`  // that were loaded
	Cells      uint64          `json:"cells"`
	Repeated   uint64          `json:"repeated_cells"` // that an earlier line had, too
	Files      int             `json:"files"`
	Bytes      int64           `json:"bytes"`
	BadLines   int             `json:"bad_lines"`
	Bad        []badLineOf     `json:"bad,omitempty"`
	Seconds    output.Duration `json:"seconds"`
	Adopting   output.Duration `json:"adopting_seconds"`
	RowsPerSec float64         `json:"rows_per_second"`
	Stopped    string          `json:"stopped,omitempty"`
}

type badLineOf struct {
	File  string `json:"file"`
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// sstLoader reads files into a loader. It is used by one goroutine.
type sstLoader struct {
	o     *loadingSST
	e     *env
	table meta.Table
	name  string
	stamp int64 // of cells that have none; -1: the loader's
	to    *bulkload.Loader
	sum   sstSummary
	began time.Time
}

func (o *loadingSST) run(ctx context.Context, e *env, table string, files []string) error {
	t, err := e.table(ctx, table)
	if err != nil {
		return err
	}
	store, err := e.store(ctx)
	if err != nil {
		return err
	}
	l := &sstLoader{o: o, e: e, table: t, name: table, stamp: -1, began: time.Now(), sum: sstSummary{DryRun: o.dryRun}}
	if o.ts != "" {
		ts, err := parseTimestamp(o.ts)
		if err != nil {
			return err
		}
		l.stamp = int64(ts)
	}
	if o.memory < 1 || o.file < 1 {
		return usagef("--memory and --file-size are in MiB: at least 1")
	}
	var b *bar
	l.to, err = bulkload.Open(ctx, bulkload.Config{Cell: e.ls, Store: store, Table: t.Name, Options: bulkload.Options{
		Dir: o.dir, Memory: o.memory << 20, FileBytes: int64(o.file) << 20,
		Progress: func(p bulkload.Progress) { b.set(int64(p.Cells), int64(max(l.sum.Cells, p.Cells))) },
	}})
	if err != nil {
		return err
	}
	defer l.to.Close(context.WithoutCancel(ctx)) // else its session expires
	err = l.readAll(ctx, files)
	if err == nil && (l.sum.BadLines == 0 || o.allowBad) && !o.dryRun {
		b = newBar(e.run.app, int64(l.sum.Cells), "writing cells")
		err = l.commit(ctx)
		b.finish()
	}
	return l.report(err)
}

func (l *sstLoader) commit(ctx context.Context) error {
	s, err := l.to.Commit(ctx)
	l.sum.Load, l.sum.Rows, l.sum.Cells, l.sum.Repeated = uint64(s.ID), s.Rows, s.Cells, s.Repeated
	l.sum.Files, l.sum.Bytes, l.sum.Adopting = s.Files, s.Bytes, output.Duration(s.Adopt)
	return err
}

func (l *sstLoader) readAll(ctx context.Context, files []string) error {
	for _, file := range files {
		if err := l.readFile(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (l *sstLoader) readFile(ctx context.Context, file string) error {
	in, size, err := open(l.e.run.app, file)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	o := l.o.importing
	if strings.HasSuffix(file, ".tsv") {
		o.comma = `\t`
	}
	r, err := o.reader(in, file, l.table, l.name)
	if err != nil {
		return err
	}
	b := newBar(l.e.run.app, size, file)
	defer b.finish()
	offset := int64(0)
	for ctx.Err() == nil {
		row, err := r.Next()
		var bad *csvload.LineError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.As(err, &bad):
			return fmt.Errorf("read %s: %w", file, err)
		case err == nil:
			if err = l.add(row); err != nil && !isCellError(err) {
				return err
			}
			bad = &csvload.LineError{Line: row.Line, Err: err}
		}
		if err != nil && l.bad(file, bad) {
			return problemsf("more than %d lines are bad (--max-bad)", l.o.maxBad)
		}
		b.add(r.Offset()-offset, l.sum.Lines)
		offset = r.Offset()
	}
	return context.Cause(ctx)
}

// isCellError reports whether an error is about a cell, and not about the load.
func isCellError(err error) bool {
	return errors.Is(err, base.ErrInvalid) || errors.Is(err, base.ErrFamilyNotFound) || errors.Is(err, base.ErrUnimplemented)
}

// bad notes a bad line and reports whether there are too many.
func (l *sstLoader) bad(file string, e *csvload.LineError) bool {
	const most = 10_000 // that are kept
	l.sum.BadLines++
	if len(l.sum.Bad) < most {
		l.sum.Bad = append(l.sum.Bad, badLineOf{file, e.Line, strings.ReplaceAll(e.Err.Error(), "\n", "; ")})
	}
	return l.o.maxBad >= 0 && l.sum.BadLines > l.o.maxBad
}

// add adds the cells of a line, if all are good.
func (l *sstLoader) add(row csvload.Row) error {
	stamp := func(c *csvload.Cell) int64 {
		if c.Timestamp < 0 {
			return l.stamp
		}
		return c.Timestamp
	}
	for i := range row.Cells {
		c := &row.Cells[i]
		if err := l.to.Check([]byte(row.Key), c.Family, []byte(c.Qualifier), stamp(c), []byte(c.Value)); err != nil {
			return err
		}
	}
	for i := range row.Cells {
		c := &row.Cells[i]
		if l.o.dryRun {
			break
		}
		if err := l.to.Add([]byte(row.Key), c.Family, []byte(c.Qualifier), stamp(c), []byte(c.Value)); err != nil {
			return err
		}
	}
	l.sum.Lines++
	l.sum.Cells += uint64(len(row.Cells))
	return nil
}

// report prints the bad lines and the summary; err is why it stopped.
func (l *sstLoader) report(err error) error {
	s := &l.sum
	elapsed := time.Since(l.began)
	s.Seconds = output.Duration(elapsed)
	s.RowsPerSec = float64(s.Rows) / max(elapsed.Seconds(), 1e-3)
	if err != nil {
		s.Stopped = err.Error()
	}
	if !l.e.out.Machine() {
		for _, b := range s.Bad {
			fmt.Fprintf(l.e.run.app.Stderr, "%s: line %d: %s\n", b.File, b.Line, b.Error)
		}
	}
	nothing := err == nil && s.BadLines > 0 && !l.o.allowBad && !s.DryRun
	perr := l.e.out.Print(s, func(p *output.Page) {
		switch {
		case s.DryRun:
			p.Line("%s lines, %s cells could be loaded; %d bad lines", output.Count(s.Lines), output.Count(s.Cells), s.BadLines)
		case s.Load == 0:
			p.Line("nothing was loaded; %s lines are good, %d bad", output.Count(s.Lines), s.BadLines)
		default:
			p.Line("%s rows, %s cells in %d SSTables (%v) in %v (%s rows/s), %v of it until all tablets had them; %d bad lines", output.Count(s.Rows), output.Count(s.Cells),
				s.Files, output.Size(s.Bytes), s.Seconds, output.Count(int64(s.RowsPerSec)), s.Adopting, s.BadLines)
		}
		if s.Repeated > 0 {
			p.Line("%s cells were there twice, of which the last one counts: is the key template unique? {line} makes it so", output.Count(s.Repeated))
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("the import stopped: %w", err)
	case perr != nil:
		return perr
	case nothing:
		return problemsf("nothing was loaded, for %d lines are bad (--allow-bad loads the others)", s.BadLines)
	case s.BadLines > 0 && s.DryRun:
		return problemsf("%d lines are bad", s.BadLines)
	}
	return nil
}

// pendingLoad is a line of import pending.
type pendingLoad struct {
	Load     uint64    `json:"load"`
	Table    string    `json:"table"`
	Decided  time.Time `json:"decided"`
	Files    uint64    `json:"files"`
	Bytes    uint64    `json:"bytes"`
	Tablets  int       `json:"tablets"`
	Adopted  int       `json:"adopted"`
	Manifest string    `json:"manifest"`
}

func (r *run) importPendingCommand() *cobra.Command {
	return r.command("pending", "Show the loads of SSTables that tablets are about to adopt", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		loads, damaged, _, err := e.meta.AllBulkLoads(ctx)
		if err != nil {
			return err
		}
		list := make([]pendingLoad, len(loads))
		for i, b := range loads {
			list[i] = pendingLoad{Load: uint64(b.ID), Table: fmt.Sprintf("table %d", b.Table), Decided: b.Decided, Files: b.Files, Bytes: b.Bytes, Manifest: base.ManifestObject(b.Manifest)}
			if t, err := e.meta.Table(ctx, b.Table); err == nil {
				list[i].Table = e.short(t.Name)
			}
			tablets, err := e.meta.Tablets(ctx, b.Table, lockservice.ReadOptions{})
			if err != nil {
				return err
			}
			for _, t := range tablets {
				list[i].Tablets++
				if t.Adopted(b.ID) {
					list[i].Adopted++
				}
			}
		}
		err = e.out.Print(list, func(p *output.Page) {
			if len(list) == 0 {
				p.Line("no load is pending")
				return
			}
			p.Header("load", "table", "decided", "files", "size", "adopted by")
			for _, b := range list {
				p.Row(b.Load, b.Table, b.Decided.UTC().Format(time.RFC3339), b.Files, output.Size(int64(b.Bytes)), fmt.Sprintf("%d of %d tablets", b.Adopted, b.Tablets))
			}
		})
		return errors.Join(append(damaged, err)...)
	})
}

func (r *run) importAbandonCommand() *cobra.Command {
	var yes bool
	c := r.ofTable(r.command("abandon <table> <load>", "Give up a load of SSTables that is pending", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		t, err := e.table(ctx, args[0])
		if err != nil {
			return err
		}
		id, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return usagef("load %q: want its number; tabletadm import pending shows it", args[1])
		}
		if err := e.confirm(yes, "leave out load %d in the tablets of %s that have not adopted it", id, args[0]); err != nil {
			return err
		}
		if err := e.meta.GiveUpLoad(ctx, t.ID, base.LoadID(id)); err != nil {
			return err
		}
		return e.done("load %d is given up; tablets that had adopted it keep what they have", id)
	}))
	c.Long = `Give up a load that is decided and that tablets cannot adopt, because its files are
damaged or missing. Tablets that have adopted it already keep what they have of it.`
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
