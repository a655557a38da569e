package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// compactorStatus is one worker that compacts for tablet servers.
type compactorStatus struct {
	Incarnation   string          `json:"incarnation"`
	Name          string          `json:"name"`
	Address       string          `json:"address"`
	Zone          string          `json:"zone,omitempty"`
	Version       string          `json:"version,omitempty"`
	StatusAddress string          `json:"status_address,omitempty"`
	Started       output.Time     `json:"started"`
	Slots         uint32          `json:"slots"`
	Reachable     bool            `json:"reachable"`
	Error         string          `json:"error,omitempty"`
	Done          uint64          `json:"done"`
	Failed        uint64          `json:"failed"`
	Refused       uint64          `json:"refused"`
	Read          output.Size     `json:"read_bytes"`
	Written       output.Size     `json:"written_bytes"`
	Running       []compactorWork `json:"running"`
}

// compactorWork is a job under way.
type compactorWork struct {
	Server  string          `json:"server"`
	Tablet  uint64          `json:"tablet"`
	Reason  string          `json:"reason"`
	Elapsed output.Duration `json:"elapsed_seconds"`
	Input   output.Size     `json:"input_bytes"`
	Written output.Size     `json:"written_bytes"`
}

func (r *run) compactorsCommand() *cobra.Command {
	c := r.command("compactors", "List the workers that compact for tablet servers", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		list, err := e.compactors(ctx)
		if err != nil {
			return err
		}
		return e.out.Print(list, func(p *output.Page) { humanCompactors(p, list) })
	})
	c.Long = `List the compactors that have a session, and ask each what it does. Without any,
tablet servers compact by themselves.`
	c.Example = `  tabletadm compactors`
	return c
}

// compactors lists the workers and asks each, all at once.
func (e *env) compactors(ctx context.Context) ([]compactorStatus, error) {
	records, _, err := e.meta.Compactors(ctx, lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	list := make([]compactorStatus, len(records))
	each(len(records), func(i int) {
		r := records[i]
		list[i] = compactorStatus{
			Incarnation: meta.Incarnation(r.Incarnation).String(), Name: r.Name, Address: r.Address, Zone: r.Zone, Version: r.Version,
			StatusAddress: r.StatusAddress, Started: output.TimeMicros(r.StartedUs), Slots: r.Slots, Running: []compactorWork{},
		}
		ctx, cancel := context.WithTimeout(ctx, peerPatience)
		defer cancel()
		if err := list[i].ask(ctx, e.run.app.Network); err != nil {
			list[i].Error = err.Error()
		}
	})
	slices.SortFunc(list, func(a, b compactorStatus) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Incarnation, b.Incarnation))
	})
	return list, nil
}

func (s *compactorStatus) ask(ctx context.Context, n rpc.Network) error {
	cc, err := rpc.Dial(n, s.Address)
	if err != nil {
		return fmt.Errorf("dial compactor %s: %w", s.Address, err)
	}
	defer cc.Close() // nothing was left to send
	r, err := compactorpb.NewCompactorClient(cc).Status(ctx, &compactorpb.StatusRequest{})
	if err != nil {
		return fmt.Errorf("compactor %s: %w", s.Address, rpc.FromStatus(err))
	}
	s.Reachable, s.Done, s.Failed, s.Refused = true, r.Done, r.Failed, r.Refused
	s.Read, s.Written = output.Size(r.ReadBytes), output.Size(r.WrittenBytes)
	for _, w := range r.Running {
		s.Running = append(s.Running, compactorWork{
			Server: w.Server, Tablet: w.Tablet, Reason: w.Reason, Elapsed: micros(w.ElapsedUs), Input: output.Size(w.InputBytes), Written: output.Size(w.WrittenBytes),
		})
	}
	return nil
}

func humanCompactors(p *output.Page, list []compactorStatus) {
	if len(list) == 0 {
		p.Line("no compactor is running; tablet servers compact by themselves")
		return
	}
	p.Header("COMPACTOR", "INCARNATION", "ADDRESS", "ZONE", "UP", "BUSY", "DONE", "FAILED", "READ", "WRITTEN", "STATE")
	for _, s := range list {
		state := "ok"
		if s.Error != "" {
			state = s.Error
		}
		p.Row(s.Name, s.Incarnation, s.Address, s.Zone, output.Duration(time.Since(time.Time(s.Started))).String(),
			fmt.Sprintf("%d of %d", len(s.Running), s.Slots), s.Done, s.Failed, s.Read.String(), s.Written.String(), state)
	}
	for _, s := range list {
		for _, w := range s.Running {
			p.Line("%s: tablet %d of %s, %s, for %s: %s of %s written", s.Name, w.Tablet, w.Server, w.Reason, w.Elapsed, w.Written, w.Input)
		}
	}
}
