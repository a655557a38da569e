package admin

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/fsck"
	"github.com/tabletdb/tabletdb/internal/admin/output"
)

func (r *run) checkCommand() *cobra.Command {
	var deep bool
	c := long(r.command("check", "Check that records and bucket agree", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		store, err := e.store(ctx)
		if err != nil {
			return err
		}
		bar := newBar(e.run.app, 0, "checking")
		report, err := fsck.Run(ctx, fsck.Config{
			LockService: e.ls, Store: store, Deep: deep,
			Progress: func(done, total int) { bar.set(int64(done), int64(total)) },
		})
		bar.finish()
		if err != nil {
			return err
		}
		if err := e.out.Print(report, func(p *output.Page) { humanReport(p, report) }); err != nil {
			return err
		}
		if n := report.Problems(); n > 0 {
			return problemsf("%d problems were found", n)
		}
		return nil
	}))
	c.Long = `Check that the tablets of each table cover its rows without holes, that the log of
every unflushed record, every manifest and every SSTable that a tablet, a deleted
table that may come back or a backup names is there and has the right size, and that
the references that keep logs are right. With --deep every checksum of SSTables and
needed logs is verified, which reads all of them.

It may run while the cluster works, and needs no master. Findings are problems
(exit code 4), or notices of what is under way.`
	c.Flags().BoolVar(&deep, "deep", false, "read everything and verify all checksums")
	return c
}

func humanReport(p *output.Page, r *fsck.Report) {
	for _, f := range r.Findings {
		p.Line("%s: %s", f.Severity, f)
	}
	if len(r.Findings) > 0 {
		p.Line("")
	}
	what := "sizes were checked, checksums were not (--deep does)"
	if r.Deep {
		what = "all checksums were verified"
	}
	p.Line("At revision %d: %d tables, %d tablets, %d backups, %d snapshots, %d manifests, %d SSTables with %v, %d logs with %d objects needed; %s.",
		r.Revision, r.Tables, r.Tablets, r.Backups, r.Snapshots, r.Manifests, r.SSTables, output.Size(r.Bytes), r.Logs, r.LogObjects, what)
	if r.Unreferenced > 0 {
		p.Line("%d files are named by no tablet, backup or snapshot: garbage, or being made (tabletadm gc says which).", r.Unreferenced)
	}
	if n := r.Problems(); n == 0 {
		p.Line("No problem was found.")
	}
}
