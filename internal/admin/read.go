package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
)

// reading is the flags of commands that read rows.
type reading struct {
	prefix, start, end string
	limit              int64
	reverse            bool
	columns            []string
	versions           int
	keysOnly           bool
}

// rangeFlags are those that choose rows.
func (o *reading) rangeFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.prefix, "prefix", "", "rows whose keys begin with this")
	f.StringVar(&o.start, "start", "", "rows from this key on")
	f.StringVar(&o.end, "end", "", "rows before this key")
	f.StringArrayVar(&o.columns, "columns", nil, "families and columns, separated by commas: family,family:qualifier")
}

func (o *reading) versionsFlag(c *cobra.Command) {
	c.Flags().IntVar(&o.versions, "versions", 1, "newest cells of each column; 0: all")
}

// rows returns the rows that the flags choose.
func (o *reading) rows() (client.RowSet, error) {
	var keys [3]string
	for i, s := range []string{o.prefix, o.start, o.end} {
		b, err := output.Parse(s)
		if err != nil {
			return nil, err
		}
		keys[i] = string(b)
	}
	prefix, start, end := keys[0], keys[1], keys[2]
	if prefix != "" {
		if start != "" || end != "" {
			return nil, usagef("--prefix does not go with --start and --end")
		}
		return client.PrefixRange(prefix), nil
	}
	if end != "" && start >= end {
		return nil, usagef("no row lies from --start %s to --end %s", output.Bytes(start), output.Bytes(end))
	}
	return client.NewRange(start, end), nil
}

// options returns how to read.
func (o *reading) options() ([]client.ReadOption, error) {
	columns, err := parseColumns(o.columns)
	if err != nil {
		return nil, err
	}
	if o.versions < 0 || o.limit < 0 {
		return nil, usagef("--versions and --limit must not be negative")
	}
	chain := columnFilters(columns)
	switch {
	case o.keysOnly:
		chain = append(chain, client.CellsPerRowLimitFilter(1), client.StripValueFilter())
	case o.versions > 0:
		chain = append(chain, client.LatestNFilter(o.versions))
	}
	var opts []client.ReadOption
	switch len(chain) {
	case 0:
	case 1:
		opts = append(opts, client.RowFilter(chain[0]))
	default:
		opts = append(opts, client.RowFilter(client.ChainFilters(chain...)))
	}
	if o.limit > 0 {
		opts = append(opts, client.LimitRows(o.limit))
	}
	if o.reverse {
		opts = append(opts, client.ReverseScan())
	}
	return opts, nil
}

// each calls f with the rows of the table until it fails.
func (o *reading) each(ctx context.Context, e *env, table string, f func(client.Row) error) error {
	t, err := e.rows(ctx, table)
	if err != nil {
		return err
	}
	set, err := o.rows()
	if err != nil {
		return err
	}
	opts, err := o.options()
	if err != nil {
		return err
	}
	var ferr error
	err = t.ReadRows(ctx, set, func(r client.Row) bool {
		ferr = f(r)
		return ferr == nil
	}, opts...)
	if ferr != nil {
		return ferr
	}
	return err
}

// rowInfo is a row as it is shown.
type rowInfo struct {
	Row   output.Bytes `json:"row"`
	Cells []cellInfo   `json:"cells,omitempty"`
}

type cellInfo struct {
	Family    string       `json:"family"`
	Column    output.Bytes `json:"column"`
	Timestamp int64        `json:"timestamp_us"`
	Value     output.Bytes `json:"value"`
}

func newRowInfo(r client.Row, keysOnly bool) rowInfo {
	i := rowInfo{Row: output.Bytes(r.Key)}
	if keysOnly {
		return i
	}
	for _, c := range r.Cells {
		i.Cells = append(i.Cells, cellInfo{c.Family, output.Bytes(c.Column), int64(c.Timestamp), c.Value})
	}
	return i
}

// human writes the row's key and below it a line for each cell.
func (r rowInfo) human(p *output.Page) {
	p.Line("%s", r.Row)
	for _, c := range r.Cells {
		p.Row("  "+c.Family+":"+c.Column.String(), output.TimeMicros(c.Timestamp), c.Value)
	}
}

func (r *run) getCommand() *cobra.Command {
	var o reading
	c := r.ofTable(r.command("get <table> <row>", "Show a row", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		key, err := output.Parse(args[1])
		if err != nil {
			return err
		}
		t, err := e.rows(ctx, args[0])
		if err != nil {
			return err
		}
		opts, err := o.options()
		if err != nil {
			return err
		}
		row, err := t.ReadRow(ctx, string(key), opts...)
		if err != nil {
			return err
		}
		if !row.Exists() {
			return fmt.Errorf("row %s: %w", output.Bytes(key), base.ErrNotFound)
		}
		i := newRowInfo(row, false)
		return e.out.Print(i, i.human)
	}))
	c.Flags().StringArrayVar(&o.columns, "columns", nil, "families and columns, separated by commas: family,family:qualifier")
	o.versionsFlag(c)
	return c
}

func (r *run) scanCommand() *cobra.Command {
	var o reading
	c := r.ofTable(long(r.command("scan <table>", "Show rows", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		return o.each(ctx, e, args[0], func(row client.Row) error {
			i := newRowInfo(row, o.keysOnly)
			return e.out.Stream(i, i.human)
		})
	})))
	c.Example = `  tabletadm scan pages --prefix com.cnn --limit 10
  tabletadm scan pages --columns anchor,contents:html --versions 0 -o json`
	o.rangeFlags(c)
	o.versionsFlag(c)
	c.Flags().Int64Var(&o.limit, "limit", 0, "rows at most; 0: all")
	c.Flags().BoolVar(&o.reverse, "reverse", false, "from the last row to the first")
	c.Flags().BoolVar(&o.keysOnly, "keys-only", false, "show only the keys of the rows")
	return c
}

func (r *run) countCommand() *cobra.Command {
	o := reading{keysOnly: true}
	c := r.ofTable(long(r.command("count <table>", "Count rows", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		bar := newBar(e.run.app, -1, "counting")
		began, n := time.Now(), int64(0)
		err := o.each(ctx, e, args[0], func(client.Row) error {
			n++
			bar.add(1, n)
			return nil
		})
		bar.finish()
		if err != nil {
			return fmt.Errorf("after %d rows: %w", n, err)
		}
		type answer struct {
			Rows    int64           `json:"rows"`
			Seconds output.Duration `json:"seconds"`
		}
		return e.out.Print(answer{n, output.Duration(time.Since(began))}, func(p *output.Page) { p.Line("%d", n) })
	})))
	o.rangeFlags(c)
	return c
}
