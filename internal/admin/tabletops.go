package admin

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func (r *run) tabletCommand() *cobra.Command {
	return group("tablet", "Split, merge, move and look after single tablets",
		r.tabletSplitCommand(), r.tabletMergeCommand(), r.tabletMoveCommand(), r.tabletUpkeep("flush", "Write a tablet's memtables out", r.flushCommand),
		r.tabletUpkeep("compact", "Merge all files of a tablet into one run", r.compactCommand), r.tabletExplainCommand(), r.tabletsDescribeCommand())
}

// tabletID parses the id of a tablet.
func tabletID(arg string) (uint64, error) {
	id, err := strconv.ParseUint(arg, 10, 64)
	if err != nil || id == 0 {
		return 0, usagef("tablet %q: want the number that tabletadm tablets list shows", arg)
	}
	return id, nil
}

func (r *run) tabletSplitCommand() *cobra.Command {
	var row string
	var byLoad bool
	c := long(r.command("split <tablet>", "Split a tablet in two", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		id, err := tabletID(args[0])
		if err != nil {
			return err
		}
		at, err := output.Parse(row)
		if err != nil {
			return usagef("--at %s: %v", row, err)
		}
		type answer struct {
			Row      output.Bytes `json:"row"`
			Children []uint64     `json:"children"`
		}
		var a answer
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			resp, err := m.SplitTablet(ctx, &controlpb.SplitTabletRequest{Tablet: id, Row: at, ByLoad: byLoad})
			a = answer{resp.GetRow(), resp.GetChildren()}
			return err
		})
		if err != nil {
			return err
		}
		return e.out.Print(a, func(p *output.Page) {
			p.Line("tablet %d was split at row %s into tablets %d and %d", id, a.Row, a.Children[0], a.Children[1])
		})
	}))
	c.Flags().StringVar(&row, "at", "", "first row of the right child (default: in the middle of the bytes)")
	c.Flags().BoolVar(&byLoad, "by-load", false, "in the middle of the requests that it got lately")
	c.Long = `Split a tablet in two, which the same server serves. No data is copied; writes wait
for some milliseconds. The master splits tablets by itself when they get large or
busy, and merges them when they are small and idle for long.`
	return c
}

func (r *run) tabletMergeCommand() *cobra.Command {
	c := long(r.command("merge <left> <right>", "Merge two neighbours", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		left, err := tabletID(args[0])
		if err != nil {
			return err
		}
		right, err := tabletID(args[1])
		if err != nil {
			return err
		}
		type answer struct {
			Merged uint64 `json:"merged"`
		}
		var a answer
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			resp, err := m.MergeTablets(ctx, &controlpb.MergeTabletsRequest{Left: left, Right: right})
			a.Merged = resp.GetMerged()
			return err
		})
		if err != nil {
			return err
		}
		return e.out.Print(a, func(p *output.Page) { p.Line("tablets %d and %d were merged into tablet %d", left, right, a.Merged) })
	}))
	c.Long = `Merge two tablets of one table, the second of which begins where the first ends. It
is moved to the first one's server if need be.`
	return c
}

func (r *run) tabletMoveCommand() *cobra.Command {
	c := long(r.command("move <tablet> [server]", "Move a tablet to another server", cobra.RangeArgs(1, 2), func(ctx context.Context, e *env, args []string) error {
		id, err := tabletID(args[0])
		if err != nil {
			return err
		}
		req := &controlpb.MoveTabletRequest{Tablet: id}
		if len(args) > 1 {
			req.Server = args[1]
		}
		type answer struct {
			Server string          `json:"server"`
			Took   output.Duration `json:"took_seconds"`
		}
		var a answer
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			resp, err := m.MoveTablet(ctx, req)
			a = answer{resp.GetServer(), micros(resp.GetTookUs())}
			return err
		})
		if err != nil {
			return err
		}
		return e.out.Print(a, func(p *output.Page) { p.Line("tablet %d is served by %s; that took %v", id, a.Server, a.Took) })
	}))
	c.Long = `Move a tablet to the server of that name, address or incarnation, or, without one,
to the one with least to do. The balancer may move it on some time.`
	return c
}

// tabletUpkeep returns flush or compact with the tablet as an argument.
func (r *run) tabletUpkeep(name, short string, whole func() *cobra.Command) *cobra.Command {
	inner := whole()
	return long(&cobra.Command{Use: name + " <tablet>", Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(c *cobra.Command, args []string) error {
		if err := inner.Flags().Set("tablet", args[0]); err != nil {
			return err
		}
		inner.SetContext(c.Context())
		return inner.RunE(inner, nil)
	}})
}

// decisionInfo is a decision as it is shown.
type decisionInfo struct {
	At      output.Time     `json:"at"`
	Kind    string          `json:"kind"`
	Tablet  uint64          `json:"tablet"`
	Other   uint64          `json:"other,omitempty"`
	From    string          `json:"from,omitempty"`
	To      string          `json:"to,omitempty"`
	Why     string          `json:"why"`
	Outcome string          `json:"outcome,omitempty"` // empty: under way
	Took    output.Duration `json:"took_seconds,omitempty"`
	Result  []uint64        `json:"result,omitempty"`
}

func decisions(list []*controlpb.Decision) []decisionInfo {
	out := []decisionInfo{}
	for _, d := range list {
		out = append(out, decisionInfo{
			At: output.TimeMicros(d.AtUs), Kind: d.Kind, Tablet: d.Tablet, Other: d.Other, From: d.From, To: d.To,
			Why: d.Why, Outcome: d.Outcome, Took: micros(d.TookUs), Result: d.Result,
		})
	}
	return out
}

// what says in words what was decided.
func (d decisionInfo) what() string {
	switch {
	case d.Kind == "move":
		return fmt.Sprintf("move tablet %d from %s to %s", d.Tablet, d.From, d.To)
	case d.Kind == "merge" && len(d.Result) > 0:
		return fmt.Sprintf("merge tablets %d and %d into %d", d.Tablet, d.Other, d.Result[0])
	case d.Kind == "merge":
		return fmt.Sprintf("merge tablets %d and %d", d.Tablet, d.Other)
	case len(d.Result) > 1:
		return fmt.Sprintf("split tablet %d into %d and %d", d.Tablet, d.Result[0], d.Result[1])
	}
	return fmt.Sprintf("%s tablet %d", d.Kind, d.Tablet)
}

func humanDecisions(p *output.Page, list []decisionInfo) {
	if len(list) == 0 {
		p.Line("this master has decided nothing about it")
		return
	}
	p.Header("WHEN", "DECISION", "OUTCOME", "TOOK", "WHY")
	for _, d := range list {
		outcome, took := d.Outcome, d.Took.String()
		if outcome == "" {
			outcome, took = "under way", ""
		}
		p.Row(output.Duration(time.Since(time.Time(d.At))).String()+" ago", d.what(), outcome, took, d.Why)
	}
}

func (r *run) tabletExplainCommand() *cobra.Command {
	c := r.command("explain <tablet>", "Say why a tablet is where and what it is", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		t, err := e.tabletByID(ctx, args[0])
		if err != nil {
			return err
		}
		type answer struct {
			Tablet    uint64         `json:"tablet"`
			Start     output.Bytes   `json:"start"`
			End       output.Bytes   `json:"end"`
			State     string         `json:"state"`
			Address   string         `json:"address,omitempty"`
			Why       string         `json:"why,omitempty"` // as its record says
			Parents   []uint64       `json:"parents,omitempty"`
			Decisions []decisionInfo `json:"decisions"`
			Missing   string         `json:"missing,omitempty"`
		}
		a := answer{Tablet: uint64(t.ID), Start: t.Start, End: t.End, State: t.State.String(), Address: t.OwnerAddress, Why: t.Why, Decisions: []decisionInfo{}}
		for _, p := range t.Parents {
			a.Parents = append(a.Parents, uint64(p))
		}
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			resp, err := m.Explain(ctx, &controlpb.ExplainRequest{Tablet: uint64(t.ID)})
			a.Decisions = decisions(resp.GetDecisions())
			return err
		})
		if err != nil {
			a.Missing = "the master does not tell: " + err.Error()
		}
		return e.out.Print(a, func(p *output.Page) {
			p.Line("tablet    %d, rows %s, %s %s", a.Tablet, inspect.Rows(a.Start, a.End), a.State, a.Address)
			if len(a.Parents) > 0 {
				p.Line("parents   %v", a.Parents)
			}
			if a.Why != "" {
				p.Line("last      %s", a.Why)
			}
			p.Line("")
			if a.Missing != "" {
				p.Line("%s", a.Missing)
				return
			}
			humanDecisions(p, a.Decisions)
		})
	})
	c.Long = `Show the reason that the tablet's record gives for its last change, and what the
master remembers of decisions about it. A master remembers those of its own term.`
	return c
}
