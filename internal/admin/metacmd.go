package admin

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/lockservice"
)

func (r *run) metaCommand() *cobra.Command {
	return group("meta", "Look into the two-level index of tablets", r.ofTable(r.metaLsCommand()), r.metaRangesCommand())
}

func (r *run) metaLsCommand() *cobra.Command {
	var l listing
	c := r.command("ls [table]", "Show the records of tablets by key, with every log entry", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		if err := l.check(); err != nil {
			return err
		}
		tablets, names, err := e.someTablets(ctx, args)
		if err != nil {
			return err
		}
		type entry struct {
			Key output.Bytes `json:"key"`
			tabletInfo
		}
		list := []entry{}
		for _, t := range tablets[:l.take(e, len(tablets))] {
			list = append(list, entry{output.Bytes(t.Key()), newTabletInfo(t, names[t.Table])})
		}
		return e.out.Print(list, func(p *output.Page) {
			p.Header("KEY", "TABLET", "STATE", "OWNER", "EPOCH", "MANIFEST", "FLUSHED", "REVISION", "LOGS")
			for _, t := range list {
				p.Row(t.Key, t.ID, t.State, t.Owner, t.Epoch, t.Manifest, t.Flushed, t.Revision, entries(t.Logs))
			}
			l.rest(p, len(list), len(tablets))
		})
	})
	l.register(c)
	return c
}

// entries writes log entries in one cell: log[from, to) of tablet/epoch.
func entries(list []logEntryInfo) string {
	s := ""
	for i, l := range list {
		if i > 0 {
			s += " "
		}
		to := "open"
		if l.To != nil {
			to = output.Count(*l.To).String()
		}
		s += l.Log + "[" + output.Count(l.From).String() + "," + to + ")"
	}
	return s
}

func (r *run) metaRangesCommand() *cobra.Command {
	type metaRange struct {
		After   output.Bytes `json:"after"` // exclusive
		Last    output.Bytes `json:"last"`  // inclusive
		Cell    string       `json:"cell"`
		Records uint64       `json:"records_about"`
	}
	return r.command("ranges", "Show the root index: which cell holds which range of meta", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		ranges, err := e.meta.Ranges(ctx, lockservice.ReadOptions{})
		if err != nil {
			return err
		}
		list := []metaRange{}
		for _, x := range ranges {
			list = append(list, metaRange{output.Bytes(x.After), output.Bytes(x.Last), x.Cell, x.Records})
		}
		return e.out.Print(list, func(p *output.Page) {
			p.Header("AFTER", "UP TO", "CELL", "RECORDS ABOUT")
			for _, x := range list {
				cell := x.Cell
				if cell == "" {
					cell = "root"
				}
				p.Row(x.After, x.Last, cell, x.Records)
			}
		})
	})
}
