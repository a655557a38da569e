package admin

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func (r *run) safeModeCommand() *cobra.Command {
	c := group("safemode", "Stop and resume the reassignment of tablets",
		r.setSafeModeCommand("on", "Leave tablets where they are, whatever happens to servers", true),
		r.setSafeModeCommand("off", "Reassign tablets again", false),
		r.command("status", "Show whether safe mode is on, and why", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
			type answer struct {
				On     bool   `json:"on"`
				Reason string `json:"reason,omitempty"`
			}
			var a answer
			err := e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
				s, err := m.ClusterStatus(ctx, &controlpb.ClusterStatusRequest{OmitTablets: true})
				a = answer{s.GetSafeMode(), s.GetSafeModeReason()}
				return err
			})
			if err != nil {
				return err
			}
			return e.out.Print(a, func(p *output.Page) {
				if a.On {
					p.Line("on: %s", a.Reason)
				} else {
					p.Line("off")
				}
			})
		}))
	c.Long = `In safe mode the master reassigns no tablets. It enters it by itself when many
servers vanish at once, which is more likely a broken network than so many broken
servers. A mode that is set by hand holds until the master is replaced.`
	return c
}

func (r *run) setSafeModeCommand(use, short string, on bool) *cobra.Command {
	return r.command(use, short, cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		err := e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.SetSafeMode(ctx, &controlpb.SetSafeModeRequest{On: on})
			return err
		})
		if err != nil {
			return err
		}
		return e.done("safe mode is %s", use)
	})
}

func (r *run) versionCommand() *cobra.Command {
	return r.command("version", "Show the version of this program", cobra.NoArgs, func(_ context.Context, e *env, _ []string) error {
		type answer struct {
			Version  string `json:"version"`
			Revision string `json:"revision,omitempty"`
			Modified bool   `json:"modified,omitempty"`
			Go       string `json:"go"`
		}
		a := answer{Version: e.run.app.Version, Go: runtime.Version()}
		if b, ok := debug.ReadBuildInfo(); ok {
			if a.Version == "" {
				a.Version = b.Main.Version
			}
			for _, s := range b.Settings {
				switch s.Key {
				case "vcs.revision":
					a.Revision = s.Value
				case "vcs.modified":
					a.Modified = s.Value == "true"
				}
			}
		}
		return e.out.Print(a, func(p *output.Page) { p.Line("tabletadm %s %s (%s)", a.Version, a.Revision, a.Go) })
	})
}
