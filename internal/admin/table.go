package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/gcpolicy"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

func (r *run) tableCommand() *cobra.Command {
	return group("table", "Make, show, change and delete tables",
		r.tableCreateCommand(), r.tableListCommand(), r.ofTable(r.tableDescribeCommand()), r.ofTable(r.tableAlterCommand()), r.ofTable(r.tableDeleteCommand()), r.tableUndeleteCommand())
}

func (r *run) tableCreateCommand() *cobra.Command {
	var splits, families, storage []string
	var micros, protect bool
	c := r.command("create <table>", "Make a table", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		full, err := e.fullName(args[0])
		if err != nil {
			return err
		}
		name, err := schema.ParseName(full)
		if err != nil {
			return err
		}
		t := &adminpb.Table{DeletionProtection: protect}
		if micros {
			t.Granularity = adminpb.Table_MICROS
		}
		if t.ColumnFamilies, err = parseFamilies(splitList(families)); err != nil {
			return err
		}
		stored, err := parseStorages(storage, t.ColumnFamilies)
		if err != nil {
			return err
		}
		req := &adminpb.CreateTableRequest{Parent: name.Parent(), TableId: name.Table, Table: t}
		for _, s := range splitList(splits) {
			key, err := output.Parse(s)
			if err != nil {
				return err
			}
			req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: key})
		}
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.CreateTable(ctx, req)
			return err
		})
		if err == nil {
			err = e.setStorage(ctx, full, stored)
		}
		if err != nil {
			return err
		}
		return e.describeTable(ctx, full)
	})
	c.Example = `  tabletadm table create pages --families anchor,contents:maxversions=3
  tabletadm table create logs --families 'cf:maxage=30d||maxversions=2' --split g,n,t
  tabletadm table create mail --families meta,body --storage meta:locality-group=meta,in-memory --storage body:compression=zstd`
	c.Flags().StringArrayVar(&splits, "split", nil, "row keys at which the table is cut into tablets, separated by commas")
	c.Flags().StringArrayVar(&families, "families", nil, "column families, each with an optional garbage rule: name[:rule]")
	c.Flags().StringArrayVar(&storage, "storage", nil, "how a family is stored: name:setting,setting...; tabletadm family set --help tells of them")
	c.Flags().BoolVar(&micros, "micros", false, "keep timestamps in microseconds, not milliseconds")
	c.Flags().BoolVar(&protect, "protect", false, "refuse to delete the table or its families")
	return c
}

// parseFamilies reads name or name:rule; a rule may also follow =.
func parseFamilies(list []string) (map[string]*adminpb.ColumnFamily, error) {
	m := map[string]*adminpb.ColumnFamily{}
	for _, f := range list {
		name, rule, err := parseFamily(f)
		if err != nil {
			return nil, err
		}
		if m[name] != nil {
			return nil, usagef("column family %s is given twice", name)
		}
		m[name] = &adminpb.ColumnFamily{GcRule: rule}
	}
	return m, nil
}

func parseFamily(f string) (string, *adminpb.GcRule, error) {
	name, text, _ := strings.Cut(f, ":")
	rule, err := gcpolicy.Parse(text)
	if err == nil {
		err = schema.CheckFamilyName(name)
	}
	if err != nil {
		return "", nil, fmt.Errorf("column family %q: %w", f, err)
	}
	return name, rule, nil
}

// tableInfo is one table as it is shown.
type tableInfo struct {
	Name        string       `json:"name"`
	ID          uint64       `json:"id"`
	Created     output.Time  `json:"created"`
	Granularity string       `json:"granularity"`
	Protected   bool         `json:"deletion_protection"`
	Families    []familyInfo `json:"families"`
	Tablets     tabletCounts `json:"tablets"`
}

type familyInfo struct {
	Name      string `json:"name"`
	ID        uint32 `json:"id"`
	Garbage   string `json:"gc"`
	ValueType string `json:"value_type,omitempty"`

	Storage *storageInfo `json:"storage,omitempty"`
}

func newTableInfo(t meta.Table, tablets []meta.Tablet) tableInfo {
	i := tableInfo{
		Name: t.Name, ID: uint64(t.ID), Created: output.TimeMicros(t.Record.CreatedUs), Granularity: schema.Granularity(t.Record).String(),
		Protected: t.Record.GetSpec().GetDeletionProtection(), Families: []familyInfo{}, Tablets: count(tablets),
	}
	for _, f := range t.Record.Families {
		i.Families = append(i.Families, familyInfo{Name: f.Name, ID: f.Id, Garbage: gcpolicy.Format(f.GcRule), ValueType: valueType(f), Storage: newStorageInfo(f.Storage)})
	}
	slices.SortFunc(i.Families, func(a, b familyInfo) int { return strings.Compare(a.Name, b.Name) })
	return i
}

// valueType names the type of the cells of a family; "": bytes.
func valueType(f *metapb.Family) string {
	a := f.GetValueType().GetAggregateType()
	switch {
	case a.GetSum() != nil:
		return "sum"
	case a.GetMin() != nil:
		return "min"
	case a.GetMax() != nil:
		return "max"
	case a.GetHllppUniqueCount() != nil:
		return "unique"
	case f.GetValueType().GetKind() != nil:
		return f.GetValueType().String()
	}
	return ""
}

func (r *run) tableListCommand() *cobra.Command {
	var all bool
	c := r.command("list", "List the tables", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		prefix := e.parent() + "/tables/"
		if all {
			prefix = ""
		}
		tables, _, err := e.meta.ListTables(ctx, prefix, lockservice.ReadOptions{})
		if err != nil {
			return err
		}
		tablets, _, err := e.meta.All(ctx, lockservice.ReadOptions{})
		if err != nil {
			return err
		}
		slices.SortFunc(tables, func(a, b meta.Table) int { return strings.Compare(a.Name, b.Name) })
		list := []tableInfo{}
		for _, t := range tables {
			list = append(list, newTableInfo(t, ofTable(tablets, t)))
		}
		return e.out.Print(list, func(p *output.Page) {
			if len(list) == 0 {
				p.Line("no tables; make one with tabletadm table create")
				return
			}
			p.Header("TABLE", "ID", "TABLETS", "SERVING", "FAMILIES")
			for _, t := range list {
				var families []string
				for _, f := range t.Families {
					families = append(families, f.Name)
				}
				p.Row(e.short(t.Name), t.ID, t.Tablets.Total, t.Tablets.Serving, strings.Join(families, ", "))
			}
		})
	})
	c.Flags().BoolVar(&all, "all", false, "those of all projects and instances")
	return c
}

func ofTable(tablets []meta.Tablet, t meta.Table) []meta.Tablet {
	var out []meta.Tablet
	for _, x := range tablets {
		if x.Table == t.ID {
			out = append(out, x)
		}
	}
	return out
}

func (r *run) tableDescribeCommand() *cobra.Command {
	return r.command("describe <table>", "Show a table's families and garbage rules", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		return e.describeTable(ctx, args[0])
	})
}

func (e *env) describeTable(ctx context.Context, name string) error {
	t, err := e.table(ctx, name)
	if err != nil {
		return err
	}
	tablets, err := e.meta.Tablets(ctx, t.ID, lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	i := newTableInfo(t, tablets)
	return e.out.Print(i, func(p *output.Page) {
		p.Line("table       %s", i.Name)
		p.Line("id          %d", i.ID)
		p.Line("created     %v", i.Created)
		p.Line("timestamps  in %s", strings.ToLower(i.Granularity))
		if i.Protected {
			p.Line("protected   from deletion")
		}
		p.Line("tablets     %d, %d of them serving", i.Tablets.Total, i.Tablets.Serving)
		p.Line("")
		p.Header("FAMILY", "ID", "GARBAGE", "TYPE", "STORAGE")
		for _, f := range i.Families {
			p.Row(f.Name, f.ID, f.Garbage, f.ValueType, f.Storage.String())
		}
	})
}

func (r *run) tableAlterCommand() *cobra.Command {
	var add, drop, gc []string
	var yes bool
	c := r.command("alter <table>", "Add and drop column families, set garbage rules", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		full, err := e.fullName(args[0])
		if err != nil {
			return err
		}
		req := &adminpb.ModifyColumnFamiliesRequest{Name: full}
		if req.Modifications, err = modifications(splitList(add), splitList(drop), splitList(gc)); err != nil {
			return err
		}
		if len(drop) > 0 {
			if err := e.confirm(yes, "delete the families %s of table %s and all their cells", strings.Join(drop, ", "), args[0]); err != nil {
				return err
			}
		}
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.ModifyColumnFamilies(ctx, req)
			return err
		})
		if err != nil {
			return err
		}
		return e.describeTable(ctx, full)
	})
	c.Example = `  tabletadm table alter pages --add-family lang:maxversions=1
  tabletadm table alter pages --set-gc 'anchor:maxage=90d && maxversions=5'
  tabletadm table alter pages --drop-family lang --yes`
	c.Flags().StringArrayVar(&add, "add-family", nil, "family to add: name[:rule]")
	c.Flags().StringArrayVar(&drop, "drop-family", nil, "family to drop, with all its cells")
	c.Flags().StringArrayVar(&gc, "set-gc", nil, "garbage rule of a family: name:rule, rule never keeps everything")
	yesFlag(c, &yes)
	return c
}

func modifications(add, drop, gc []string) ([]*adminpb.ModifyColumnFamiliesRequest_Modification, error) {
	type mod = adminpb.ModifyColumnFamiliesRequest_Modification
	var mods []*mod
	for _, f := range drop {
		mods = append(mods, &mod{Id: f, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Drop{Drop: true}})
	}
	for _, f := range add {
		name, rule, err := parseFamily(f)
		if err != nil {
			return nil, err
		}
		mods = append(mods, &mod{Id: name, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: &adminpb.ColumnFamily{GcRule: rule}}})
	}
	for _, f := range gc {
		if !strings.Contains(f, ":") {
			return nil, usagef("--set-gc %s: want family:rule", f)
		}
		name, rule, err := parseFamily(f)
		if err != nil {
			return nil, err
		}
		mods = append(mods, &mod{Id: name, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Update{Update: &adminpb.ColumnFamily{GcRule: rule}}})
	}
	if len(mods) == 0 {
		return nil, usagef("nothing to alter: give --add-family, --drop-family or --set-gc")
	}
	return mods, nil
}

func (r *run) tableUndeleteCommand() *cobra.Command {
	return r.command("undelete <table>", "Bring back a table that was deleted lately, with all its rows", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		full, err := e.fullName(args[0])
		if err != nil {
			return err
		}
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.UndeleteTable(ctx, &adminpb.UndeleteTableRequest{Name: full})
			return err
		})
		if err != nil {
			return err
		}
		return e.done("table %s is back", full)
	})
}

func (r *run) tableDeleteCommand() *cobra.Command {
	var yes bool
	c := r.command("delete <table>", "Delete a table; for a while it can be undeleted", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		t, err := e.table(ctx, args[0])
		if err != nil {
			return err
		}
		if err := e.confirm(yes, "delete table %s and all its rows", t.Name); err != nil {
			return err
		}
		err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
			_, err := m.DeleteTable(ctx, &adminpb.DeleteTableRequest{Name: t.Name})
			return err
		})
		if err != nil {
			return err
		}
		return e.done("table %s is deleted", t.Name)
	})
	yesFlag(c, &yes)
	return c
}
