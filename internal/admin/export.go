package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/admin/csvload"
)

func (r *run) exportCommand() *cobra.Command {
	var o reading
	var cells, base64 bool
	var file string
	c := r.ofTable(long(r.command("csv <table>", "Write rows as CSV", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		if !cells {
			o.versions = 1
		}
		return toFile(e.run.app, file, func(w io.Writer) error {
			if cells {
				return o.exportCells(ctx, e, args[0], w, base64)
			}
			return o.exportRows(ctx, e, args[0], w, base64)
		})
	})))
	c.Long = `Write rows as CSV that import csv reads back. By default there is a line per row
with the newest value of each column; which columns there are is found by reading
the table once before, unless --columns names them in full. With --cells there is
a line per cell, with its timestamp and all versions.`
	o.rangeFlags(c)
	f := c.Flags()
	f.IntVar(&o.versions, "versions", 0, "with --cells: newest cells of each column; 0: all")
	f.BoolVar(&cells, "cells", false, "a line per cell: "+"row, family, qualifier, timestamp, value")
	f.BoolVar(&base64, "base64", false, "keys, qualifiers and values in base64, for those with carriage returns")
	f.StringVar(&file, "file", "", "write here; default: the standard output")
	return group("export", "Write rows to files", c)
}

// toFile runs f on the standard output or on a file, which is only there when
// it is complete.
func toFile(a App, file string, f func(io.Writer) error) error {
	if file == "" {
		w := bufio.NewWriter(a.Stdout)
		return errors.Join(f(w), w.Flush())
	}
	part := file + ".part"
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	err = errors.Join(f(w), w.Flush(), out.Close())
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

func (o *reading) exportCells(ctx context.Context, e *env, table string, out io.Writer, base64 bool) error {
	w, err := csvload.NewCellWriter(out, base64)
	if err != nil {
		return err
	}
	return o.export(ctx, e, table, w)
}

func (o *reading) exportRows(ctx context.Context, e *env, table string, out io.Writer, base64 bool) error {
	columns, err := o.columnsOf(ctx, e, table)
	if err != nil {
		return err
	}
	w, err := csvload.NewWriter(out, columns, base64)
	if err != nil {
		return err
	}
	return o.export(ctx, e, table, w)
}

// columnsOf returns the columns that were asked for, or else those there are.
func (o *reading) columnsOf(ctx context.Context, e *env, table string) ([]csvload.Column, error) {
	asked, err := parseColumns(o.columns)
	if err != nil {
		return nil, err
	}
	var list []csvload.Column
	if len(asked) > 0 && !slices.ContainsFunc(asked, func(c column) bool { return !c.hasQualifier }) {
		for _, c := range asked {
			list = append(list, csvload.Column{Family: c.family, Qualifier: c.qualifier})
		}
		return list, nil
	}
	t, err := e.rows(ctx, table)
	if err != nil {
		return nil, err
	}
	set, err := o.rows()
	if err != nil {
		return nil, err
	}
	filters := append(columnFilters(asked), client.LatestNFilter(1), client.StripValueFilter())
	seen := map[csvload.Column]bool{}
	err = t.ReadRows(ctx, set, func(r client.Row) bool {
		for _, c := range r.Cells {
			seen[csvload.Column{Family: c.Family, Qualifier: c.Column}] = true
		}
		return true
	}, client.RowFilter(client.ChainFilters(filters...)))
	for c := range seen {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b csvload.Column) int {
		return strings.Compare(a.Family+":"+a.Qualifier, b.Family+":"+b.Qualifier)
	})
	return list, err
}

// export writes the rows.
func (o *reading) export(ctx context.Context, e *env, table string, w *csvload.Writer) error {
	bar := newBar(e.run.app, -1, "exporting")
	defer bar.finish()
	n := int64(0)
	err := o.each(ctx, e, table, func(r client.Row) error {
		n++
		bar.add(1, n)
		row := csvload.Row{Key: r.Key}
		for _, c := range r.Cells {
			row.Cells = append(row.Cells, csvload.Cell{Family: c.Family, Qualifier: c.Column, Timestamp: int64(c.Timestamp), Value: string(c.Value)})
		}
		return w.Write(row)
	})
	if err != nil {
		return fmt.Errorf("after %d rows: %w", n, err)
	}
	return w.Flush()
}
