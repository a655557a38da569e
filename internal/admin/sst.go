package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
)

func (r *run) sstCommand() *cobra.Command {
	return group("sst", "Look into SSTables", r.sstPropsCommand(), r.sstDumpCommand(), r.sstVerifyCommand())
}

// openTable opens the SSTable of that name, or object key.
func (e *env) openSSTable(ctx context.Context, arg string) (*sstable.Reader, error) {
	f, err := parseFile(arg)
	if err != nil {
		return nil, err
	}
	store, err := e.store(ctx)
	if err != nil {
		return nil, err
	}
	src := sstable.NewObjectSource(store, base.SSTableObject(f))
	return sstable.Open(ctx, src, sstable.Meta{TailOffset: -1}, sstable.ReaderOptions{File: f})
}

func (r *run) sstPropsCommand() *cobra.Command {
	return r.command("props <name>", "Show the properties of an SSTable <generation>-<index>-<number>", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		t, err := e.openSSTable(ctx, args[0])
		if err != nil {
			return err
		}
		defer t.Close()
		x := inspect.NewTable(t)
		return e.out.Print(x, x.Human)
	})
}

func (r *run) sstVerifyCommand() *cobra.Command {
	return long(r.command("verify <name>...", "Read SSTables from end to end and check everything", cobra.MinimumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		for _, a := range args {
			began := time.Now()
			t, err := e.openSSTable(ctx, a)
			if err == nil {
				err = t.Verify(ctx)
				t.Close()
			}
			if err != nil {
				return err
			}
			type answer struct {
				Object  string          `json:"object"`
				Entries uint64          `json:"entries"`
				Seconds output.Duration `json:"seconds"`
			}
			x := answer{t.Name(), t.Properties().Entries, output.Duration(time.Since(began))}
			if err := e.out.Stream(x, func(p *output.Page) {
				p.Line("%s is sound: %s entries, %v", x.Object, output.Count(x.Entries), output.Size(t.Meta().Size))
			}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (r *run) sstDumpCommand() *cobra.Command {
	var o reading
	c := long(r.command("dump <name>", "Show the entries of an SSTable, by family id", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		lower, upper, err := o.keys()
		if err != nil {
			return err
		}
		t, err := e.openSSTable(ctx, args[0])
		if err != nil {
			return err
		}
		defer t.Close()
		it := t.NewIter(ctx, sstable.IterOptions{Lower: lower, Upper: upper, Readahead: sstable.DefaultReadahead})
		defer it.Close()
		n := int64(0)
		for ok := it.SeekGE(lower); ok && (o.limit == 0 || n < o.limit); ok = it.Next() {
			n++
			x, err := inspect.ReadEntry(it.Key(), it.Value())
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name(), err)
			}
			if err := e.out.Stream(x, x.Human); err != nil {
				return err
			}
		}
		return it.Err()
	}))
	f := c.Flags()
	f.StringVar(&o.start, "start", "", "rows from this key on")
	f.StringVar(&o.end, "end", "", "rows before this key")
	f.Int64Var(&o.limit, "limit", 0, "entries at most; 0: all")
	return c
}

// keys returns the bounds of the rows from --start to --end as cell keys; nil
// is open.
func (o *reading) keys() (lower, upper []byte, err error) {
	start, err := output.Parse(o.start)
	if err != nil {
		return nil, nil, err
	}
	end, err := output.Parse(o.end)
	if err != nil {
		return nil, nil, err
	}
	if len(start) > 0 {
		lower = base.AppendRowPrefix(nil, start)
	}
	if len(end) > 0 {
		upper = base.AppendRowPrefix(nil, end)
	}
	return lower, upper, nil
}
