package admin

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/wal"
)

func (r *run) walCommand() *cobra.Command {
	return group("wal", "Look into commit logs", r.walLsCommand(), r.walDumpCommand())
}

func (r *run) walLsCommand() *cobra.Command {
	var l listing
	c := r.command("ls [log]", "List the logs, or the objects of one", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		if err := l.check(); err != nil {
			return err
		}
		if len(args) == 0 {
			return e.listLogs(ctx, &l)
		}
		id, err := parseLog(args[0])
		if err != nil {
			return err
		}
		return e.listLogObjects(ctx, id, &l)
	})
	c.Long = `Without an argument, list the commit logs as the lock service knows them, and which
tablets need them. With a log (<generation>-<index>), list its objects in the bucket.`
	l.register(c)
	return c
}

func parseLog(s string) (base.Incarnation, error) {
	e, err := base.ParseIncarnation(s)
	if err != nil || e.IsZero() {
		return e, usagef("log %q: want <generation>-<index>, as tabletadm wal ls shows it", s)
	}
	return e, nil
}

func (e *env) listLogs(ctx context.Context, only *listing) error {
	type log struct {
		Log     string   `json:"log"`
		State   string   `json:"state"`
		Low     uint64   `json:"low"`
		End     *uint64  `json:"end,omitempty"`
		Holders []uint64 `json:"needed_by_tablets"`
	}
	logs, err := e.meta.Logs(ctx, lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	refs, err := e.meta.AllRefs(ctx)
	if err != nil {
		return err
	}
	holders := map[base.Incarnation][]uint64{}
	for _, r := range refs {
		holders[r.Log] = append(holders[r.Log], uint64(r.Holder))
	}
	list := []log{}
	for _, l := range logs[:only.take(e, len(logs))] {
		x := log{Log: l.Incarnation.String(), State: strings.ToLower(l.State.String()), Low: uint64(l.Low), Holders: append([]uint64{}, holders[l.Incarnation]...)}
		if l.End > 0 {
			end := uint64(l.End)
			x.End = &end
		}
		list = append(list, x)
	}
	return e.out.Print(list, func(p *output.Page) {
		p.Header("LOG", "STATE", "LOW", "END", "NEEDED BY TABLETS")
		for _, l := range list {
			end := ""
			if l.End != nil {
				end = strconv.FormatUint(*l.End, 10)
			}
			holders := fmt.Sprint(len(l.Holders))
			const few = 8
			if n := len(l.Holders); n > 0 && n <= few {
				holders += ": " + strings.Trim(fmt.Sprint(l.Holders), "[]")
			}
			p.Row(l.Log, l.State, l.Low, end, holders)
		}
		only.rest(p, len(list), len(logs))
	})
}

func (e *env) listLogObjects(ctx context.Context, id base.Incarnation, only *listing) error {
	type object struct {
		Object string      `json:"object"`
		Kind   string      `json:"kind"` // data, seal, index, unknown
		Size   output.Size `json:"size_bytes"`
	}
	store, err := e.store(ctx)
	if err != nil {
		return err
	}
	list := []object{}
	prefix := base.LogPrefix(id)
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return fmt.Errorf("list log %v: %w", id, err)
		}
		kind := "unknown"
		_, perr := strconv.ParseUint(strings.TrimPrefix(info.Key, prefix), 16, 64)
		switch {
		case info.Key == base.LogIndexObject(id):
			kind = "index"
		case perr == nil && info.Size >= wal.MinObjectLen:
			kind = "data"
		case perr == nil:
			kind = "seal"
		}
		list = append(list, object{info.Key, kind, output.Size(info.Size)})
	}
	if len(list) == 0 {
		return fmt.Errorf("log %v: no objects below %s: %w", id, prefix, base.ErrNotFound)
	}
	total := len(list)
	list = list[:only.take(e, total)]
	return e.out.Print(list, func(p *output.Page) {
		p.Header("OBJECT", "KIND", "SIZE")
		for _, o := range list {
			p.Row(o.Object, o.Kind, o.Size)
		}
		only.rest(p, len(list), total)
	})
}

func (r *run) walDumpCommand() *cobra.Command {
	var from, to uint64
	var tablet uint64
	var records bool
	c := long(r.command("dump <log> [position]", "Show what objects of a log hold", cobra.RangeArgs(1, 2), func(ctx context.Context, e *env, args []string) error {
		id, err := parseLog(args[0])
		if err != nil {
			return err
		}
		if len(args) > 1 {
			if from, err = strconv.ParseUint(args[1], 10, 63); err != nil {
				return usagef("position %q: want a number", args[1])
			}
			to = from + 1
		}
		store, err := e.store(ctx)
		if err != nil {
			return err
		}
		n := 0
		for p, err := range wal.Objects(ctx, store, id, base.Position(from)) {
			if err != nil {
				return err
			}
			if to > 0 && uint64(p) >= to {
				break
			}
			n++
			o, err := inspect.ReadLogObject(ctx, store, id, p, base.TabletID(tablet), records)
			if err != nil {
				return err
			}
			if err := e.out.Stream(o, o.Human); err != nil {
				return err
			}
		}
		if n == 0 {
			return fmt.Errorf("log %v has no object from position %d on: %w", id, from, base.ErrNotFound)
		}
		return nil
	}))
	f := c.Flags()
	f.Uint64Var(&from, "from", 0, "first position")
	f.Uint64Var(&to, "to", 0, "end of the positions, exclusive; 0: all")
	f.Uint64Var(&tablet, "tablet", 0, "only what belongs to this tablet")
	f.BoolVar(&records, "records", false, "show the records, not only how many")
	return c
}
