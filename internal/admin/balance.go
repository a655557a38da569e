package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func (r *run) balanceCommand() *cobra.Command {
	c := group("balance", "Let the master move, split and merge tablets, or not",
		r.setBalanceCommand("on", "Let the master decide", false), r.setBalanceCommand("off", "Leave tablets as they are, but for drained servers", true), r.balanceExplainCommand(), r.balanceWaitCommand())
	c.Long = `The master moves tablets from busy servers to idle ones, splits tablets that are
large or busy, and merges small idle ones. That can be turned off; it stays off
until it is turned on, whoever is the master. What is asked for by hand is done in
any case.`
	return c
}

func (r *run) setBalanceCommand(use, short string, off bool) *cobra.Command {
	return r.command(use, short, cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		err := e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.SetBalance(ctx, &controlpb.SetBalanceRequest{Off: off})
			return err
		})
		if err != nil {
			return err
		}
		return e.done("balancing is %s", use)
	})
}

func (r *run) balanceExplainCommand() *cobra.Command {
	var limit uint32
	c := r.command("explain", "Show what the master decided lately, and why", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		type answer struct {
			On        bool           `json:"on"`
			Idle      string         `json:"idle_because,omitempty"`
			Drained   []string       `json:"drained"`
			UnderWay  uint32         `json:"under_way"`
			Decisions []decisionInfo `json:"decisions"`
		}
		var a answer
		err := e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			resp, err := m.Explain(ctx, &controlpb.ExplainRequest{Limit: limit})
			a = answer{!resp.GetBalanceOff(), resp.GetIdleBecause(), append([]string{}, resp.GetDrained()...), resp.GetUnderWay(), decisions(resp.GetDecisions())}
			return err
		})
		if err != nil {
			return err
		}
		return e.out.Print(a, func(p *output.Page) {
			p.Line("balancing  %s", map[bool]string{true: "on", false: "off"}[a.On])
			if a.Idle != "" {
				p.Line("waiting    %s", a.Idle)
			}
			if len(a.Drained) > 0 {
				p.Line("drained    %s", strings.Join(a.Drained, ", "))
			}
			p.Line("")
			humanDecisions(p, a.Decisions)
		})
	})
	c.Flags().Uint32Var(&limit, "limit", 50, "show that many (0: all that are remembered)")
	return c
}

func (r *run) balanceWaitCommand() *cobra.Command {
	var quiet time.Duration
	c := long(r.command("wait", "Wait until the master has nothing to move, split or merge", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		if quiet <= 0 {
			return usagef("--quiet must be positive")
		}
		done, err := e.awaitBalance(ctx, quiet)
		if err != nil {
			return err
		}
		type answer struct {
			Decisions int `json:"decisions"`
		}
		return e.out.Print(answer{done}, func(p *output.Page) { p.Line("balanced; %d decisions were carried out meanwhile", done) })
	}))
	c.Flags().DurationVar(&quiet, "quiet", 12*time.Second, "how long nothing must have been decided; the master looks every 5 s")
	c.Long = `Wait until all tablets are served, nothing is under way and nothing was decided for
some time. While balancing is off, this is what drained servers and operators ask for.`
	return c
}

// awaitBalance returns once nothing was under way or decided for that long, and
// how many decisions there were.
func (e *env) awaitBalance(ctx context.Context, quiet time.Duration) (decisions int, err error) {
	b := newBar(e.run.app, -1, "balancing")
	defer b.finish()
	seen, last := map[int64]bool{}, time.Now()
	began := last
	err = e.poll(ctx, func() (bool, error) {
		var r *controlpb.ExplainResponse
		err := e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) (err error) {
			r, err = m.Explain(ctx, &controlpb.ExplainRequest{})
			return err
		})
		if err != nil {
			return false, err
		}
		for _, d := range r.GetDecisions() {
			if time.UnixMicro(d.AtUs).After(began) && !seen[d.AtUs] {
				seen[d.AtUs] = true
				last = time.Now()
				b.step(1)
			}
		}
		if r.GetUnderWay() > 0 || r.GetIdleBecause() != "" {
			last = time.Now()
		}
		b.say("balancing: %d under way, %d decided%s", r.GetUnderWay(), len(seen), because(r.GetIdleBecause()))
		return time.Since(last) >= quiet, nil
	})
	return len(seen), err
}

func because(idle string) string {
	if idle == "" {
		return ""
	}
	return ", waiting: " + idle
}

// hotTablet is what a tablet does.
type hotTablet struct {
	Tablet   uint64       `json:"tablet"`
	Table    string       `json:"table"`
	Start    output.Bytes `json:"start"`
	End      output.Bytes `json:"end"`
	Server   string       `json:"server"`
	Reads    float64      `json:"reads"`
	Writes   float64      `json:"writes"`
	Bytes    output.Size  `json:"bytes"`
	Memtable output.Size  `json:"memtable_bytes"`
}

func (r *run) hotCommand() *cobra.Command {
	var limit int
	c := r.command("hot", "Show the busiest tablets", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		if limit < 0 {
			return usagef("--limit %d: must not be negative", limit)
		}
		list, err := e.hotTablets(ctx)
		if err != nil {
			return err
		}
		if limit > 0 {
			list = list[:min(len(list), limit)]
		}
		return e.out.Print(list, func(p *output.Page) {
			if len(list) == 0 {
				p.Line("no tablet is served")
				return
			}
			p.Header("TABLET", "TABLE", "ROWS", "SERVER", "READS/S", "WRITES/S", "BYTES", "MEMTABLE")
			for _, t := range list {
				p.Row(t.Tablet, e.short(t.Table), inspect.Rows(t.Start, t.End), t.Server, fmt.Sprintf("%.0f", t.Reads), fmt.Sprintf("%.0f", t.Writes), t.Bytes, t.Memtable)
			}
		})
	})
	c.Flags().IntVar(&limit, "limit", 20, "show that many (0: all)")
	c.Long = `Ask each tablet server for the rates of its tablets, smoothed over half a minute, and
show the busiest first. No master is needed.`
	return c
}

// hotTablets asks all servers, and leaves out those that do not answer.
func (e *env) hotTablets(ctx context.Context) ([]hotTablet, error) {
	v, err := e.gather(ctx, false)
	if err != nil {
		return nil, err
	}
	list := []hotTablet{}
	for _, s := range v.Servers {
		if s.Err != nil {
			fmt.Fprintf(e.run.app.Stderr, "tabletadm: tablet server %s: %v\n", s.Name(), s.Err)
		}
		for _, l := range s.Tablets {
			h := hotTablet{
				Tablet: l.Tablet, Start: l.Start, End: l.End, Server: s.Name(), Reads: l.Reads, Writes: l.Writes,
				Bytes: output.Size(l.FileBytes + l.MemtableBytes), Memtable: output.Size(l.MemtableBytes),
			}
			if t := v.Table(base.TableID(l.Table)); t != nil {
				h.Table = t.Name
			}
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b hotTablet) int {
		return cmp.Or(cmp.Compare(b.Reads+b.Writes, a.Reads+a.Writes), cmp.Compare(a.Tablet, b.Tablet))
	})
	return list, nil
}

func (r *run) recoveryCommand() *cobra.Command {
	return r.command("recovery", "Show fail-overs that are under way, and recent ones", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		type recovery struct {
			Log     string          `json:"log"`
			Phase   string          `json:"phase"`
			Began   output.Time     `json:"began"`
			Sealing output.Duration `json:"sealing_seconds"` // so far
			Took    output.Duration `json:"took_seconds"`    // so far
			Tablets uint32          `json:"tablets"`
			Left    uint32          `json:"tablets_left"`
		}
		list := []recovery{}
		err := e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			s, err := m.ClusterStatus(ctx, &controlpb.ClusterStatusRequest{OmitTablets: true})
			list = list[:0]
			for _, x := range s.GetRecoveries() {
				sealed, done := x.SealedUs, x.DoneUs
				now := nowMicros()
				if sealed == 0 {
					sealed = now
				}
				if done == 0 {
					done = now
				}
				list = append(list, recovery{meta.Incarnation(x.Log).String(), x.Phase, output.TimeMicros(x.StartedUs),
					micros(sealed - x.StartedUs), micros(done - x.StartedUs), x.Tablets, x.TabletsLeft})
			}
			return err
		})
		if err != nil {
			return err
		}
		return e.out.Print(list, func(p *output.Page) {
			if len(list) == 0 {
				p.Line("nothing was recovered in this master's term")
				return
			}
			p.Header("LOG", "PHASE", "BEGAN", "SEALING", "TOOK", "TABLETS", "LEFT")
			for _, x := range list {
				p.Row(x.Log, x.Phase, x.Began, x.Sealing, x.Took, x.Tablets, x.Left)
			}
		})
	})
}
