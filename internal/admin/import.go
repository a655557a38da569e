package admin

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/admin/csvload"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// importing is the flags of import csv.
type importing struct {
	csvload.Options
	mapping  []string
	ignore   []string
	comma    string
	ts       string
	maxBad   int
	allowBad bool
}

func (r *run) importCommand() *cobra.Command {
	var o importing
	c := r.ofTable(long(r.command("csv <table> <file | ->", "Write the rows of a CSV file", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		return o.run(ctx, e, args[0], args[1])
	})))
	c.Long = `Write the rows of a CSV file whose first line names the columns. The key of a row
is made by a template: {name} is the field of that column, {name:8} the same with
zeros in front up to 8 characters, {line} the number of the line. Columns go to
the family of --family under their own name, to family:qualifier where that is
their name, or where --map says. Files of export csv need no flags.

All cells get one timestamp, so that a line can safely be written again: running
the import again changes nothing. A line that cannot be written is reported with
its number, and makes the exit code 4 unless --allow-bad is given.`
	c.Example = `  tabletadm import csv flights delays.csv --key '{Origin State}#{Airport Name}#{Flight Date}#{line}' --family cf
  tabletadm import csv pages pages.csv --key '{url}' --map 'title=contents:title' --family meta --skip-empty`
	o.addFlags(c.Flags())
	return group("import", "Write rows from files", c, r.importSSTCommand(), r.importPendingCommand(), r.importAbandonCommand())
}

// addFlags adds what says how files are read.
func (o *importing) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Key, "key", "", "template of the row's key; default {"+csvload.KeyColumn+"}, as export csv makes it")
	f.StringVar(&o.Family, "family", "", "family of columns that name none; default: the table's, if it has only one")
	f.StringArrayVar(&o.mapping, "map", nil, "where a column goes: 'column=family:qualifier'")
	f.StringArrayVar(&o.ignore, "ignore", nil, "leave this column out")
	f.BoolVar(&o.SkipEmpty, "skip-empty", false, "make no cells of empty fields")
	f.BoolVar(&o.Cells, "cells", false, "the file has a line per cell, as export csv --cells writes it")
	f.BoolVar(&o.Base64, "base64", false, "keys, qualifiers and values are in base64")
	f.StringVar(&o.comma, "comma", ",", `separator of fields; \t for a tabulator`)
	f.BoolVar(&o.LazyQuotes, "lazy-quotes", false, "take quotes within fields as they are")
	f.StringVar(&o.ts, "ts", "", "timestamp of the cells: microseconds, or RFC 3339; default: now")
	f.IntVar(&o.maxBad, "max-bad", 1000, "stop after more bad lines than this; -1: never")
	f.BoolVar(&o.allowBad, "allow-bad", false, "exit with 0 although lines were bad")
}

// options completes what the flags say with what the table has.
func (o *importing) options(families []string) (csvload.Options, error) {
	opt := o.Options
	opt.Map = map[string]string{}
	for _, m := range o.mapping {
		i := strings.LastIndexByte(m, '=')
		if i < 0 {
			return opt, usagef("--map %q: want column=family:qualifier", m)
		}
		opt.Map[m[:i]] = m[i+1:]
	}
	for _, c := range o.ignore {
		opt.Map[c] = ""
	}
	if opt.Family == "" && len(families) == 1 {
		opt.Family = families[0]
	}
	comma := o.comma
	if comma == `\t` {
		comma = "\t"
	}
	if utf8.RuneCountInString(comma) != 1 || strings.ContainsAny(comma, "\"\r\n\ufffd") {
		return opt, usagef("--comma %q: want one character", o.comma)
	}
	opt.Comma, _ = utf8.DecodeRuneInString(comma)
	return opt, nil
}

func (o *importing) run(ctx context.Context, e *env, table, file string) error {
	t, err := e.table(ctx, table)
	if err != nil {
		return err
	}
	in, size, err := open(e.run.app, file)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	r, err := o.reader(in, file, t, table)
	if err != nil {
		return err
	}
	rows, err := e.rows(ctx, table)
	if err != nil {
		return err
	}
	stamp := client.Now()
	if o.ts != "" {
		if stamp, err = parseTimestamp(o.ts); err != nil {
			return err
		}
	}
	l := newLoader(e.run.app, rows, r, stamp, o.maxBad, size)
	err = l.run(ctx)
	return l.report(e, err, o.allowBad)
}

// reader returns a Reader of a file, whose families the table has. name is the
// table's, as it was given.
func (o *importing) reader(in io.Reader, file string, t meta.Table, name string) (*csvload.Reader, error) {
	var families []string
	for _, f := range t.Record.Families {
		families = append(families, f.Name)
	}
	opt, err := o.options(families)
	if err != nil {
		return nil, err
	}
	r, err := csvload.NewReader(in, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, f := range r.Families() {
		if schema.Family(t.Record, f) == nil {
			return nil, fmt.Errorf("%w: table %s has no family %q, only %s; tabletadm table alter %s --add-family %s adds it", base.ErrFamilyNotFound, name, f, strings.Join(families, ", "), name, f)
		}
	}
	return r, nil
}

// open opens a file; - is the standard input. size is -1 where it is not known.
func open(a App, file string) (io.ReadCloser, int64, error) {
	if file == "-" {
		return io.NopCloser(a.Stdin), -1, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if info.IsDir() {
		return nil, 0, errors.Join(usagef("%s is a directory", file), f.Close())
	}
	return f, info.Size(), nil
}

// maxKeys is for how many rows it is watched that no two have one key.
const maxKeys = 4 << 20

// importSummary is the answer of import csv.
type importSummary struct {
	Rows       int64           `json:"rows"` // that were written
	Cells      int64           `json:"cells"`
	BadLines   int             `json:"bad_lines"`
	Bad        []badLine       `json:"bad,omitempty"`
	Duplicates int64           `json:"duplicate_keys"` // rows whose key an earlier line had
	Seconds    output.Duration `json:"seconds"`
	RowsPerSec float64         `json:"rows_per_second"`
	Stopped    string          `json:"stopped,omitempty"` // why not all was read
}

type badLine struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// loader writes what a Reader gives. Its run is for one goroutine; the
// writer's call back into done.
type loader struct {
	app    App
	r      *csvload.Reader
	w      *client.BulkWriter
	stamp  client.Timestamp
	maxBad int
	bar    *bar
	began  time.Time
	cells  bool // keys repeat: each line is a cell

	seed maphash.Seed
	keys map[uint64]struct{}

	mu struct {
		sync.Mutex
		lines map[string][]int // of rows under way, by key, in order
		sum   importSummary
	}
}

func newLoader(a App, t *client.Table, r *csvload.Reader, stamp client.Timestamp, maxBad int, size int64) *loader {
	l := &loader{
		app: a, r: r, stamp: stamp, maxBad: maxBad, bar: newBar(a, size, "importing"), began: time.Now(),
		cells: len(r.Families()) == 0, seed: maphash.MakeSeed(), keys: map[uint64]struct{}{},
	}
	l.mu.lines = map[string][]int{}
	l.w = t.NewBulkWriter(client.BulkOptions{Done: l.done})
	return l
}

// done is told that a row was written, or not.
func (l *loader) done(row string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.mu.lines[row]
	line := lines[0]
	if len(lines) == 1 {
		delete(l.mu.lines, row)
	} else {
		l.mu.lines[row] = lines[1:]
	}
	if err != nil {
		l.badLocked(line, err)
		return
	}
	l.mu.sum.Rows++
}

func (l *loader) badLocked(line int, err error) {
	const most = 10_000 // that are kept
	l.mu.sum.BadLines++
	if len(l.mu.sum.Bad) < most {
		l.mu.sum.Bad = append(l.mu.sum.Bad, badLine{line, strings.ReplaceAll(err.Error(), "\n", "; ")})
	}
}

// run reads and writes until the end, an error, or too many bad lines. All that
// was read is written, or bad, when it returns.
func (l *loader) run(ctx context.Context) error {
	err := l.read(ctx)
	flush := context.WithoutCancel(ctx) // what is under way has its own deadline
	if cerr := l.w.Close(flush); err == nil && !isBulk(cerr) {
		err = cerr
	}
	l.bar.finish()
	return err
}

// isBulk reports whether err only counts rows that done was told of.
func isBulk(err error) bool {
	var b *client.BulkError
	return errors.As(err, &b)
}

func (l *loader) read(ctx context.Context) error {
	offset, rows, m := int64(0), int64(0), client.NewMutation()
	for ctx.Err() == nil {
		row, err := l.r.Next()
		var bad *csvload.LineError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			if l.tooMany(bad) {
				return problemsf("more than %d lines are bad (--max-bad)", l.maxBad)
			}
			continue
		case err != nil:
			return fmt.Errorf("read the file: %w", err)
		}
		if err := l.add(ctx, row, m); err != nil {
			return err
		}
		if l.tooMany(nil) {
			return problemsf("more than %d lines are bad (--max-bad)", l.maxBad)
		}
		rows++
		l.bar.add(l.r.Offset()-offset, rows)
		offset = l.r.Offset()
	}
	return context.Cause(ctx)
}

// tooMany notes a bad line, if it is one, and reports whether there are too
// many.
func (l *loader) tooMany(bad *csvload.LineError) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bad != nil {
		l.badLocked(bad.Line, bad.Err)
	}
	return l.maxBad >= 0 && l.mu.sum.BadLines > l.maxBad
}

func (l *loader) add(ctx context.Context, row csvload.Row, m *client.Mutation) error {
	m.Reset()
	for _, c := range row.Cells {
		ts := l.stamp
		if c.Timestamp >= 0 {
			ts = client.Timestamp(c.Timestamp)
		}
		m.Set(c.Family, c.Qualifier, ts, []byte(c.Value))
	}
	l.watch(row.Key)
	l.mu.Lock()
	l.mu.lines[row.Key] = append(l.mu.lines[row.Key], row.Line)
	l.mu.sum.Cells += int64(len(row.Cells))
	l.mu.Unlock()
	if err := l.w.Add(ctx, row.Key, m); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		lines := l.mu.lines[row.Key] // the newest of them
		l.mu.lines[row.Key] = lines[:len(lines)-1]
		return fmt.Errorf("line %d: %w", row.Line, err)
	}
	return nil
}

// watch counts keys that were there before.
func (l *loader) watch(key string) {
	if l.cells || len(l.keys) >= maxKeys {
		return
	}
	h := maphash.String(l.seed, key)
	if _, ok := l.keys[h]; ok {
		l.mu.Lock()
		l.mu.sum.Duplicates++
		l.mu.Unlock()
		return
	}
	l.keys[h] = struct{}{}
}

// report prints the bad lines and the summary; err is why it stopped.
func (l *loader) report(e *env, err error, allowBad bool) error {
	s := &l.mu.sum // nobody else is left
	slices.SortFunc(s.Bad, func(a, b badLine) int { return a.Line - b.Line })
	elapsed := time.Since(l.began)
	s.Seconds = output.Duration(elapsed)
	s.RowsPerSec = float64(s.Rows) / max(elapsed.Seconds(), 1e-3)
	if err != nil {
		s.Stopped = err.Error()
	}
	if !e.out.Machine() {
		for _, b := range s.Bad {
			fmt.Fprintf(l.app.Stderr, "line %d: %s\n", b.Line, b.Error)
		}
	}
	perr := e.out.Print(s, func(p *output.Page) {
		p.Line("%s rows, %s cells in %v (%s rows/s); %d bad lines", output.Count(s.Rows), output.Count(s.Cells), s.Seconds, output.Count(int64(s.RowsPerSec)), s.BadLines)
		if s.Duplicates > 0 {
			p.Line("%s lines have the key of an earlier line, whose cells they may replace: is the key template unique? {line} makes it so", output.Count(s.Duplicates))
		}
		if len(l.keys) >= maxKeys {
			p.Line("after the first %s keys, lines with the key of an earlier one were not looked for", output.Count(maxKeys))
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("the import stopped after %d rows: %w", s.Rows, err)
	case perr != nil:
		return perr
	case s.BadLines > 0 && !allowBad:
		return problemsf("%d lines were not imported (--allow-bad takes that for success)", s.BadLines)
	}
	return nil
}
