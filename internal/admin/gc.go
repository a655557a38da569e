package admin

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

func (r *run) gcCommand() *cobra.Command {
	var dryRun bool
	c := long(r.command("gc", "Delete files that nothing names", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		store, err := e.store(ctx)
		if err != nil {
			return err
		}
		bar := newBar(e.run.app, 1, "collecting")
		defer bar.finish()
		report, err := gc.Run(ctx, gc.Config{
			Progress: func(what string, done, total int) {
				bar.say("%s", what)
				bar.set(int64(done), int64(total))
			},
			LockService: e.ls, Store: store, Manifest: manifest.Files(store), DryRun: dryRun,
			Ask: func(ctx context.Context, s meta.Server) (x gc.Server, err error) {
				err = e.askServer(s.Address, func(c controlpb.TabletServerClient) (err error) {
					x, err = gc.Ask(ctx, c, s)
					return err
				})
				return x, err
			},
		})
		bar.finish()
		if err != nil {
			return err
		}
		return e.out.Print(report, func(p *output.Page) {
			p.Header("files", "objects", "bytes")
			for _, x := range []struct {
				what string
				n    gc.Count
			}{{"named by tablets", report.Live}, {"kept for deleted tables", report.Deleted}, {"kept for backups", report.Backups},
				{"kept for snapshots", report.Snapshots}, {"of bulk loads", report.Loads},
				{"in flight", report.InFlight}, {"still read", report.Pinned}, {"garbage", report.Garbage}} {
				p.Row(x.what, x.n.Objects, output.Size(x.n.Bytes))
			}
			p.Line("")
			p.Line("%d objects were deleted.", report.Removed)
		})
	}))
	c.Long = `Say why the SSTables and manifests of the bucket are there, and delete those that
nothing names: no tablet, no deleted table that may come back, no backup or snapshot,
no bulk load that is pending, and no server or loader that is alive. The active master does the same every 10 minutes. It may run
while the cluster works, and needs no master; all tablet servers must answer.`
	c.Flags().BoolVar(&dryRun, "dry-run", false, "delete nothing")
	return c
}
