package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func (r *run) flushCommand() *cobra.Command {
	c := r.maintenance("flush [table]", "Write memtables out, so that no log is needed", "flushed",
		func(ctx context.Context, s controlpb.TabletServerClient, ids []uint64) (uint32, error) {
			resp, err := s.Flush(ctx, &controlpb.FlushRequest{Tablets: ids})
			return resp.GetTablets(), err
		})
	c.Long = `Write the memtables of the tablets of a table, of one tablet (--tablet), or of all
tables into SSTables. It returns when that is committed. No master is needed.`
	return c
}

func (r *run) compactCommand() *cobra.Command {
	c := r.maintenance("compact [table]", "Merge all files of tablets into one run", "compacted",
		func(ctx context.Context, s controlpb.TabletServerClient, ids []uint64) (uint32, error) {
			resp, err := s.Compact(ctx, &controlpb.CompactRequest{Tablets: ids})
			return resp.GetTablets(), err
		})
	c.Long = `Flush and merge the files of the tablets of a table, of one tablet (--tablet), or of
all tables, and drop what is deleted or garbage. It returns when that is committed.
No master is needed.`
	return c
}

// maintenance returns a command that asks the owners of tablets to do f.
func (r *run) maintenance(use, short, past string, f func(context.Context, controlpb.TabletServerClient, []uint64) (uint32, error)) *cobra.Command {
	var tablet string
	c := r.ofTable(long(r.command(use, short, cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		tablets, err := e.chosen(ctx, args, tablet)
		if err != nil {
			return err
		}
		return e.maintain(ctx, tablets, past, f)
	})))
	c.Flags().StringVar(&tablet, "tablet", "", "only this tablet")
	return c
}

// chosen returns the tablets that a command names.
func (e *env) chosen(ctx context.Context, args []string, tablet string) ([]meta.Tablet, error) {
	if tablet == "" {
		tablets, _, err := e.someTablets(ctx, args)
		return tablets, err
	}
	if len(args) > 0 {
		return nil, usagef("give either a table or --tablet")
	}
	t, err := e.tabletByID(ctx, tablet)
	return []meta.Tablet{t}, err
}

// atOnce is how many tablets one server is asked to work on by one call: enough
// to keep it busy, few enough to see it go on.
const atOnce = 64

func (e *env) maintain(ctx context.Context, tablets []meta.Tablet, past string, f func(context.Context, controlpb.TabletServerClient, []uint64) (uint32, error)) error {
	byServer := map[string][]uint64{}
	for _, t := range tablets {
		if t.State == meta.Serving {
			byServer[t.OwnerAddress] = append(byServer[t.OwnerAddress], uint64(t.ID))
		}
	}
	addrs := slices.Sorted(maps.Keys(byServer))
	counts, errs := make([]uint32, len(addrs)), make([]error, len(addrs))
	bar := newBar(e.run.app, int64(len(tablets)), "being "+past)
	defer bar.finish()
	each(len(addrs), func(i int) {
		errs[i] = e.askServer(addrs[i], func(s controlpb.TabletServerClient) error {
			for batch := range slices.Chunk(byServer[addrs[i]], atOnce) {
				n, err := f(ctx, s, batch)
				counts[i] += n
				bar.step(int64(len(batch)))
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	bar.finish()
	type answer struct {
		Tablets uint32 `json:"tablets"`
		Skipped int    `json:"skipped"` // that are not served, or moved meanwhile
	}
	var a answer
	for _, n := range counts {
		a.Tablets += n
	}
	a.Skipped = len(tablets) - int(a.Tablets)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%d of %d tablets were %s: %w", a.Tablets, len(tablets), past, err)
	}
	if err := e.out.Print(a, func(p *output.Page) { p.Line("%d tablets were %s", a.Tablets, past) }); err != nil {
		return err
	}
	if a.Skipped > 0 {
		return fmt.Errorf("%w: %d of %d tablets are not served or were moving; tabletadm tablets list shows which", base.ErrUnavailable, a.Skipped, len(tablets))
	}
	return nil
}
