package admin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/meta/schema"
)

func (r *run) putCommand() *cobra.Command {
	var ts string
	c := r.ofTable(r.command("put <table> <row> <family:qualifier=value>...", "Write cells of a row", cobra.MinimumNArgs(3), func(ctx context.Context, e *env, args []string) error {
		key, err := output.Parse(args[1])
		if err != nil {
			return err
		}
		stamp, err := parseTimestamp(ts)
		if err != nil {
			return err
		}
		m := client.NewMutation()
		for _, a := range args[2:] {
			c, value, err := parseCell(a)
			if err != nil {
				return err
			}
			m.Set(c.family, c.qualifier, stamp, value)
		}
		t, err := e.rows(ctx, args[0])
		if err != nil {
			return err
		}
		if err := t.Apply(ctx, string(key), m); err != nil {
			return err
		}
		return e.done("wrote %d cells", m.Len())
	}))
	c.Example = `  tabletadm put pages com.cnn.www anchor:cnnsi.com=CNN 'contents:html=<html>...'
  tabletadm put pages r 'f:"\x00\x01"="\xff"' --ts 2026-01-02T03:04:05Z`
	c.Flags().StringVar(&ts, "ts", "", "timestamp of the cells: microseconds since 1970, or RFC 3339; default: the server's clock")
	return c
}

// parseCell reads family:qualifier=value. A qualifier in double quotes may
// hold "=".
func parseCell(s string) (column, []byte, error) {
	bad := func() (column, []byte, error) {
		return column{}, nil, usagef("cell %q: want family:qualifier=value", s)
	}
	family, rest, ok := strings.Cut(s, ":")
	if !ok {
		return bad()
	}
	end := strings.IndexByte(rest, '=')
	if strings.HasPrefix(rest, `"`) {
		q, err := strconv.QuotedPrefix(rest)
		if err != nil || !strings.HasPrefix(rest[len(q):], "=") {
			return bad()
		}
		end = len(q)
	}
	if end < 0 {
		return bad()
	}
	c, err := parseColumn(family + ":" + rest[:end])
	if err != nil {
		return column{}, nil, err
	}
	value, err := output.Parse(rest[end+1:])
	return c, value, err
}

// parseTimestamp reads a timestamp; "" is the server's clock.
func parseTimestamp(s string) (client.Timestamp, error) {
	if s == "" {
		return client.ServerTime, nil
	}
	if us, err := strconv.ParseInt(s, 10, 64); err == nil && us >= 0 {
		return client.Timestamp(us), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.UnixMicro() < 0 {
		return 0, usagef("timestamp %q: want microseconds since 1970, or a time such as 2026-01-02T03:04:05Z", s)
	}
	return client.Time(t), nil
}

func (r *run) deleteCommand() *cobra.Command {
	var prefix string
	var all, yes bool
	c := r.ofTable(r.command("delete <table> [<row> [<family> | <family:qualifier>]...]", "Delete a row, parts of it, or all rows with a prefix", cobra.MinimumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		byPrefix := prefix != "" || all
		switch {
		case byPrefix && len(args) > 1, prefix != "" && all:
			return usagef("give either a row, or --prefix, or --all")
		case !byPrefix && len(args) == 1:
			return usagef("delete what? Give a row, --prefix or --all; tabletadm table delete deletes a table")
		case byPrefix:
			return e.deletePrefix(ctx, args[0], prefix, yes)
		}
		return e.deleteRow(ctx, args[0], args[1], args[2:], yes)
	}))
	c.Example = `  tabletadm delete pages com.cnn.www --yes
  tabletadm delete pages com.cnn.www anchor contents:html --yes
  tabletadm delete pages --prefix com.cnn --yes --timeout 10m`
	c.Flags().StringVar(&prefix, "prefix", "", "delete all rows whose keys begin with this")
	c.Flags().BoolVar(&all, "all", false, "delete all rows")
	yesFlag(c, &yes)
	return c
}

func (e *env) deleteRow(ctx context.Context, table, row string, columns []string, yes bool) error {
	key, err := output.Parse(row)
	if err != nil {
		return err
	}
	m, what := client.NewMutation(), "row "+row
	for _, s := range columns {
		c, err := parseColumn(s)
		if err != nil {
			return err
		}
		if c.hasQualifier {
			m.DeleteCellsInColumn(c.family, c.qualifier)
		} else {
			m.DeleteCellsInFamily(c.family)
		}
	}
	if len(columns) == 0 {
		m.DeleteRow()
	} else {
		what = strings.Join(columns, ", ") + " of " + what
	}
	t, err := e.rows(ctx, table)
	if err != nil {
		return err
	}
	if err := e.confirm(yes, "delete %s", what); err != nil {
		return err
	}
	if err := t.Apply(ctx, string(key), m); err != nil {
		return err
	}
	return e.done("deleted %s", what)
}

// deletePrefix deletes the rows with a prefix; "": all.
func (e *env) deletePrefix(ctx context.Context, table, prefix string, yes bool) error {
	p, err := output.Parse(prefix)
	if err != nil {
		return err
	}
	t, err := e.table(ctx, table)
	if err != nil {
		return err
	}
	name, err := schema.ParseName(t.Name)
	if err != nil {
		return err
	}
	what := "all rows of " + t.Name
	if len(p) > 0 {
		what = "all rows of " + t.Name + " that begin with " + prefix
	}
	if err := e.confirm(yes, "delete %s", what); err != nil {
		return err
	}
	db, err := e.client(ctx, name)
	if err != nil {
		return err
	}
	if len(p) == 0 {
		err = db.Admin().DropAllRows(ctx, name.Table)
	} else {
		err = db.Admin().DropRowRange(ctx, name.Table, string(p))
	}
	if err != nil {
		return err
	}
	return e.done("deleted %s", what)
}
