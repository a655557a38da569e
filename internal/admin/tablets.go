package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// tabletInfo is a tablet's record as it is shown.
type tabletInfo struct {
	ID              uint64          `json:"id"`
	Table           uint64          `json:"table"`
	TableName       string          `json:"table_name,omitempty"`
	Start           output.Bytes    `json:"start"`
	End             output.Bytes    `json:"end"` // empty: no end
	State           string          `json:"state"`
	Since           output.Duration `json:"since_seconds"` // of the state
	Owner           string          `json:"owner,omitempty"`
	Address         string          `json:"address,omitempty"`
	Epoch           uint64          `json:"epoch"`
	Manifest        string          `json:"manifest,omitempty"`
	ManifestVersion uint64          `json:"manifest_version"`
	Flushed         uint64          `json:"flushed_seq"`
	NextSeq         uint64          `json:"next_seq,omitempty"`
	Logs            []logEntryInfo  `json:"logs"`
	Parents         []uint64        `json:"parents,omitempty"`
	Why             string          `json:"why,omitempty"` // the last decision about it
	Revision        uint64          `json:"revision"`
}

type logEntryInfo struct {
	Log    string  `json:"log"`
	Tablet uint64  `json:"tablet"`
	Epoch  uint64  `json:"epoch"`
	From   uint64  `json:"from"`
	To     *uint64 `json:"to,omitempty"` // absent: open
}

func newTabletInfo(t meta.Tablet, table string) tabletInfo {
	i := tabletInfo{
		ID: uint64(t.ID), Table: uint64(t.Table), TableName: table, Start: t.Start, End: t.End, State: t.State.String(),
		Since: output.Duration(time.Since(t.Since)), Owner: incarnationOrNone(t.Owner), Address: t.OwnerAddress, Epoch: uint64(t.Epoch),
		ManifestVersion: t.ManifestVersion, Flushed: uint64(t.Flushed), NextSeq: uint64(t.NextSeq), Logs: []logEntryInfo{}, Why: t.Why, Revision: uint64(t.Revision),
	}
	if !t.Manifest.IsZero() {
		i.Manifest = t.Manifest.String()
	}
	for _, l := range t.Logs {
		e := logEntryInfo{Log: l.Log.String(), Tablet: uint64(l.Tablet), Epoch: uint64(l.Epoch), From: uint64(l.From)}
		if l.Closed {
			to := uint64(l.To)
			e.To = &to
		}
		i.Logs = append(i.Logs, e)
	}
	for _, p := range t.Parents {
		i.Parents = append(i.Parents, uint64(p))
	}
	return i
}

func (r *run) tabletsCommand() *cobra.Command {
	return group("tablets", "Look at tablets", r.ofTable(r.tabletsListCommand()), r.tabletsDescribeCommand())
}

func (r *run) tabletsListCommand() *cobra.Command {
	var l listing
	var only tabletFilter
	c := r.command("list [table]", "List the tablets of a table, or of all", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		if err := errors.Join(l.check(), only.check()); err != nil {
			return err
		}
		tablets, names, err := e.someTablets(ctx, args)
		if err == nil {
			tablets, err = only.of(ctx, e, tablets)
		}
		if err != nil {
			return err
		}
		list := []tabletInfo{}
		for _, t := range tablets[:l.take(e, len(tablets))] {
			list = append(list, newTabletInfo(t, names[t.Table]))
		}
		return e.out.Print(list, func(p *output.Page) {
			p.Header("TABLET", "TABLE", "ROWS", "STATE", "SINCE", "SERVER", "EPOCH", "MANIFEST", "FLUSHED", "LOGS")
			for _, t := range list {
				p.Row(t.ID, e.short(t.TableName), inspect.Rows(t.Start, t.End), t.State, t.Since, t.Address, t.Epoch, t.Manifest, t.Flushed, len(t.Logs))
			}
			l.rest(p, len(list), len(tablets))
		})
	})
	l.register(c)
	only.register(c)
	return c
}

// tabletFilter chooses tablets of a list.
type tabletFilter struct{ server, state string }

// tabletStates are what --state takes: the states of records, and all but
// serving.
func tabletStates() []string {
	return []string{meta.Serving.String(), meta.Assigned.String(), meta.Unassigned.String(), "unserved"}
}

func (f *tabletFilter) register(c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", "", "only those that this server has, by name, address or incarnation")
	c.Flags().StringVar(&f.state, "state", "", "only those in this state: "+strings.Join(tabletStates(), ", "))
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(tabletStates(), cobra.ShellCompDirectiveNoFileComp)) // only fails for flags that are not there
}

func (f *tabletFilter) check() error {
	if f.state != "" && !slices.Contains(tabletStates(), f.state) {
		return usagef("--state %s: there are %s", f.state, strings.Join(tabletStates(), ", "))
	}
	return nil
}

// of returns the tablets that are chosen.
func (f *tabletFilter) of(ctx context.Context, e *env, tablets []meta.Tablet) ([]meta.Tablet, error) {
	named := map[base.Incarnation]bool{}
	if f.server != "" {
		servers, err := e.meta.Servers(ctx, lockservice.ReadOptions{})
		if err != nil {
			return nil, err
		}
		for _, s := range servers {
			named[s.Incarnation] = s.Record.GetName() == f.server
		}
	}
	return slices.DeleteFunc(tablets, func(t meta.Tablet) bool {
		mine := f.server == "" || named[t.Owner] || t.OwnerAddress == f.server || t.Owner.String() == f.server
		right := f.state == "" || t.State.String() == f.state || f.state == "unserved" && t.State != meta.Serving
		return !mine || !right
	}), nil
}

// someTablets returns the tablets of the table that args name, or all, and the
// names of the tables.
func (e *env) someTablets(ctx context.Context, args []string) ([]meta.Tablet, map[base.TableID]string, error) {
	if len(args) > 0 {
		t, err := e.table(ctx, args[0])
		if err != nil {
			return nil, nil, err
		}
		tablets, err := e.meta.Tablets(ctx, t.ID, lockservice.ReadOptions{})
		return tablets, map[base.TableID]string{t.ID: t.Name}, err
	}
	tables, _, err := e.meta.ListTables(ctx, "", lockservice.ReadOptions{})
	if err != nil {
		return nil, nil, err
	}
	names := map[base.TableID]string{}
	for _, t := range tables {
		names[t.ID] = t.Name
	}
	tablets, _, err := e.meta.All(ctx, lockservice.ReadOptions{})
	return tablets, names, err
}

// tabletByID reads the record of the tablet with that id.
func (e *env) tabletByID(ctx context.Context, arg string) (meta.Tablet, error) {
	id, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return meta.Tablet{}, usagef("tablet %q: want the number that tabletadm tablets list shows", arg)
	}
	tablets, _, err := e.meta.All(ctx, lockservice.ReadOptions{})
	if err != nil {
		return meta.Tablet{}, err
	}
	for _, t := range tablets {
		if t.ID == base.TabletID(id) {
			return t, nil
		}
	}
	return meta.Tablet{}, fmt.Errorf("tablet %d: %w; tabletadm tablets list shows what there is", id, base.ErrNotFound)
}

// tabletDescription is the answer of tablets describe.
type tabletDescription struct {
	Record   tabletInfo        `json:"record"`
	Manifest *inspect.Manifest `json:"manifest,omitempty"`
	Server   *tabletOnline     `json:"server,omitempty"`
	// Missing says why something of it is not known.
	Missing []string `json:"missing,omitempty"`
}

// tabletOnline is what the owner says.
type tabletOnline struct {
	State      string      `json:"state"`
	Error      string      `json:"error,omitempty"`
	Reads      float64     `json:"reads"`
	Writes     float64     `json:"writes"`
	Memtable   output.Size `json:"memtable_bytes"`
	Files      uint32      `json:"files"`
	FileBytes  output.Size `json:"file_bytes"`
	Runs       uint32      `json:"runs"`
	Rows       uint64      `json:"rows_estimate"`
	NextSeq    uint64      `json:"next_seq"`
	VisibleSeq uint64      `json:"visible_seq"`
	Events     []string    `json:"events"`

	InMemory *inMemoryInfo `json:"in_memory,omitempty"` // absent: nothing is to be
}

// inMemoryInfo is how much of a tablet is to be kept in memory, and is.
type inMemoryInfo struct {
	Files       uint32      `json:"files"`
	Kept        uint32      `json:"kept"`
	Bytes       output.Size `json:"bytes"`
	KeptBytes   output.Size `json:"kept_bytes"`
	Error       string      `json:"error,omitempty"`
	ServerBytes output.Size `json:"server_bytes"` // all tablets of the server
	ServerLimit output.Size `json:"server_limit_bytes"`
}

// String says it in words.
func (i *inMemoryInfo) String() string {
	s := fmt.Sprintf("%d of %d files that are to be kept in memory are, %v of %v", i.Kept, i.Files, i.KeptBytes, i.Bytes)
	switch {
	case i.Kept == i.Files:
	case i.Error != "":
		s += "; of the others some cannot be read: " + i.Error
	default:
		s += fmt.Sprintf("; the others do not fit and are read as any file: all tablets of the server take %v of %v", i.ServerBytes, i.ServerLimit)
	}
	return s
}

func (r *run) tabletsDescribeCommand() *cobra.Command {
	return r.command("describe <tablet>", "Show a tablet's record, files and what its server says", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		t, err := e.tabletByID(ctx, args[0])
		if err != nil {
			return err
		}
		d := e.describeTablet(ctx, t)
		return e.out.Print(d, d.human)
	})
}

// describeTablet gathers what can be had: a server or a bucket that does not
// answer is noted.
func (e *env) describeTablet(ctx context.Context, t meta.Tablet) *tabletDescription {
	d := &tabletDescription{}
	name := ""
	if table, err := e.meta.Table(ctx, t.Table); err == nil {
		name = table.Name
	}
	d.Record = newTabletInfo(t, name)
	if !t.Manifest.IsZero() {
		if m, err := e.readManifest(ctx, t.Manifest); err != nil {
			d.Missing = append(d.Missing, "manifest: "+err.Error())
		} else {
			d.Manifest = inspect.NewManifest(t.Manifest, m)
		}
	}
	if t.Owner.IsZero() {
		return d
	}
	err := e.askServer(t.OwnerAddress, func(c controlpb.TabletServerClient) error {
		ctx, cancel := context.WithTimeout(ctx, peerPatience)
		defer cancel()
		r, err := c.Describe(ctx, &controlpb.DescribeRequest{Tablet: uint64(t.ID)})
		if err == nil {
			d.Server = newTabletOnline(r)
		}
		return err
	})
	if err != nil {
		d.Missing = append(d.Missing, err.Error())
	}
	return d
}

func newTabletOnline(r *controlpb.DescribeResponse) *tabletOnline {
	l := r.GetLoad()
	o := &tabletOnline{
		State: l.GetState(), Error: l.GetError(), Reads: l.GetReads(), Writes: l.GetWrites(), Memtable: output.Size(l.GetMemtableBytes()),
		Files: l.GetFiles(), FileBytes: output.Size(l.GetFileBytes()), Runs: l.GetRuns(), Rows: l.GetRowsEstimate(),
		NextSeq: r.NextSeq, VisibleSeq: r.VisibleSeq, Events: append([]string{}, r.Events...),
	}
	if m := r.InMemory; m != nil {
		o.InMemory = &inMemoryInfo{
			Files: m.Files, Kept: m.Kept, Bytes: output.Size(m.Bytes), KeptBytes: output.Size(m.KeptBytes), Error: m.Error,
			ServerBytes: output.Size(m.ServerBytes), ServerLimit: output.Size(m.ServerLimit),
		}
	}
	return o
}

func (e *env) readManifest(ctx context.Context, f base.FileNumber) (*manifest.Manifest, error) {
	store, err := e.store(ctx)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Read(ctx, store, f)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, fmt.Errorf("manifest %v: %w", f, objstore.ErrNotFound)
	}
	return m, err
}

func (d *tabletDescription) human(p *output.Page) {
	t := d.Record
	p.Line("tablet    %d of table %s (%d)", t.ID, t.TableName, t.Table)
	p.Line("rows      %s", inspect.Rows(t.Start, t.End))
	p.Line("state     %s for %v, epoch %d", t.State, t.Since, t.Epoch)
	if t.Owner != "" {
		p.Line("owner     %s at %s", t.Owner, t.Address)
	}
	p.Line("flushed   up to sequence %d", t.Flushed)
	if len(t.Parents) > 0 {
		p.Line("parents   %v", t.Parents)
	}
	if t.Why != "" {
		p.Line("why       %s", t.Why)
	}
	p.Line("")
	p.Header("LOG", "TABLET", "EPOCH", "FROM", "TO")
	for _, l := range t.Logs {
		to := "open"
		if l.To != nil {
			to = strconv.FormatUint(*l.To, 10)
		}
		p.Row(l.Log, l.Tablet, l.Epoch, l.From, to)
	}
	if s := d.Server; s != nil {
		p.Line("")
		p.Line("The server says: %s, %.1f reads/s, %.1f writes/s, memtable %v, %d files in %d runs with %v,", s.State, s.Reads, s.Writes, s.Memtable, s.Files, s.Runs, s.FileBytes)
		p.Line("about %d rows, sequences up to %d are visible, the next is %d.", s.Rows, s.VisibleSeq, s.NextSeq)
		if s.InMemory != nil {
			p.Line("In memory: %v.", s.InMemory)
		}
		if s.Error != "" {
			p.Line("It does not serve it: %s", s.Error)
		}
		for _, ev := range s.Events {
			p.Line("  %s", ev)
		}
	}
	if d.Manifest != nil {
		p.Line("")
		d.Manifest.Human(p)
	}
	for _, m := range d.Missing {
		p.Line("")
		p.Line("missing: %s", m)
	}
}
