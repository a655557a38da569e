package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
)

func (r *run) snapshotCommand() *cobra.Command {
	c := group("snapshot", "Keep tables as they are now, and make tables of that",
		r.snapshotCreateCommand(), r.snapshotListCommand(), r.snapshotShowCommand(), r.snapshotDeleteCommand(), r.snapshotCloneCommand())
	c.Long = `A snapshot holds what a table held when it was taken, and its schema: all writes that
were acknowledged before, whatever becomes of the table. No data is copied: the
snapshot keeps files from being deleted, which the table may share until it has
rewritten them. So does a table that is made of a snapshot.

No master is needed but for the new table's tablets to be served.`
	return c
}

// snapshots returns the way to the snapshots.
func (e *env) snapshots() *snapshot.Service { return snapshot.New(e.meta, e.run.app.Network) }

// snapshotInfo is a snapshot as commands show it.
type snapshotInfo struct {
	Snapshot    string       `json:"snapshot"` // its full name
	Table       string       `json:"table"`    // what it is of
	Created     output.Time  `json:"created"`
	Expires     *output.Time `json:"expires,omitempty"`
	Tablets     int          `json:"tablets"`
	Bytes       output.Size  `json:"bytes"` // of the files, when it was taken
	Description string       `json:"description,omitempty"`
}

func newSnapshotInfo(it snapshot.Item) snapshotInfo {
	s := snapshot.Shown(it)
	i := snapshotInfo{
		Snapshot: it.Name, Table: it.Value.Table.GetName(), Created: output.Time(s.CreateTime.AsTime()),
		Tablets: len(it.Value.Tablets), Bytes: output.Size(s.DataSizeBytes), Description: s.Description,
	}
	if s.DeleteTime != nil {
		t := output.Time(s.DeleteTime.AsTime())
		i.Expires = &t
	}
	return i
}

// expires says when a snapshot goes by itself.
func (i snapshotInfo) expires() string {
	if i.Expires == nil {
		return "never"
	}
	return i.Expires.String()
}

func (i snapshotInfo) lines(p *output.Page) {
	p.Line("snapshot     %s", i.Snapshot)
	p.Line("of table     %s", i.Table)
	p.Line("created      %v", i.Created)
	p.Line("expires      %s", i.expires())
	p.Line("tablets      %d", i.Tablets)
	p.Line("files        %v", i.Bytes)
	if i.Description != "" {
		p.Line("description  %s", i.Description)
	}
}

func (r *run) snapshotCreateCommand() *cobra.Command {
	var o snapshot.Options
	var cluster, at string
	c := r.ofTable(r.command("create <table> <snapshot>", "Take a snapshot of a table", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		table, err := e.fullName(args[0])
		if err != nil {
			return err
		}
		if o.At, err = pastTime(at); err != nil {
			return err
		}
		if o.TTL < 0 {
			return usagef("--ttl %v: want a positive duration", o.TTL)
		}
		name := args[1]
		if !strings.HasPrefix(name, "projects/") {
			if name, err = e.newSnapshotName(ctx, table, cluster, name); err != nil {
				return err
			}
		}
		it, err := e.snapshots().Create(ctx, name, table, o)
		if err != nil {
			return err
		}
		i := newSnapshotInfo(it)
		return e.out.Print(i, i.lines)
	}))
	c.Example = `  tabletadm snapshot create pages before-import
  tabletadm snapshot create pages nightly --ttl 168h --description 'every night'`
	c.Flags().DurationVar(&o.TTL, "ttl", 0, "delete it after this long (default: keep it until it is deleted)")
	c.Flags().StringVar(&o.Description, "description", "", "what it is for")
	c.Flags().StringVar(&at, "at", "", "as of this time: RFC 3339, or how long ago, such as 90s; see tabletadm clone")
	c.Flags().StringVar(&cluster, "cluster", "", "cluster of the instance where it is kept (default: the first)")
	return c
}

// newSnapshotName returns the full name of a new snapshot of a table, of the
// given id.
func (e *env) newSnapshotName(ctx context.Context, table, cluster, id string) (string, error) {
	n, err := schema.ParseName(table)
	if err != nil {
		return "", err
	}
	in := n.Parent() + "/clusters/" + cluster
	if cluster == "" {
		if in, err = e.snapshots().DefaultCluster(ctx, n.Parent()); err != nil {
			return "", err
		}
	}
	return in + "/snapshots/" + id, nil
}

// snapshot finds a snapshot by its full or short name.
func (e *env) snapshot(ctx context.Context, name string) (snapshot.Item, error) {
	if strings.HasPrefix(name, "projects/") {
		return e.snapshots().Get(ctx, name)
	}
	all, err := e.snapshots().List(ctx, e.parent()+"/clusters/")
	if err != nil {
		return snapshot.Item{}, err
	}
	var found []snapshot.Item
	for _, it := range all {
		if _, id, err := snapshot.Cluster(it.Name); err == nil && id == name {
			found = append(found, it)
		}
	}
	switch len(found) {
	case 0:
		return snapshot.Item{}, base.Textf(base.ErrNotFound, "Snapshot not found: %s in %s; tabletadm snapshot list shows what there is", name, e.parent())
	case 1:
		return found[0], nil
	}
	return snapshot.Item{}, usagef("snapshot %s is in several clusters: give its full name, such as %s", name, found[0].Name)
}

func (r *run) snapshotListCommand() *cobra.Command {
	var all bool
	c := r.ofTable(r.command("list [table]", "List snapshots", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		prefix := e.parent() + "/clusters/"
		if all {
			prefix = ""
		}
		of := ""
		if len(args) > 0 {
			var err error
			if of, err = e.fullName(args[0]); err != nil {
				return err
			}
			n, err := schema.ParseName(of)
			if err != nil {
				return err
			}
			prefix = n.Parent() + "/clusters/"
		}
		items, err := e.snapshots().List(ctx, prefix)
		if err != nil {
			return err
		}
		list := []snapshotInfo{}
		for _, it := range items {
			if i := newSnapshotInfo(it); of == "" || i.Table == of {
				list = append(list, i)
			}
		}
		return e.out.Print(list, func(p *output.Page) {
			if len(list) == 0 {
				p.Line("no snapshots; take one with tabletadm snapshot create")
				return
			}
			p.Header("SNAPSHOT", "TABLE", "CREATED", "EXPIRES", "TABLETS", "FILES", "DESCRIPTION")
			for _, i := range list {
				p.Row(e.shortSnapshot(i.Snapshot), e.short(i.Table), i.Created, i.expires(), i.Tablets, i.Bytes, i.Description)
			}
		})
	}))
	c.Flags().BoolVar(&all, "all", false, "those of all projects and instances")
	return c
}

// shortSnapshot returns the name of a snapshot as it is given in commands with
// these flags.
func (e *env) shortSnapshot(full string) string {
	if _, id, err := snapshot.Cluster(full); err == nil && strings.HasPrefix(full, e.parent()+"/") {
		return id
	}
	return full
}

func (r *run) snapshotShowCommand() *cobra.Command {
	c := long(r.command("show <snapshot>", "Show a snapshot, and what it keeps", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		it, err := e.snapshot(ctx, args[0])
		if err != nil {
			return err
		}
		kept, err := e.pins(ctx, e.snapshots().Key(it.Name))
		if err != nil {
			return err
		}
		type answer struct {
			snapshotInfo
			Families []string `json:"families"`
			pins
		}
		a := answer{snapshotInfo: newSnapshotInfo(it), pins: kept}
		for _, f := range it.Value.Table.GetFamilies() {
			a.Families = append(a.Families, f.Name)
		}
		slices.Sort(a.Families)
		return e.out.Print(a, func(p *output.Page) {
			a.lines(p)
			p.Line("families     %s", strings.Join(a.Families, ", "))
			p.Line("keeps alone  %v in %d SSTables", a.Alone, a.AloneFiles)
			p.Line("shares       %v in %d SSTables", a.Shared, a.SharedFiles)
		})
	}))
	c.Long = `Show a snapshot, and how much of the bucket it keeps from being deleted: alone, which
is what its deletion would free, and together with tablets, deleted tables, backups
or other snapshots. All manifests of the cluster are read for that.`
	return c
}

func (r *run) snapshotDeleteCommand() *cobra.Command {
	var yes bool
	c := r.command("delete <snapshot>", "Delete a snapshot", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		it, err := e.snapshot(ctx, args[0])
		if err != nil {
			return err
		}
		if err := e.confirm(yes, "delete snapshot %s", it.Name); err != nil {
			return err
		}
		if err := e.snapshots().Delete(ctx, it.Name); err != nil {
			return err
		}
		return e.done("snapshot %s is deleted", it.Name)
	})
	yesFlag(c, &yes)
	return c
}

func (r *run) snapshotCloneCommand() *cobra.Command {
	return r.command("clone <snapshot> <new table>", "Make a table of a snapshot", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		table, err := e.fullName(args[1])
		if err != nil {
			return err
		}
		it, err := e.snapshot(ctx, args[0])
		if err != nil {
			return err
		}
		t, err := e.snapshots().Clone(ctx, it.Name, table)
		if err != nil {
			return err
		}
		return e.cloned(ctx, t, len(it.Value.Tablets), "snapshot "+it.Name, time.Time{})
	})
}

// pastTime parses a time or how long ago it was; "" is the zero time.
func pastTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return time.Now().Add(-ago).Truncate(time.Microsecond), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, usagef("--at %s: want a time such as 2026-03-01T12:34:56Z, or how long ago, such as 90s", s)
	}
	if t.After(time.Now()) {
		return t, usagef("--at %s: this time has not come yet", s)
	}
	return t.Truncate(time.Microsecond), nil
}

func (r *run) cloneCommand() *cobra.Command {
	var at string
	c := r.ofTable(r.command("clone <table> <new table>", "Make a table of what another one holds now", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		from, err := e.fullName(args[0])
		if err != nil {
			return err
		}
		table, err := e.fullName(args[1])
		if err != nil {
			return err
		}
		then, err := pastTime(at)
		if err != nil {
			return err
		}
		t, of, err := e.snapshots().CloneTable(ctx, from, table, then)
		if err != nil {
			return err
		}
		return e.cloned(ctx, t, len(of.Tablets), "table "+from, of.AsOf)
	}))
	c.Long = `Make a new table that holds what another one holds now, with its schema: all writes
that were acknowledged before. No data is copied: both tables refer to the same files
until they rewrite them.

With --at it holds what the other one held then, by the clocks of the tablet servers:
of each row all that was acknowledged by that time, or by a moment shortly before, which
is printed, and nothing newer. Tablets know their past since they were last flushed,
loaded, split or merged, and a drop of rows is flushed at once; where one does not reach
back so far nothing is done, and the error says to which time all do.`
	c.Example = `  tabletadm clone pages pages-before --at 2026-03-01T12:34:00Z
  tabletadm clone pages pages-before --at 30s`
	c.Flags().StringVar(&at, "at", "", "as of this time: RFC 3339, or how long ago, such as 90s")
	return c
}

// cloned waits for a new table to be served and prints what it was made of.
func (e *env) cloned(ctx context.Context, t meta.Table, tablets int, of string, at time.Time) error {
	if err := e.snapshots().AwaitServed(ctx, t); err != nil {
		return err
	}
	type answer struct {
		Table   string       `json:"table"`
		Of      string       `json:"of"`
		At      *output.Time `json:"at,omitempty"`
		Tablets int          `json:"tablets"`
	}
	a := answer{Table: t.Name, Of: of, Tablets: tablets}
	text := fmt.Sprintf("table %s has the %d tablets of %s", t.Name, tablets, of)
	if !at.IsZero() {
		a.At = (*output.Time)(&at)
		text += " as they were at " + a.At.String()
	}
	return e.out.Print(a, func(p *output.Page) { p.Line("%s", text) })
}
