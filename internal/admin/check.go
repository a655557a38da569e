package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/fsck"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// checkFlags are the flags of check.
type checkFlags struct {
	deep, repair, dryRun bool
	accept               []string
}

func (r *run) checkCommand() *cobra.Command {
	var f checkFlags
	c := long(r.command("check", "Check that records and bucket agree, and repair them", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		if !f.repair && (f.dryRun || len(f.accept) > 0) {
			return usagef("--dry-run and --accept-loss go with --repair")
		}
		store, err := e.store(ctx)
		if err != nil {
			return err
		}
		bar := newBar(e.run.app, 1, "checking")
		defer bar.finish()
		cfg := fsck.Config{
			LockService: e.ls, Store: store, Deep: f.deep,
			Progress: func(done, total int) { bar.set(int64(done), int64(total)) },
		}
		if f.repair {
			return e.repair(ctx, cfg, f, bar)
		}
		report, err := fsck.Run(ctx, cfg)
		bar.finish()
		if err != nil {
			return err
		}
		if err := e.out.Print(report, func(p *output.Page) { humanReport(p, report) }); err != nil {
			return err
		}
		return complain(report)
	}))
	c.Long = `Check that the tablets of each table cover its rows without holes, that the log of
every unflushed record, every manifest and every SSTable that a tablet, a deleted
table that may come back or a backup names is there and has the right size, and that
the references that keep logs are right. With --deep every checksum of SSTables and
needed logs is verified, which reads all of them.

It may run while the cluster works, and needs no master. Findings are problems
(exit code 4), or notices of what is under way.

With --repair what can be mended is mended; --dry-run only shows the plan. Each step is
a transaction that does nothing where the world has changed since it was looked at.
What may lose something is only done where that kind of loss is accepted by name:

  holes      what a tablet held whose record is lost: its rows begin anew, empty
  manifests  a tablet goes back to an older list of its files
  sstables   what stood in SSTables that are missing or damaged
  logs       writes whose log objects are missing or damaged
  marks      that an operator had drained a server`
	c.Example = `  tabletadm check --deep
  tabletadm check --repair --dry-run
  tabletadm check --repair --accept-loss logs,sstables`
	c.Flags().BoolVar(&f.deep, "deep", false, "read everything and verify all checksums")
	c.Flags().BoolVar(&f.repair, "repair", false, "mend what can be mended")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "with --repair: only show what would be done")
	c.Flags().StringSliceVar(&f.accept, "accept-loss", nil, "with --repair: also do what may lose these: holes, manifests, sstables, logs, marks")
	_ = c.RegisterFlagCompletionFunc("accept-loss", cobra.FixedCompletions(lossNames(), cobra.ShellCompDirectiveNoFileComp)) // only fails for flags that are not there
	return c
}

func lossNames() (names []string) {
	for _, l := range fsck.Losses() {
		names = append(names, string(l))
	}
	return names
}

// complain returns the error of a check that found problems.
func complain(report *fsck.Report) error {
	if n := report.Problems(); n > 0 {
		return problemsf("%d problems were found", n)
	}
	return nil
}

// repair mends what the flags allow.
func (e *env) repair(ctx context.Context, cfg fsck.Config, f checkFlags, bar *bar) error {
	rc := fsck.RepairConfig{DryRun: f.dryRun, Owners: owners{e}}
	for _, name := range f.accept {
		if !slices.Contains(lossNames(), name) {
			return usagef("--accept-loss %s: there are %s", name, strings.Join(lossNames(), ", "))
		}
		rc.Accept = append(rc.Accept, fsck.Loss(name))
	}
	repaired, err := fsck.Repair(ctx, cfg, rc)
	bar.finish()
	if repaired != nil && (err == nil || len(repaired.Steps) > 0) { // what was done is told in any case
		perr := e.out.Print(repaired, func(p *output.Page) { humanRepaired(p, repaired, f.dryRun) })
		if err == nil {
			err = perr
		}
	}
	if err != nil {
		return err
	}
	return complain(repaired.Report)
}

// owners reaches the servers of tablets for repairs.
type owners struct{ e *env }

func (o owners) ask(t meta.Tablet, f func(controlpb.TabletServerClient) error) error {
	return o.e.askServer(t.OwnerAddress, f)
}

// Flush implements fsck.Owners.
func (o owners) Flush(ctx context.Context, t meta.Tablet) error {
	return o.ask(t, func(c controlpb.TabletServerClient) error {
		_, err := c.Flush(ctx, &controlpb.FlushRequest{Tablets: []uint64{uint64(t.ID)}})
		return err
	})
}

// Compact implements fsck.Owners.
func (o owners) Compact(ctx context.Context, t meta.Tablet) error {
	return o.ask(t, func(c controlpb.TabletServerClient) error {
		_, err := c.Compact(ctx, &controlpb.CompactRequest{Tablets: []uint64{uint64(t.ID)}})
		return err
	})
}

// Manifest implements fsck.Owners.
func (o owners) Manifest(ctx context.Context, t meta.Tablet) (m *manifest.Manifest, err error) {
	err = o.ask(t, func(c controlpb.TabletServerClient) error {
		r, err := c.Describe(ctx, &controlpb.DescribeRequest{Tablet: uint64(t.ID)})
		if err == nil {
			m = manifest.FromProto(r.GetManifest())
		}
		return err
	})
	return m, err
}

// Release implements fsck.Owners.
func (o owners) Release(ctx context.Context, t meta.Tablet) error {
	return o.ask(t, func(c controlpb.TabletServerClient) error {
		id := &controlpb.TabletID{Table: uint64(t.Table), Tablet: uint64(t.ID), End: t.End, Tepoch: uint64(t.Epoch)}
		_, err := c.Unload(ctx, &controlpb.UnloadRequest{Tablet: id, Why: "to be repaired"})
		return err
	})
}

func humanRepaired(p *output.Page, r *fsck.Repaired, dryRun bool) {
	if len(r.Steps) > 0 {
		p.Header("STEP", "OUTCOME", "CLASS", "SUBJECT", "WHAT")
		for i, s := range r.Steps {
			p.Row(i+1, s.Outcome, s.Class, s.Subject, s.Do)
		}
		p.Line("")
	}
	for i, s := range r.Steps {
		if s.Loses != "" {
			p.Line("step %d may lose %s (--accept-loss %s)", i+1, s.Loses, s.Needs)
		}
		if s.Error != "" {
			p.Line("step %d: %s", i+1, s.Error)
		}
	}
	switch {
	case len(r.Steps) == 0:
		p.Line("Nothing is to be mended.")
	case dryRun:
		p.Line("Nothing was changed (--dry-run). What the check found:")
	default:
		p.Line("What is left:")
	}
	p.Line("")
	humanReport(p, r.Report)
}

// findingsShown is how many findings people are shown of each class.
const findingsShown = 20

func humanReport(p *output.Page, r *fsck.Report) {
	seen := map[fsck.Class]int{}
	for _, f := range r.Findings {
		if seen[f.Class]++; seen[f.Class] <= findingsShown {
			p.Line("%s: %s", f.Severity, f)
		}
	}
	for _, c := range fsck.Classes() {
		if n := seen[c]; n > findingsShown {
			p.Line("... and %d more of the class %s (-o json shows all)", n-findingsShown, c)
		}
	}
	for _, c := range fsck.Classes() {
		bad := slices.ContainsFunc(r.Findings, func(f fsck.Finding) bool { return f.Class == c && f.Severity == fsck.Problem })
		if bad {
			p.Line("repair of %s: %s", c, fsck.Remedy(c))
		}
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
