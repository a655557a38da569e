package status

import (
	"context"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// processBody is the page of the process that shows it. It asks nobody else.
type processBody struct {
	Role       string        `json:"role"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	Started    output.Time   `json:"started"`
	Go         string        `json:"go"`
	Cores      int           `json:"cores"`
	Goroutines int           `json:"goroutines"`
	Memory     output.Size   `json:"memory_bytes"`
	Heap       output.Size   `json:"heap_bytes"`
	GCs        uint64        `json:"garbage_collections"`
	Budgets    []budgetRows  `json:"budgets,omitempty"`
	Gateway    *router.Stats `json:"gateway,omitempty"`
	Servers    []localServer `json:"tablet_servers,omitempty"`

	Compactors []localCompactor `json:"compactors,omitempty"`
}

// budgetRows is how the memory of one server of this process is used.
type budgetRows struct {
	Name     string       `json:"name"`
	Limit    output.Size  `json:"limit_bytes"`
	Accounts []accountRow `json:"accounts"`
}

type accountRow struct {
	Name  string      `json:"name"`
	Used  output.Size `json:"used_bytes"`
	Peak  output.Size `json:"peak_bytes"`
	Limit output.Size `json:"limit_bytes"`
}

func budgets(m map[string]*membudget.Budget) []budgetRows {
	var list []budgetRows
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b := budgetRows{Name: name, Limit: output.Size(m[name].Limit())}
		for _, u := range m[name].Usage() {
			b.Accounts = append(b.Accounts, accountRow{u.Name, output.Size(max(u.Used, 0)), output.Size(max(u.Peak, 0)), output.Size(u.Limit)})
		}
		list = append(list, b)
	}
	return list
}

// localServer is a tablet server of this process.
type localServer struct {
	serverRow
	Error   string      `json:"error,omitempty"`
	Tablets []tabletRow `json:"busiest_tablets"`
	Count   int         `json:"tablets"`
	States  []stateRow  `json:"states"`
	Running []jobRow    `json:"running"`
	Recent  []jobRow    `json:"recent"`
}

type stateRow struct {
	State   string `json:"state"`
	Tablets int    `json:"tablets"`
}

func processPage(q *request) (any, error) {
	b := &processBody{
		Role: q.p.cfg.Role, Name: q.p.cfg.Name, Version: q.p.cfg.Version, Started: at(q.p.started),
		Go: runtime.Version(), Cores: runtime.GOMAXPROCS(0), Goroutines: runtime.NumGoroutine(),
	}
	b.readRuntime()
	if q.parts == nil {
		return b, nil
	}
	if q.parts.Router != nil {
		s := q.parts.Router()
		b.Gateway = &s
	}
	b.Budgets = budgets(q.parts.Memory)
	for name, c := range q.parts.Tablets {
		b.Servers = append(b.Servers, ownServer(q.Context(), name, c))
	}
	for name, c := range q.parts.Compactors {
		b.Compactors = append(b.Compactors, ownCompactor(q.Context(), name, c))
	}
	slices.SortFunc(b.Compactors, func(x, y localCompactor) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(b.Servers, func(x, y localServer) int { return strings.Compare(x.Name, y.Name) })
	return b, nil
}

func (b *processBody) readRuntime() {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	b.Memory, b.Heap, b.GCs = output.Size(s[0].Value.Uint64()-s[1].Value.Uint64()), output.Size(s[2].Value.Uint64()), s[3].Value.Uint64()
}

// ownServer asks a tablet server of this process, by a call.
func ownServer(ctx context.Context, name string, c controlpb.TabletServerServer) localServer {
	x := localServer{serverRow: serverRow{Name: name, serverLoad: &serverLoad{}}}
	r, err := c.Status(ctx, &controlpb.StatusRequest{})
	var a *controlpb.ActivityResponse
	if err == nil {
		a, err = c.Activity(ctx, &controlpb.ActivityRequest{})
	}
	if err != nil {
		x.Error = err.Error()
		return x
	}
	rec := r.GetServer()
	s := &view.Server{Server: meta.Server{Incarnation: meta.Incarnation(rec.GetIncarnation()), Address: rec.GetAddress(), Record: rec}, Load: r.GetLoad(), Activity: a}
	v := &view.View{}
	states := map[string]int{}
	var rows []tabletRow
	for _, l := range r.GetTablets() {
		states[l.State]++
		rows = append(rows, tabletRow{
			ID: l.Tablet, Table: tableName(v, base.TableID(l.Table)), TableID: l.Table, Start: l.Start, End: l.End, State: l.State, Server: s.Name(), Epoch: l.Tepoch,
			Reads: Rate(l.Reads), Writes: Rate(l.Writes), Bytes: output.Size(l.FileBytes), Memtable: output.Size(l.MemtableBytes),
			Files: l.Files, Runs: l.Runs, Rows: l.RowsEstimate, Error: l.Error,
		})
		s.Assigned++
		if l.State == meta.Serving.String() {
			s.Serving++
		}
	}
	x.serverRow, x.Count, x.Tablets = newServerRow(s), len(rows), hottest(rows, busiest)
	for st, n := range states {
		x.States = append(x.States, stateRow{st, n})
	}
	slices.SortFunc(x.States, func(a, b stateRow) int { return strings.Compare(a.State, b.State) })
	x.Running, x.Recent = jobRows(v, a.GetRunning(), s), jobRows(v, a.GetRecent(), s)
	x.Recent = x.Recent[:min(20, len(x.Recent))]
	return x
}

// Up is how long the process runs.
func (b *processBody) Up() output.Duration { return output.Duration(time.Since(time.Time(b.Started))) }
